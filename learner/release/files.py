"""Release bundles on the disk: written whole or not at all, read only if every byte is as written.

Owns checksums, atomic writing, verification and the wording of refusals. What the files hold is
`learner.release.bundle`'s.
"""

import contextlib
import glob
import gzip
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.data.records import Lines
from learner.release.bundle import (
    FORMAT,
    ITEMS,
    MANIFEST,
    RANKER,
    REQUIRED,
    STUDENT,
    VECTORS,
    Arrays,
    Bundle,
    FileEntry,
    Manifest,
    ReleaseError,
)
from learner.release.text_vectors import bring_encoder
from learner.text.query_encoder import FILES as ENCODER_FILES

_ENCODER = "encoder."  # prefix of the text encoder's arrays in vectors.safetensors
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
}
_MAPPED_FROM_BYTES = 1 << 20  # smaller arrays are copied, so that they do not hold the file's pages
_PARTIAL, _BEFORE = ".partial", ".before"  # beside a folder: what is being written, what stepped aside
_STALE_SECONDS = 86_400.0  # a partial folder this old belongs to a process that is gone
_NEEDED = ("vectors", "bias", "content", "initial", "tail_mean", "cold_bias")
_CALIBRATION = ("calibration", "calibration_begin")


def write_release(
    folder: Path, bundle: Bundle, attach: Mapping[str, Callable[[Path], None]] | None = None
) -> Path:
    """Writes a bundle so that it is there whole or not at all, also after a crash.

    An empty folder or a release of before at the same place is replaced; anything else is left alone.
    `attach` writes further files, for instance {"index.faiss": index.save}. Raises ReleaseError where the
    place is taken or the bundle contradicts itself.
    """
    _settle(folder)
    if folder.exists() and not (folder / MANIFEST).is_file() and not _is_empty(folder):
        raise ReleaseError(f"{folder}: expected a new or empty folder, found other files; name another one")
    if bundle.ranker is None:
        raise ReleaseError(f"{folder}: expected a ranker, got none; a release needs one")
    _check(bundle, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}{_PARTIAL}"
    partial.mkdir()
    try:
        _write(partial / STUDENT, bundle.student)
        _write(partial / RANKER, bundle.ranker)
        _write(partial / VECTORS, safetensors.numpy.save(_tensors(bundle.arrays)))
        _write(partial / ITEMS, _pack_items(bundle.items))
        if bundle.query_encoder is not None:
            bring_encoder(bundle.query_encoder, partial)
            for name in ENCODER_FILES:
                _sync(partial / name)
        for name, save in (attach or {}).items():
            save(partial / name)
            _sync(partial / name)
        listed = {path.name: _entry(path) for path in sorted(partial.iterdir())}
        manifest = msgspec.structs.replace(bundle.manifest, files=listed, format=FORMAT)
        _write(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        _sync(partial)
        _put(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def _put(partial: Path, folder: Path) -> None:
    """Renames; a release of before steps aside first, since no system exchanges folders everywhere."""
    before = partial.with_suffix(_BEFORE)
    if folder.exists():
        folder.rename(before)
    try:
        partial.rename(folder)
    except BaseException:
        if before.exists():
            before.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(before, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Ends what a writer began that was killed: a release that had stepped aside comes back."""
    for before in _aside(folder):
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
        else:
            before.rename(folder)
    for partial in folder.parent.glob(f".{glob.escape(folder.name)}.*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(partial, ignore_errors=True)


def _aside(folder: Path) -> list[Path]:
    """Where a release of before stands while another one takes its place."""
    return sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*{_BEFORE}"))


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def amend(folder: Path, **fields: Any) -> Manifest:
    """Changes fields of a release's manifest, before anyone else knows the release. Returns the manifest."""
    manifest = msgspec.structs.replace(read_manifest(folder), **fields)
    partial = folder / f".{MANIFEST}.{secrets.token_hex(4)}"
    _write(partial, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    partial.replace(folder / MANIFEST)
    return manifest


def verify_release(folder: Path) -> Manifest:
    """Compares every file with its checksum, without looking into it.

    Raises ReleaseError, which names the damaged file.
    """
    manifest = read_manifest(folder)
    for name in REQUIRED:
        if name not in manifest.files:
            _refuse(folder / MANIFEST, f"an entry for {name}", "none")
    for name, entry in manifest.files.items():
        if Path(name).name != name:
            _refuse(folder / MANIFEST, "names of files in this folder", name)
        _verify(folder / name, entry)
    return manifest


def read_release(folder: Path) -> Bundle:
    """Reads and verifies a bundle. Raises ReleaseError, which names the damaged file."""
    manifest = verify_release(folder)
    bundle = Bundle(
        manifest,
        (folder / STUDENT).read_bytes(),
        (folder / RANKER).read_bytes(),
        _read_arrays(folder / VECTORS),
        _read_items(folder / ITEMS),
        folder if all(name in manifest.files for name in ENCODER_FILES) else None,
    )
    _check(bundle, folder)
    return bundle


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest alone; the other files are not looked at."""
    path = folder / MANIFEST
    if not folder.is_dir():
        mend = "check the path or URL"
        if aside := _aside(folder):
            mend = f"a write was cut short: rename {aside[-1]} to {folder.name}, or write the release again"
        raise ReleaseError(f"{folder}: expected a release folder, found none; {mend}")
    if not path.is_file():
        _refuse(path, "a manifest", "no such file")
    data = path.read_bytes()
    try:
        version = msgspec.json.decode(data, type=_Version).format
    except msgspec.DecodeError as error:
        _refuse(path, "a manifest", f"{error}")
    if version != FORMAT:
        mend = "update nextclick" if version > FORMAT else "train a new release"
        _refuse(path, f"format {FORMAT}", f"format {version}", mend)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        _refuse(path, f"a manifest of format {FORMAT}", f"{error}")


def bundle_sha256(folder: Path) -> str:
    """SHA-256 of the manifest, which holds the checksums of all other files: it stands for the bundle."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        _refuse(folder / MANIFEST, "a manifest", error.strerror or str(error))


class _Version(msgspec.Struct):
    format: int


def _check(bundle: Bundle, folder: Path) -> None:
    """Manifest, items and arrays must speak of the same things."""
    manifest, arrays = bundle.manifest, bundle.arrays
    dims, count = manifest.dims, manifest.items
    if len(bundle.items) != count:
        _refuse(folder / ITEMS, f"{count} items as the manifest says", f"{len(bundle.items)}")
    categories = len(manifest.categories)
    shapes = {
        "vectors": (count, dims.vector),
        "bias": (count,),
        "content": (count, dims.content),
        "initial": (dims.vector,),
        "tail_mean": (dims.vector,),
        "cold_bias": (1,),
        "category_means": (categories, dims.vector),
        "category_parts": (categories, dims.vector),
        "projection": (dims.content, dims.vector),
        "calibration": (count,),
        "calibration_begin": (count,),
    }
    may_be_empty = ("category_means", "category_parts", "projection", *_CALIBRATION)
    for name, shape in shapes.items():
        array = getattr(arrays, name)
        if name in may_be_empty and not array.size:
            continue
        if array.shape != shape or array.dtype != np.float32:
            _refuse(folder / VECTORS, f"{name} {shape} float32", f"{array.shape} {array.dtype}")
    if arrays.ease_item.shape != arrays.ease_weight.shape or len(arrays.ease_item) > count:
        _refuse(
            folder / VECTORS, f"ease_item and ease_weight alike, ≤ {count} rows", f"{arrays.ease_item.shape}"
        )
    if arrays.ease_item.size and not -1 <= arrays.ease_item.min() <= arrays.ease_item.max() < count:
        _refuse(folder / VECTORS, f"ease_item from -1 to {count - 1}", f"up to {arrays.ease_item.max()}")
    texts, said = arrays.texts, arrays.text_items
    if len(texts) != len(said) or len(texts) != len(arrays.text_scales) or len(said) > count:
        _refuse(folder / VECTORS, "texts, text_items and text_scales alike", f"{len(texts)}, {len(said)}")
    if said.size and not (said[0] >= 0 and said[-1] < count and (np.diff(said) > 0).all()):
        _refuse(folder / VECTORS, f"text_items rising from 0 to {count - 1}", "others")
    if not len(arrays.words) == len(arrays.word_scales) == _lines(arrays):
        _refuse(folder / VECTORS, "words, word_scales and word_letters alike", f"{len(arrays.words)} words")
    if len(manifest.features) != dims.features:
        _refuse(folder / MANIFEST, f"{dims.features} names of features", f"{len(manifest.features)}")
    if not all(np.isfinite(getattr(arrays, name)).all() for name in (*_NEEDED, *_CALIBRATION, "word_scales")):
        _refuse(folder / VECTORS, "finite numbers", "nan or infinity", "train again: training has diverged")


def _lines(arrays: Arrays) -> int:
    """How many words there are letters for; -1 where they are no text."""
    try:
        letters = arrays.word_letters.tobytes().decode("utf-8")
        return letters.count("\n") + 1 if letters else 0
    except UnicodeDecodeError:
        return -1


def _tensors(arrays: Arrays) -> dict[str, NDArray[Any]]:
    named = {f.name: getattr(arrays, f.name) for f in fields(Arrays) if f.name != "encoder"}
    named |= {_ENCODER + name: array for name, array in arrays.encoder.items()}
    return {name: np.ascontiguousarray(array) for name, array in named.items()}


def _read_arrays(path: Path) -> Arrays:
    """The arrays; large ones are views of the mapped file, so that taking them up copies them only once."""
    try:
        tensors = _mapped(path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        _refuse(path, "arrays", f"{error}")
    encoder = {name.removeprefix(_ENCODER): a for name, a in tensors.items() if name.startswith(_ENCODER)}
    named = {f.name: tensors[f.name] for f in fields(Arrays) if f.name in tensors}
    if missing := [name for name in _NEEDED if name not in named]:
        _refuse(path, f"the arrays {', '.join(missing)}", "none of that name")
    return Arrays(**named, encoder=encoder)


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors of a safetensors file: 8 bytes of header length, a header in JSON, the tensors' bytes."""
    data: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
    begin = 8 + int(data[:8].view("<u8")[0])
    header = msgspec.json.decode(data[8:begin].tobytes())
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            part = data[begin + first : begin + last].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = part if part.nbytes > _MAPPED_FROM_BYTES else np.array(part)
    return tensors


def _pack_items(items: Iterable[Item]) -> bytes:
    # Without a time in the header, equal items make equal bytes.
    return gzip.compress(msgspec.json.Encoder().encode_lines(items), compresslevel=5, mtime=0)


def _read_items(path: Path) -> Sequence[Item]:
    try:
        with gzip.open(path) as file:
            items = Lines(file.read(), Item)
        for _ in items:  # every line must be one
            pass
    except (OSError, EOFError, msgspec.DecodeError) as error:
        _refuse(path, "one item a line", f"{error}")
    return items


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def _verify(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        _refuse(path, f"a file of {entry.bytes} bytes", "no such file")
    if (size := path.stat().st_size) != entry.bytes:
        _refuse(path, f"{entry.bytes} bytes", f"{size}")
    if (came := _entry(path).sha256) != entry.sha256:
        _refuse(path, f"SHA-256 {entry.sha256[:16]}…", f"{came[:16]}…")


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Brings a file or folder to the disk; folders cannot be synced on every system."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse(
    path: Path, expected: str, came: str, mend: str = "copy the release again or train a new one"
) -> NoReturn:
    raise ReleaseError(f"{path}: expected {expected}, got {came}; {mend}")
