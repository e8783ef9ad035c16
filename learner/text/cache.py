"""What a language model has made of texts, kept: reading ten thousand titles takes half a minute.

Owns the rows by the texts' keys, in memory and, given a folder, on the disk for the next process. Rows are
rounded to float16 before anyone uses them, so that results do not depend on what the cache already had.
"""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

_IN_MEMORY = 60_000  # rows, 60 MB at 384 numbers each

Floats = NDArray[np.float32]


class TextCache:
    """Rows by key. Files in the folder only ever are added, so processes do not get in each other's way."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._rows: dict[bytes, NDArray[np.float16]] = {}
        self._files_read: set[str] = set()

    def rows(self, keys: Sequence[bytes], size: int, make: Callable[[list[int]], Floats]) -> Floats:
        """Rows (n, size) float32 of 16-byte keys; `make` is asked, by their places, for those not known."""
        if len(self._rows) > _IN_MEMORY:
            self._rows.clear()
            self._files_read.clear()
        if any(key not in self._rows for key in keys):
            self._read_files(size)
        missing = list({key: place for place, key in enumerate(keys) if key not in self._rows}.values())
        if missing:
            made = make(missing).astype(np.float16)
            new = {keys[place]: row for place, row in zip(missing, made, strict=True)}
            self._rows.update(new)
            self._write_file(list(new), made)
        if not keys:
            return np.zeros((0, size), np.float32)
        return np.stack([self._rows[key] for key in keys]).astype(np.float32)

    def _read_files(self, size: int) -> None:
        for path in sorted(self.folder.glob("*.safetensors")) if self.folder else []:
            if path.name in self._files_read:
                continue
            self._files_read.add(path.name)
            try:
                held = safetensors.numpy.load_file(path)
                keys, rows = held["keys"], held["rows"]
            except (SafetensorError, OSError, KeyError):
                continue  # a damaged file costs time, not results
            if rows.dtype == np.float16 and rows.shape == (len(keys), size):
                self._rows.update(zip((key.tobytes() for key in keys), rows, strict=True))

    def _write_file(self, keys: Sequence[bytes], rows: NDArray[np.float16]) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{secrets.token_hex(8)}.safetensors"
        flat = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)
        partial = self.folder / f".{name}.partial"
        partial.write_bytes(safetensors.numpy.save({"keys": flat, "rows": rows}))
        partial.rename(self.folder / name)
        self._files_read.add(name)
