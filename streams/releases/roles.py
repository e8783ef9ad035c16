"""Which release has which role now, and which records change that: the topic `releases`, read in order.

Owns the meaning of roles and of going back. Pure: whoever decides sends the records that come out of
`promote`, `take_back` and the others. Knows no bundle and no broker.

    candidate --gate passed--> canary --promoted--> live --replaced--> retired
        |                         |                   |
        +--refused--> retired     +--rolled back      +--rolled back or failed: the one before is live again
                                      or failed
"""

from collections.abc import Iterable
from typing import Any, Literal

from streams.wire.contract import ReleaseRecord

Role = Literal["candidate", "canary", "live", "retired", "quarantined"]

PINNED = "pinned"  # the decision of a live release that nothing automatic may replace
DRIFTED = "drifted"  # the decision on a live release whose hit rate has fallen: it is time to train
SHARE = "share"  # of a canary's evidence: the share of users that get it, the same for every worker
REPLACED = "replaced"  # the decision of a retired release that was live and could be so again


class RoleError(Exception):
    """A release that cannot get the role: says why and what to do."""


class Roles:
    """What the records of `releases` say, applied in their order.

    records: the newest record of each release, the last changed last
    """

    def __init__(self, records: Iterable[ReleaseRecord] = ()) -> None:
        self.records: dict[str, ReleaseRecord] = {}
        self._lived: dict[str, None] = {}  # releases that have been live, the last one last
        for record in records:
            self.apply(record)

    def apply(self, record: ReleaseRecord) -> None:
        """Takes the next record of the topic."""
        self.records.pop(record.release, None)
        self.records[record.release] = record
        # A compacted topic keeps the newest record of each release, and that one knows too.
        if record.role == "live" or record.decision == REPLACED:
            self._lived.pop(record.release, None)
            self._lived[record.release] = None

    @property
    def live(self) -> ReleaseRecord | None:
        """The release made live last."""
        return self._newest("live")

    @property
    def canary(self) -> ReleaseRecord | None:
        """The release that a share of the users gets."""
        return self._newest("canary")

    @property
    def candidates(self) -> list[ReleaseRecord]:
        """Those that wait for the gate, in the order of their announcements."""
        return [record for record in self.records.values() if record.role == "candidate"]

    @property
    def before(self) -> list[ReleaseRecord]:
        """Releases that were live until another one replaced them, the last one last.

        None that was taken back.
        """
        live = self.live
        known = [self.records[name] for name in self._lived]
        return [
            record
            for record in known
            if (record.decision == REPLACED or record.role == "live")
            and (live is None or record.release != live.release)
        ]

    @property
    def pinned(self) -> bool:
        """Whether an operator has pinned the live release."""
        live = self.live
        return live is not None and live.decision == PINNED

    def share(self, default: float) -> float:
        """The share of users that get the canary, as its record says; 0 without a canary."""
        canary = self.canary
        return 0.0 if canary is None else float(canary.evidence.get(SHARE, default))

    def kept(self, last: int) -> set[str]:
        """Ids that a store must keep: whatever has a role, and the `last` releases that were live before."""
        active = {r.release for r in self.records.values() if r.role in ("candidate", "canary", "live")}
        lived = [name for name in self._lived if name not in active]
        return active | set(lived[-last:] if last else ())

    def of(self, release: str) -> ReleaseRecord:
        """The record of a release by its id. Raises RoleError where there is none."""
        record = self.records.get(release)
        if record is None:
            raise RoleError(f"no release {release} has been announced; see `nextclick releases list`")
        return record

    def _newest(self, role: Role) -> ReleaseRecord | None:
        for record in reversed(self.records.values()):
            if record.role == role:
                return record
        return None


def changed(
    record: ReleaseRecord, role: Role, at: int, decision: str, reason: str,
    evidence: dict[str, Any] | None = None,
) -> ReleaseRecord:  # fmt: skip
    """The same release in another role."""
    return ReleaseRecord(
        release=record.release, url=record.url, sha256=record.sha256, role=role, at=at, decision=decision,
        reason=reason, evidence=evidence or {},
    )  # fmt: skip


def enter(roles: Roles, record: ReleaseRecord) -> list[ReleaseRecord]:
    """The record of a release in its new role, and those of the releases that lose theirs by it.

    One that goes live replaces the live one and ends the canary; a canary ends the one before it. The new
    one comes first: no reader ever sees none live.
    """
    records, live, canary = [record], roles.live, roles.canary
    if record.role == "live" and live is not None and live.release != record.release:
        why = f"{record.release} is live: {record.reason}"
        records.append(changed(live, "retired", record.at, REPLACED, why))
    if record.role in ("live", "canary") and canary is not None and canary.release != record.release:
        what = "went live" if record.role == "live" else "became the canary"
        records.append(
            changed(canary, "retired", record.at, "rolled_back", f"{record.release} {what} meanwhile")
        )
    return records


def promote(
    roles: Roles, release: str, *, at: int, reason: str, decision: str = "promoted",
    evidence: dict[str, Any] | None = None,
) -> list[ReleaseRecord]:  # fmt: skip
    """The release goes live, as `enter` does it. Raises RoleError for an unknown release."""
    return enter(roles, changed(roles.of(release), "live", at, decision, reason, evidence))


def take_back(
    roles: Roles, release: str, *, at: int, reason: str, role: Role = "retired",
    decision: str = "rolled_back", evidence: dict[str, Any] | None = None,
) -> list[ReleaseRecord]:  # fmt: skip
    """The release loses its role. Where it was live, the one that was live before it comes back.

    With `role` "quarantined" and `decision` "failed" for one that makes workers fail. Raises RoleError for
    an unknown release, and where it is live and none was before it.
    """
    record, live = roles.of(release), roles.live
    ended = changed(record, role, at, decision, reason, evidence)
    if live is None or live.release != release:
        return [ended]
    before = roles.before
    if not before:
        raise RoleError(
            f"{release} is live and no release was live before it; enter another one with "
            "`nextclick releases add DIR --as live`"
        )
    return [changed(before[-1], "live", at, decision, f"{release} was taken back: {reason}"), ended]
