"""Roles changed by hand, and releases looked at: what an operator does, on a command line or over HTTP.

Owns the operator's side of the topic `releases`; entering bundles is `streams.operate.releases`' business,
what roles mean `streams.releases.roles`'.
"""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from learner.release.bundle import Manifest, ReleaseError
from learner.release.files import verify_release
from streams.releases.roles import PINNED, changed, enter, promote, take_back
from streams.releases.store import (
    ReleaseStore,
    StoreError,
    StoreUnreachable,
    cache_of,
    fetch,
    manifest_at,
)
from streams.releases.topic import announce, roles_now
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

BY_HAND = "by hand"


class ReleasesError(Exception):
    """A wish that cannot be met: says why and what to do."""


@dataclass(frozen=True)
class Listed:
    """A release as `list` and `show` tell it; `record` None where it only lies in the store."""

    release: str
    record: ReleaseRecord | None
    manifest: Manifest | None
    trouble: str = ""  # why there is no manifest

    @property
    def role(self) -> str:
        """Its role, "stored" where nobody has announced it."""
        return self.record.role if self.record else "stored"

    def shown(self) -> dict[str, Any]:
        """As plain data."""
        told: dict[str, Any] = {"release": self.release, "role": self.role}
        if self.record is not None:
            told |= {
                name: getattr(self.record, name) for name in ("decision", "reason", "at", "url", "sha256")
            }
            told["evidence"] = self.record.evidence
        if self.manifest is not None:
            told["manifest"] = msgspec.to_builtins(self.manifest)
        if self.trouble:
            told["trouble"] = self.trouble
        return told


def overview(settings: Settings) -> list[Listed]:
    """All releases that were announced or lie in the store, the last changed last."""
    roles, store = roles_now(settings), ReleaseStore(settings.store_url)
    try:
        stored = [name for name in store.releases() if name not in roles.records]
    except StoreUnreachable:
        stored = []  # the announced ones are listed all the same, each with the trouble
    return [_listed(settings, name, None, store.where(name)) for name in stored] + [
        _listed(settings, name, record, record.url) for name, record in roles.records.items()
    ]


def look_up(settings: Settings, release: str) -> Listed:
    """One release by its id. Raises ReleasesError where nobody knows it."""
    found = roles_now(settings).records.get(release)
    store = ReleaseStore(settings.store_url)
    if found is None and release not in store.releases():
        raise ReleasesError(f"there is no release {release}; see `nextclick releases list`")
    return _listed(settings, release, found, found.url if found else store.where(release))


def promote_by_hand(settings: Settings, release: str, reason: str = BY_HAND) -> None:
    """Makes a release live, whatever it is now. Its files must be whole."""
    roles, store = roles_now(settings), ReleaseStore(settings.store_url)
    if roles.live is not None and roles.live.release == release:
        raise ReleasesError(f"{release} is live already")
    store.spare(release)  # one without a role may be thrown away at any time
    record = roles.records.get(release)
    if record is None:
        listed = look_up(settings, release)  # lies in the store alone
        sha256, url = stored_sha256(settings, release), store.where(listed.release)
        roles.apply(ReleaseRecord(release=release, url=url, sha256=sha256, role="candidate", at=now_ms()))
        record = roles.of(release)
    verify_release(fetch(record.url, record.sha256, cache_of(settings)))
    announce(settings, promote(roles, release, at=now_ms(), reason=reason))


def roll_back(settings: Settings, release: str | None = None, reason: str = BY_HAND) -> ReleaseRecord:
    """Takes a release back: by default the canary where there is one, else the live one.

    Returns the record of the release that was taken back.
    """
    roles = roles_now(settings)
    taken = roles.of(release) if release else (roles.canary or roles.live)
    if taken is None:
        raise ReleasesError("no release is live and there is no canary: nothing to take back")
    if taken.role not in ("canary", "live", "candidate"):
        raise ReleasesError(f"{taken.release} is {taken.role}: there is nothing to take back")
    announce(settings, take_back(roles, taken.release, at=now_ms(), reason=reason))
    return taken


def pin(
    settings: Settings, release: str | None, *, off: bool = False, reason: str = BY_HAND
) -> ReleaseRecord:
    """Holds a release live against everything automatic, or lets go of it. Returns its record."""
    roles = roles_now(settings)
    live = roles.live
    if off:
        if live is None or not roles.pinned:
            raise ReleasesError("no release is pinned")
        announce(settings, [changed(live, "live", now_ms(), "unpinned", reason)])
        return live
    if release is None and live is None:
        raise ReleasesError("no release is live; name the one to pin")
    record = roles.of(release) if release else live
    assert record is not None
    verify_release(fetch(record.url, record.sha256, cache_of(settings)))
    announce(settings, enter(roles, changed(record, "live", now_ms(), PINNED, reason)))
    return record


def now_ms() -> int:
    """The time, Unix ms."""
    return int(time.time() * 1000)


def _listed(settings: Settings, release: str, record: ReleaseRecord | None, url: str) -> Listed:
    try:
        if record is not None:
            return Listed(release, record, manifest_at(url, record.sha256, cache_of(settings)))
        sha256 = stored_sha256(settings, release)
        return Listed(release, None, manifest_at(url, sha256, cache_of(settings)))
    except (StoreError, ReleaseError) as error:
        return Listed(release, record, None, str(error))


def stored_sha256(settings: Settings, release: str) -> str:
    """The checksum of a release in the store. Raises ReleasesError where there is none."""
    sha256 = ReleaseStore(settings.store_url).sha256(release)
    if sha256 is None:
        raise ReleasesError(f"there is no release {release} in {settings.store_url}")
    return sha256
