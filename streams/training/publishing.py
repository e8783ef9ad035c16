"""Finished bundles on their way into the store: each is announced as a candidate.

Owns the outbox and the order that makes a kill harmless: stored, announced, noted, and only then thrown away.
Knows no gate and no training.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from learner.release.bundle import Manifest, ReleaseError
from learner.release.files import bundle_sha256, read_manifest
from streams.releases.roles import Roles
from streams.releases.store import ReleaseStore, StoreUnreachable
from streams.training.kept import KeptClicks
from streams.training.wire import Wire
from streams.wire.contract import ReleaseRecord

log = structlog.get_logger()


class Outbox:
    """`folder` holds a folder for each finished bundle; `store_url` is where they go."""

    def __init__(
        self, folder: Path, store_url: str, wire: Wire, kept: KeptClicks, wall_ms: Callable[[], int]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._store_url, self._wire, self._kept, self._wall_ms = store_url, wire, kept, wall_ms

    def __bool__(self) -> bool:
        return any(self.folder.iterdir())

    def publish(self, roles: Roles) -> str:
        """Brings the first finished bundle into the store and announces it; "" where there is none."""
        for folder in sorted(self.folder.iterdir()):
            try:
                manifest = read_manifest(folder)
            except ReleaseError as error:
                log.error("a finished bundle cannot be read; it is thrown away", error=str(error))
                shutil.rmtree(folder)
                continue
            if manifest.release not in roles.records:
                try:
                    url = ReleaseStore(self._store_url).put(folder)
                except StoreUnreachable as error:
                    log.warning("the release waits for the store", release=manifest.release, error=str(error))
                    return ""
                self._wire.announce([self._candidate(manifest, url, folder)])
            self._kept.note_published(manifest)
            self.clear(folder)
            return f"published {manifest.release}"
        return ""

    def clear(self, folder: Path) -> None:
        """Takes a bundle whose record is out of the outbox."""
        shutil.rmtree(folder)

    def _candidate(self, manifest: Manifest, url: str, folder: Path) -> ReleaseRecord:
        return ReleaseRecord(
            release=manifest.release, url=url, sha256=bundle_sha256(folder), role="candidate",
            at=self._wall_ms(), decision="trained", reason=str(manifest.training.get("why", "")),
            evidence=_evidence(manifest),
        )  # fmt: skip


def _evidence(manifest: Manifest) -> dict[str, Any]:
    data = manifest.data
    return {
        "clicks": data.events, "users": data.users, "items": manifest.items, "first_ms": data.first_ms,
        "last_ms": data.last_ms, "metrics": manifest.metrics,
    }  # fmt: skip
