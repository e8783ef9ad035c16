"""Brings a release into memory beside the one that answers, without holding rounds up.

Owns the order of it: fetched, verified and tried in a thread; its items join the catalogue in slices between
rounds; models, arrays and index are made in the thread and warmed with users of its own. Knows no roles:
`release_follower` says which release, and swaps.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.release.bundle import Bundle, ReleaseError
from learner.release.files import read_release
from learner.release.live import LiveRelease, try_models
from streams.hot_path.live import Live, adopt, take_up
from streams.hot_path.serving import Serving
from streams.hot_path.warm_up import warm_up
from streams.releases.store import cache_of, fetch
from streams.settings import Settings
from streams.wire.contract import ReleaseRecord

_AT_ONCE = 250  # items that join between two rounds: some milliseconds
T = TypeVar("T")


class Loader:
    """One load at a time. Rounds hold `lock` too; what takes long runs in the thread of `models`."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, models: Executor, lock: asyncio.Lock
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._models = models
        self._lock = lock
        self._changed: set[int] = set()

    def note(self, items: Iterable[int]) -> None:
        """Items that have changed: a release that is being loaded has to take that up."""
        self._changed.update(items)

    async def load(self, source: ReleaseRecord | str, serving: Serving | None) -> Live:
        """A release ready for `finish`, from its record or a folder.

        Where `serving` answers already it gets what the live one knows of newer items, and is warmed.

        Raises ReleaseError and StoreError, which name the damaged file, and whatever a model raises.
        """
        folder, bundle = await self._in_thread(self._read, source)
        self._changed.clear()
        parts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for at in range(0, len(bundle.items), _AT_ONCE):
            async with self._lock:
                parts.append(self._join(bundle.items[at : at + _AT_ONCE], serving))
            await asyncio.sleep(0)
        numbers = np.concatenate(parts)
        live = await self._in_thread(self._make, bundle, folder, numbers, serving)
        if serving is not None:
            beside = replace(serving.world, live=live, checked=True)
            try:
                await self._in_thread(warm_up, beside)
            except Exception:  # the catalogue changes beside it: what fails alone, fails in peace too
                async with self._lock:
                    self.finish(live, serving)
                    await self._in_thread(warm_up, beside)
        return live

    def finish(self, live: Live, serving: Serving) -> None:
        """Takes up what has changed since the load began; under the lock, before the first list."""
        items = np.array(sorted(self._changed), np.int64)
        adopt(live.release, serving.world.live.release, self._catalogue, items)
        take_up(live.release, self._catalogue, serving.world.signals, self._changed)
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

    def _join(self, items: Sequence[Item], serving: Serving | None) -> NDArray[np.int64]:
        """The items' numbers (n,); the releases in memory follow what is available now and was not."""
        catalogue = self._catalogue
        known = np.array(
            [catalogue.index[i.item_id] for i in items if i.item_id in catalogue.index], np.int64
        )
        before = catalogue.available[known]
        numbers = catalogue.admit_all(items)
        changed = known[catalogue.available[known] != before].tolist()
        for live in () if serving is None else serving.loaded:
            live.follow(changed)
        return numbers

    def _make(
        self, bundle: Bundle, folder: Path, numbers: NDArray[np.int64], serving: Serving | None
    ) -> Live:
        release = LiveRelease(bundle, self._catalogue, numbers=numbers, folder=folder)
        if serving is not None:
            other = serving.world.live.release
            adopt(release, other, self._catalogue, np.arange(len(other.own)))
            take_up(release, self._catalogue, serving.world.signals)
        settings = self._settings
        return Live(
            release, self._catalogue, repeats=settings.repeats, kind=settings.index,
            index_memory_bytes=settings.index_memory_bytes, opens_at_once=False,
        )  # fmt: skip

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._models, work, *arguments)
