"""Files of rows: which reader a file needs, and whether it is at rest.

Owns the endings of names that say what a file holds. Knows nothing of what columns mean.
"""

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from learner.data.delimited import Delimited
from learner.data.faulty import DataError
from learner.data.json_lines import JsonLines
from learner.data.naming import Chosen
from learner.data.parquet_file import ParquetFile
from learner.data.text_file import TextFile

_ROWS = (".csv", ".tsv", ".psv", ".txt", ".dat", ".inter", ".item")
_OBJECTS = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")

Source = Delimited | JsonLines | ParquetFile


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes where the file does. Raises DataError where there is none that can be read twice."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        why = (
            "" if isinstance(error, FileNotFoundError) else f" ({getattr(error, 'strerror', None) or error})"
        )
        raise DataError(f"{path}: expected a file, found none{why}; check the path") from None
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: expected a file, found a folder; check the path")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(
            f"{path}: expected a file, found a pipe or a device, which is read but once; write it to a file"
        )
    return found.st_ino, found.st_size, found.st_mtime_ns


def source_of(path: Path, found_in: Callable[[list[str]], Chosen], always: Sequence[str]) -> Source:
    """The reader for a file, by its name's end. Raises DataError for another end, as the readers do."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_PARQUET):
        return ParquetFile(path)
    if not name.endswith(_ROWS + _OBJECTS):
        raise DataError(
            f"{path}: expected a name that ends in .csv, .csv.gz or .parquet (or .tsv, .txt, .jsonl, .gz); "
            "rename or convert the file"
        )
    if name.endswith(_OBJECTS):
        return JsonLines(TextFile.of(path), always)
    return Delimited(TextFile.of(path), lambda header: not found_in(header).missing)
