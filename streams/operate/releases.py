"""What `nextclick releases` does: looks at releases, enters bundles, and changes roles by hand.

Owns the operator's side of the topic `releases` and of the store. What the commands print is
`cli.releases`'; what roles mean is `roles`'.
"""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from learner.data.catalogue import Catalogue
from learner.release.bundle import MANIFEST, Manifest, ReleaseError, release_id
from learner.release.files import amend, bundle_sha256, read_manifest, read_release, verify_release
from learner.release.live import LiveRelease
from streams.releases.roles import PINNED, SHARE, Roles, changed, enter, promote, take_back
from streams.releases.store import (
    ReleaseStore,
    StoreError,
    StoreUnreachable,
    cache_of,
    fetch,
    manifest_at,
    sweep,
)
from streams.releases.topic import announce, roles_now
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

Entered = Literal["candidate", "canary", "live"]
_BY_HAND = "by hand"
_ENTERED = ".entered-"  # prefix of copies under a new id


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


def difference(settings: Settings, first: str, second: str) -> dict[str, Any]:
    """What distinguishes two releases, each an id or a folder: fields of the manifest, and items."""
    folders = [folder_of(settings, name) for name in (first, second)]
    manifests = [read_manifest(folder) for folder in folders]
    one, other = (_flat(msgspec.to_builtins(manifest)) for manifest in manifests)
    ignored = ("files.", "features.", "categories.")
    fields = {
        name: [one.get(name), other.get(name)]
        for name in [*one, *(name for name in other if name not in one)]
        if one.get(name) != other.get(name) and not name.startswith(ignored)
    }
    items = [{item.item_id for item in read_release(folder).items} for folder in folders]
    return {
        "releases": [manifest.release for manifest in manifests],
        "manifest": fields,
        "items": {"added": sorted(items[1] - items[0]), "removed": sorted(items[0] - items[1])},
    }


def verify(folder: Path) -> str:
    """Checks a bundle as a worker does: every file, and the models at work. Returns its id.

    Raises ReleaseError, which names the file.
    """
    verify_release(folder)
    return LiveRelease(read_release(folder), Catalogue(), folder=folder).id


def folder_of(settings: Settings, name: str) -> Path:
    """A folder with the release `name`: its id, or a folder itself."""
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    listed = look_up(settings, name)
    if listed.record is not None:
        return fetch(listed.record.url, listed.record.sha256, cache_of(settings))
    if listed.manifest is None:
        raise ReleasesError(listed.trouble)
    return fetch(
        ReleaseStore(settings.store_url).where(name), _stored_sha256(settings, name), cache_of(settings)
    )


def add(settings: Settings, folder: Path, role: Entered, reason: str = _BY_HAND) -> ReleaseRecord:
    """Enters a bundle: into the store, and with its role into `releases`.

    A candidate waits for the learner's gate; a canary and a live release take effect at once, judged by
    nobody but the operator, the workers that load it, and the canary's test. An id that is known already
    with other contents is replaced by a new one, so that any bundle can be entered.
    """
    roles = roles_now(settings)
    if not (folder / MANIFEST).is_file():
        raise ReleasesError(f"{folder}: expected a release folder with {MANIFEST}, got none; check the path")
    if role == "canary" and roles.live is None:
        raise ReleasesError("no release is live: a canary has nothing to be compared with; add it --as live")
    sweep(settings.data_dir, f"{_ENTERED}*")
    with _own_id(settings, folder, roles) as ready:
        url = ReleaseStore(settings.store_url).put(ready)
        record = ReleaseRecord(
            release=read_manifest(ready).release, url=url, sha256=bundle_sha256(ready), role=role, at=_now(),
            decision="added", reason=reason,
            evidence={SHARE: settings.canary_share} if role == "canary" else {},
        )  # fmt: skip
    roles = roles_now(settings)  # storing a large bundle takes a while, and others decide too
    if role == "canary" and roles.live is None:
        raise ReleasesError("the live release was taken back meanwhile; add this one --as live")
    announce(settings, enter(roles, record))
    return record


