"""Exact search on a GPU, changed live: a copy of the rows on the device, and what changed since on the host.

Owns the division of work between both. Uploading all rows for each change would take tens of
milliseconds, and FAISS can neither replace nor remove rows on a GPU; so changed rows are searched on the
host until there are enough of them for a new copy.
"""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.flat import FlatRows
from indexer.rows import Floats, Found, Ints, Kind
from indexer.select import best, merged

CHANGED_ROWS = 1000  # changed rows searched on the host: some 20 µs a query; then the rows go up again
MOST_PLACES = 2048  # places of a list that FAISS offers on a GPU


class NoGpuError(RuntimeError):
    """A GPU index was asked for where FAISS sees no GPU."""


def gpus() -> int:
    """GPUs that FAISS can use: 0 for the package faiss-cpu."""
    if not hasattr(faiss, "StandardGpuResources"):
        return 0
    return int(getattr(faiss, "get_num_gpus", int)())


def upload(rows: Floats) -> Any:
    """A FAISS index over rows (n, D) on the first GPU. Raises NoGpuError."""
    if not gpus():
        raise NoGpuError(
            "FAISS sees no GPU: on a machine with one `pip uninstall faiss-cpu`, then `pip install "
            "--force-reinstall --no-deps faiss-gpu`; or choose another kind of index"
        )
    index = faiss.GpuIndexFlatIP(_resources(), rows.shape[1])
    index.add(rows)
    return index


def _resources() -> Any:
    """The GPU's scratch memory, reserved once in a process."""
    if not _reserved:
        _reserved.append(faiss.StandardGpuResources())
    return _reserved[0]


_reserved: list[Any] = []


class GpuRows:
    """Rows on the host, the source of truth, with a copy on the device that lags a little."""

    kind: Kind = "gpu"

    def __init__(
        self, dimension: int, items: Ints, vectors: Floats, upload: Callable[[Floats], Any] = upload
    ) -> None:
        self.dimension = dimension
        self._upload = upload
        self._host = FlatRows(dimension)
        self._host.put(items, vectors)
        self._synchronize()

    def __len__(self) -> int:
        return len(self._host)

    def put(self, items: Ints, vectors: Floats) -> None:
        """Changed rows are searched on the host until there are enough for a new copy."""
        self._host.put(items, vectors)
        self._note(items)

    def drop(self, items: Ints) -> None:
        """Removed rows are struck from the device's lists."""
        self._host.drop(items)
        self._note(items)

    def _note(self, items: Ints) -> None:
        self._changed.update(items.tolist())
        if len(self._changed) > CHANGED_ROWS:
            self._synchronize()

    def _synchronize(self) -> None:
        self._device_items = self._host.items()
        self._device = self._upload(self._host.vectors(self._device_items))
        self._changed: set[int] = set()

    def holds(self, items: Ints) -> NDArray[np.bool_]:
        """Which of items (n,) have a row."""
        return self._host.holds(items)

    def search(self, queries: Floats, k: int) -> Found:
        """Exact lists: the device's without changed items, and the changed items'."""
        changed = np.array(sorted(self._changed), np.int32)
        # every place that a changed item may take on the device needs a substitute
        places = min(k + len(changed), len(self._device_items))
        if places > MOST_PLACES or places == 0:
            return self._host.search(queries, k)
        scores, rows = self._device.search(queries, places)
        items = self._device_items[rows]
        items[np.isin(items, changed)] = -1
        own = changed[self._host.holds(changed)]
        more, more_scores = best(queries @ self._host.vectors(own).T, own, k)
        return merged(np.concatenate([items, more], 1), np.concatenate([scores, more_scores], 1), k)

    def items(self) -> Ints:
        """Items (n,) in the order of the host's rows."""
        return self._host.items()

    def vectors(self, items: Ints) -> Floats:
        """Vectors (n, D) as they were put."""
        return self._host.vectors(items)

    @property
    def waste(self) -> float:
        """Always 0: the copy is renewed by itself."""
        return 0.0

    @property
    def memory_bytes(self) -> int:
        """Bytes on the host; the device holds the rows once more."""
        return self._host.memory_bytes

    def faiss_index(self) -> Any:
        """The host's flat index."""
        return self._host.faiss_index()

    def stored_items(self) -> Ints:
        """The item of each host row."""
        return self._host.stored_items()

    def renumber(self, numbers: Ints) -> None:
        """Item i becomes numbers[i] (m,), all different; those that become -1 go."""
        self._host.renumber(numbers)
        self._synchronize()
