"""Brings a release into memory beside the one that answers, without holding rounds up.

Owns the order of it: fetched, verified and tried in a thread; its items join the catalogue in slices between
rounds; models, arrays and index are made in the thread and warmed with users of its own. Knows no roles:
`knowledge` says which release, and swaps.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.release.bundle import Bundle
from learner.release.live import LiveRelease, ReleaseError, read_release, try_models
from streams.hot_path.live import Live, adopt
from streams.hot_path.warm_up import warm_up
from streams.hot_path.world import World
from streams.releases.store import cache_of, fetch
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

_AT_ONCE = 250  # items that join between two rounds: some milliseconds
T = TypeVar("T")


class Loader:
    """One load at a time. `follow` lets the releases in memory follow the catalogue; called under `lock`."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, models: Executor, lock: asyncio.Lock,
        follow: Callable[[Iterable[int]], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._catalogue = catalogue
        self._models = models
        self._lock = lock
        self._follow = follow
        self._changed: set[int] = set()

    def note(self, items: Iterable[int]) -> None:
        """Items that have changed: a release that is being loaded has to take that up."""
        self._changed.update(items)

    async def load(self, source: ReleaseRecord | str, world: World | None) -> Live:
        """A release ready for `finish`, from its record or a folder; warmed where there is a `world`.

        Raises ReleaseError and StoreError, which name the damaged file, and whatever a model raises.
        """
        folder, bundle = await self._in_thread(self._read, source)
        self._changed.clear()
        parts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for at in range(0, len(bundle.items), _AT_ONCE):
            async with self._lock:
                parts.append(self._admit(bundle, at))
            await asyncio.sleep(0)
        numbers = np.concatenate(parts)
        live = await self._in_thread(self._make, bundle, folder, numbers, world)
        if world is not None:
            beside = replace(world, live=live, checked=True)
            try:
                await self._in_thread(warm_up, beside)
            except Exception:  # the catalogue changes beside it: what fails alone, fails in peace too
                async with self._lock:
                    self.finish(live, world)
                    await self._in_thread(warm_up, beside)
        return live

    def finish(self, live: Live, world: World) -> None:
        """Takes up what has changed since the load began; under the lock, before the first list."""
        items = np.array(sorted(self._changed), np.int64)
        adopt(live.release, world.live.release, self._catalogue, items)
        live.follow(self._changed)
        self._changed.clear()

    def _read(self, source: ReleaseRecord | str) -> tuple[Path, Bundle]:
        if isinstance(source, str):
            folder = Path(source)
        else:
            folder = fetch(source.url, source.sha256, cache_of(self._settings))
        bundle = read_release(folder)
        if not isinstance(source, str) and bundle.manifest.release != source.release:
            raise ReleaseError(
                f"{folder}: expected release {source.release}, got {bundle.manifest.release}; "
                "enter it with `nextclick releases add`"
            )
        try_models(bundle, folder)
        return folder, bundle

    def _admit(self, bundle: Bundle, at: int) -> NDArray[np.int64]:
        catalogue, items = self._catalogue, bundle.items[at : at + _AT_ONCE]
        known = np.array(
            [catalogue.index[i.item_id] for i in items if i.item_id in catalogue.index], np.int64
        )
        before = catalogue.available[known]
        numbers = catalogue.admit_all(items)
        self._follow(known[catalogue.available[known] != before].tolist())
        return numbers

    def _make(self, bundle: Bundle, folder: Path, numbers: NDArray[np.int64], world: World | None) -> Live:
        release = LiveRelease(bundle, self._catalogue, numbers=numbers, folder=folder)
        if world is not None:
            adopt(release, world.live.release, self._catalogue, np.arange(len(world.live.release.own)))
        settings = self._settings
        return Live(
            release, self._catalogue, repeats=settings.repeats, kind=settings.index,
            index_memory_bytes=settings.index_memory_bytes,
        )  # fmt: skip

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._models, work, *arguments)