def promote_by_hand(settings: Settings, release: str, reason: str = _BY_HAND) -> None:
    """Makes a release live, whatever it is now. Its files must be whole."""
    roles, store = roles_now(settings), ReleaseStore(settings.store_url)
    if roles.live is not None and roles.live.release == release:
        raise ReleasesError(f"{release} is live already")
    store.spare(release)  # one without a role may be thrown away at any time
    record = roles.records.get(release)
    if record is None:
        listed = look_up(settings, release)  # lies in the store alone
        sha256, url = _stored_sha256(settings, release), store.where(listed.release)
        roles.apply(ReleaseRecord(release=release, url=url, sha256=sha256, role="candidate", at=_now()))
        record = roles.of(release)
    verify_release(fetch(record.url, record.sha256, cache_of(settings)))
    announce(settings, promote(roles, release, at=_now(), reason=reason))


def roll_back(settings: Settings, release: str | None = None, reason: str = _BY_HAND) -> ReleaseRecord:
    """Takes a release back: by default the canary where there is one, else the live one.

    Returns the record of the release that was taken back.
    """
    roles = roles_now(settings)
    taken = roles.of(release) if release else (roles.canary or roles.live)
    if taken is None:
        raise ReleasesError("no release is live and there is no canary: nothing to take back")
    if taken.role not in ("canary", "live", "candidate"):
        raise ReleasesError(f"{taken.release} is {taken.role}: there is nothing to take back")
    announce(settings, take_back(roles, taken.release, at=_now(), reason=reason))
    return taken


def pin(settings: Settings, release: str | None, *, off: bool = False) -> ReleaseRecord:
    """Holds a release live against everything automatic, or lets go of it. Returns its record."""
    roles = roles_now(settings)
    live = roles.live
    if off:
        if live is None or not roles.pinned:
            raise ReleasesError("no release is pinned")
        announce(settings, [changed(live, "live", _now(), "unpinned", _BY_HAND)])
        return live
    if release is None and live is None:
        raise ReleasesError("no release is live; name the one to pin")
    record = roles.of(release) if release else live
    assert record is not None
    verify_release(fetch(record.url, record.sha256, cache_of(settings)))
    announce(settings, enter(roles, changed(record, "live", _now(), PINNED, _BY_HAND)))
    return record


def _now() -> int:
    return int(time.time() * 1000)


def _listed(settings: Settings, release: str, record: ReleaseRecord | None, url: str) -> Listed:
    try:
        if record is not None:
            return Listed(release, record, manifest_at(url, record.sha256, cache_of(settings)))
        sha256 = _stored_sha256(settings, release)
        return Listed(release, None, manifest_at(url, sha256, cache_of(settings)))
    except (StoreError, ReleaseError) as error:
        return Listed(release, record, None, str(error))


def _stored_sha256(settings: Settings, release: str) -> str:
    sha256 = ReleaseStore(settings.store_url).sha256(release)
    if sha256 is None:
        raise ReleasesError(f"there is no release {release} in {settings.store_url}")
    return sha256


@contextmanager
def _own_id(settings: Settings, folder: Path, roles: Roles) -> Iterator[Path]:
    """The folder, or a copy under a new id where its own is known with other contents."""
    manifest = read_manifest(folder)
    known = roles.records.get(manifest.release)
    stored = ReleaseStore(settings.store_url).sha256(manifest.release)
    sha256 = bundle_sha256(folder)
    if (known is None or known.sha256 == sha256) and stored in (None, sha256) and _whole(folder, stored):
        yield folder
        return
    copy = settings.data_dir / f"{_ENTERED}{secrets.token_hex(4)}"
    copy.mkdir(parents=True)
    try:
        for name in (*manifest.files, MANIFEST):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, copy / name)
        amend(copy, release=release_id(_now()), parents=[*manifest.parents, manifest.release])
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _whole(folder: Path, stored: str | None) -> bool:
    """Whether what the store holds may stand for the folder: damage behind an equal manifest may not."""
    if stored is None:
        return True
    try:
        verify_release(folder)
    except ReleaseError:
        return False
    return True


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and len(value) > 8:
            flat |= {f"{prefix}{name}.{number}": entry for number, entry in enumerate(value)}
        else:
            flat[prefix + name] = value
    return flat
