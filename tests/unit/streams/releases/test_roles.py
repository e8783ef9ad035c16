"""Roles of releases: what a topic says, who is live, and the way back."""

import pytest

from streams.releases.roles import RoleError, Roles, changed, promote, take_back
from streams.wire.contract import ReleaseRecord


def record(release: str, role: str, decision: str = "", at: int = 1) -> ReleaseRecord:
    return ReleaseRecord(release=release, url=f"/{release}", sha256="0", role=role, at=at, decision=decision)  # type: ignore[arg-type]


def roles(*records: ReleaseRecord) -> Roles:
    return Roles(records)


def apply(to: Roles, records: list[ReleaseRecord]) -> Roles:
    for each in records:
        to.apply(each)
    return to


def compacted(of: Roles) -> Roles:
    """As a reader sees it who comes when only the newest record of each release is left."""
    return Roles(of.records.values())


def test_the_way_of_a_release() -> None:
    found = roles(record("a", "live"), record("b", "candidate"))
    assert [each.release for each in found.candidates] == ["b"]
    found.apply(changed(found.of("b"), "canary", 2, "passed", "better"))
    assert found.canary is not None
    assert found.canary.release == "b"
    apply(found, promote(found, "b", at=3, reason="canary"))
    assert found.live is not None
    assert found.live.release == "b"
    assert found.canary is None
    assert found.of("a").role == "retired"
    assert [each.release for each in found.before] == ["a"]
    assert [each.release for each in compacted(found).before] == ["a"]


def test_going_back_and_back_again() -> None:
    found = roles(record("a", "live"))
    for name in ("b", "c"):
        found.apply(record(name, "candidate"))
        apply(found, promote(found, name, at=2, reason="by hand"))
    apply(found, take_back(found, "c", at=3, reason="worse", role="quarantined", decision="failed"))
    assert found.live is not None
    assert found.live.release == "b"
    assert found.of("c").role == "quarantined"
    assert [each.release for each in found.before] == ["a"]  # what failed is never gone back to
    later = compacted(found)
    apply(later, take_back(later, "b", at=4, reason="worse"))
    assert later.live is not None
    assert later.live.release == "a"
    with pytest.raises(RoleError, match="no release was live before"):
        take_back(later, "a", at=5, reason="?")


def test_a_canary_ends_alone() -> None:
    found = roles(record("a", "live"), record("b", "canary"))
    records = take_back(found, "b", at=2, reason="fewer hits")
    assert [(each.release, each.role) for each in records] == [("b", "retired")]


def test_the_canarys_share_is_the_same_for_everyone() -> None:
    assert roles(record("a", "live")).share(0.1) == 0
    assert roles(record("b", "canary")).share(0.1) == 0.1
    canary = changed(record("b", "candidate"), "canary", 1, "passed", "", {"share": 0.5})
    assert roles(canary).share(0.1) == 0.5


def test_what_goes_live_by_hand_ends_the_canary() -> None:
    found = roles(record("a", "live"), record("b", "canary"), record("c", "candidate"))
    apply(found, promote(found, "c", at=2, reason="by hand"))
    assert found.canary is None
    assert found.of("b").decision == "rolled_back"


def test_some_release_is_live_after_every_record() -> None:
    found = roles(record("a", "live"), record("b", "candidate"))
    for each in promote(found, "b", at=2, reason="x") + take_back(
        roles(record("a", "retired", "replaced"), record("b", "live")), "b", at=3, reason="y"
    ):
        found.apply(each)
        assert found.live is not None


def test_pins_and_unknown_releases() -> None:
    found = roles(record("a", "live", "pinned"))
    assert found.pinned
    assert not roles(record("a", "live")).pinned
    assert not roles().pinned
    with pytest.raises(RoleError, match="no release z"):
        promote(found, "z", at=1, reason="")


def test_a_store_keeps_what_has_a_role_and_the_last_live_ones() -> None:
    found = roles(record("a", "live"), record("x", "candidate"))
    found.apply(record("x", "retired", "refused"))
    for name in ("b", "c"):
        found.apply(record(name, "candidate"))
        apply(found, promote(found, name, at=2, reason=""))
    found.apply(record("y", "candidate"))
    assert found.kept(1) == {"b", "c", "y"}
    assert found.kept(0) == {"c", "y"}
