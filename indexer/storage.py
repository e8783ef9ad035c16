"""Index files: one file with a readable first line, what maps rows to items, and FAISS's own bytes.

Owns the format (docs: the constants below) and its versions; each version keeps a golden file under
`tests/golden`. Nothing in a file is executed.

    first line   JSON, padded with spaces to HEADER_BYTES with its newline: format, version, kind,
                 dimension, items, table (entries), faiss_bytes, faiss_version, sha256
    table        little-endian int32: the item of each row, -1 for none; empty for ivf and ivfpq
    FAISS        what faiss.write_index writes
    sha256       of all that follows the first line, and of the first line's other fields
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

from indexer.item_index import ItemIndex
from indexer.kinds import stored_rows
from indexer.rows import KINDS, Ints, Kind

FORMAT = "nextclick-index"
VERSION = 1
HEADER_BYTES = 1024
CHUNK_BYTES = 1 << 20
AGAIN = "build the index again from the item vectors, or fetch the file again"


class IndexFileError(Exception):
    """A file is no index that can be read; the message names the file and what to do."""

    def __init__(self, path: Path, wrong: str, remedy: str = AGAIN) -> None:
        super().__init__(f"{path}: {wrong}; {remedy}")
        self.path = path


def save(index: ItemIndex, path: Path | str) -> None:
    """Writes the index to a file, complete or not at all; nobody may write to the index meanwhile."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    table = index.rows.stored_items().astype("<i4")
    checksum = hashlib.sha256(table.tobytes())
    written = 0

    def sink(data: bytes) -> int:
        nonlocal written
        checksum.update(data)
        written += len(data)
        return file.write(data)

    try:
        with unfinished.open("wb") as file:
            file.write(b" " * HEADER_BYTES + table.tobytes())
            faiss.write_index(index.rows.faiss_index(), faiss.PyCallbackIOWriter(sink, CHUNK_BYTES))
            fields = {
                "format": FORMAT, "version": VERSION, "kind": index.kind, "dimension": index.dimension,
                "items": len(index), "table": len(table), "faiss_bytes": written,
                "faiss_version": faiss.__version__,
            }  # fmt: skip
            checksum.update(_header(fields))
            file.seek(0)
            file.write(_header(fields | {"sha256": checksum.hexdigest()}))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(
    path: Path | str,
    numbers: Ints | None = None,
    kind: Kind | None = None,
    *,
    memory_budget_bytes: int | None = None,
) -> ItemIndex:
    """Reads an index that `save` wrote.

    Item numbers are a process's own: `numbers` (m,) gives the number here of each stored item, all
    different, -1 for an item to leave out. `kind` and `memory_budget_bytes` are those of `ItemIndex`, for
    later rebuilds; a stored gpu index comes back as flat. Raises IndexFileError.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            header = _checked_header(path, file)
            table = np.frombuffer(file.read(4 * header["table"]), "<i4").astype(np.int32)
            try:
                found = faiss.read_index(faiss.PyCallbackIOReader(file.read, CHUNK_BYTES))
                rows = stored_rows(header["kind"], header["dimension"], found, table)
            except RuntimeError as error:
                wrong = f"this FAISS ({faiss.__version__}) cannot read what {header['faiss_version']} wrote"
                raise IndexFileError(path, wrong) from error
    except OSError as error:
        raise IndexFileError(path, f"cannot be read ({error.strerror or error})") from error
    if len(rows) != header["items"]:
        raise IndexFileError(path, f"holds {len(rows)} items, its first line says {header['items']}")
    if numbers is not None:
        most = int(rows.items().max(initial=-1))
        if most >= len(numbers):
            raise ValueError(f"{path} holds item {most}; give a number for each up to it, not {len(numbers)}")
        rows.renumber(numbers)
    return ItemIndex(header["dimension"], kind, memory_budget_bytes=memory_budget_bytes, rows=rows)


def _header(fields: dict[str, Any]) -> bytes:
    """The first line, whole."""
    line = json.dumps(fields)
    return line.ljust(HEADER_BYTES - 1).encode() + b"\n"


def _checked_header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The first line's fields, when they and all that follows are as written; the file stands after it."""
    line = file.read(HEADER_BYTES)
    try:
        fields: dict[str, Any] = json.loads(line)
        if fields["format"] != FORMAT:
            raise ValueError
        version = int(fields["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise IndexFileError(path, "is no index file, or its first line is damaged") from error
    if version != VERSION:
        remedy = "use the Nextclick release that wrote it, or build the index again from the item vectors"
        raise IndexFileError(path, f"has format version {version}, this program reads {VERSION}", remedy)
    try:
        numbers = [fields[name] for name in ("dimension", "items", "table", "faiss_bytes")]
        whole = all(type(n) is int and n >= 0 for n in numbers) and fields["kind"] in KINDS
        if not whole or line != _header(fields) or "faiss_version" not in fields:
            raise ValueError
        checksum = str(fields["sha256"])
        size = HEADER_BYTES + 4 * fields["table"] + fields["faiss_bytes"]
    except (ValueError, KeyError) as error:
        raise IndexFileError(path, "has a damaged first line") from error
    actual = path.stat().st_size
    if actual != size:
        raise IndexFileError(path, f"has {actual} bytes where {size} were written")
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    digest.update(_header({name: value for name, value in fields.items() if name != "sha256"}))
    if digest.hexdigest() != checksum:
        raise IndexFileError(path, "is damaged: its SHA-256 is not the one written in its first line")
    file.seek(HEADER_BYTES)
    return fields
