"""What `nextclick releases` does: looks at releases, enters bundles, and changes roles by hand.

Owns the operator's side of the topic `releases` and of the store. What the commands print is
`cli.releases`'; what roles mean is `roles`'.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from learner.data.catalogue import Catalogue
from learner.release.bundle import MANIFEST, ReleaseError, release_id
from learner.release.files import amend, bundle_sha256, read_manifest, read_release, verify_release
from learner.release.live import LiveRelease
from streams.releases.by_hand import BY_HAND, ReleasesError, look_up, now_ms, stored_sha256
from streams.releases.roles import SHARE, Roles, enter
from streams.releases.store import (
    ReleaseStore,
    cache_of,
    fetch,
    sweep,
)
from streams.releases.topic import announce, roles_now
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

Entered = Literal["candidate", "canary", "live"]
_ENTERED = ".entered-"  # prefix of copies under a new id


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
        ReleaseStore(settings.store_url).where(name), stored_sha256(settings, name), cache_of(settings)
    )


def add(settings: Settings, folder: Path, role: Entered, reason: str = BY_HAND) -> ReleaseRecord:
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
            release=read_manifest(ready).release, url=url, sha256=bundle_sha256(ready), role=role,
            at=now_ms(), decision="added", reason=reason,
            evidence={SHARE: settings.canary_share} if role == "canary" else {},
        )  # fmt: skip
    roles = roles_now(settings)  # storing a large bundle takes a while, and others decide too
    if role == "canary" and roles.live is None:
        raise ReleasesError("the live release was taken back meanwhile; add this one --as live")
    announce(settings, enter(roles, record))
    return record


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
        amend(copy, release=release_id(now_ms()), parents=[*manifest.parents, manifest.release])
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
