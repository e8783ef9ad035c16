"""Releases: one immutable folder with all that a worker needs to answer, and its loading.

Owns the format (version 1), its checksums, and a loaded release's arrays aligned with a catalogue's
numbering. Needs no torch. Does not know which release is live, nor the index over its vectors.

    manifest.json         what it is, and the sha256 of every other file
    student.onnx          one step of the student: event and hidden state in, hidden state and user vector out
    ranker.onnx           features of candidates in, scores out; standardisation is inside
    arrays.safetensors    item vectors, biases, content; what a new item's vector is made from
    items.jsonl.gz        the items in the order of the arrays' rows
"""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from learner.candidates import ModelArrays
from learner.catalogue import Catalogue, Item
from learner.inputs import normalise_values

FORMAT = 1
MANIFEST = "manifest.json"
STUDENT, RANKER, ARRAYS, ITEMS = "student.onnx", "ranker.onnx", "arrays.safetensors", "items.jsonl.gz"

Floats = NDArray[np.float32]


class ReleaseError(Exception):
    """A bundle that cannot be used: names the file, what was expected, what came and what to do."""


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """`manifest.json`: everything about a release but its weights."""

    format: int
    release: str
    created_at: int  # Unix ms
    parents: list[str]
    items: int
    vector_size: int  # D
    hidden_size: int  # S
    features: list[str]  # columns that the ranker reads, in order
    repeat_consumption: bool
    views_consume: bool
    value_scale: dict[str, tuple[float, float]]  # kind -> mean and deviation of its values
    signals: dict[str, Any]  # learner.signals.SignalSettings
    prior_weight: float
    popular_now: int
    popular: int
    cold_bias: float
    categories: list[str]  # in the order of `category_vectors`
    encoder: dict[str, Any]  # what encodes new items, and its licence
    data: dict[str, Any]  # events, users, from, to
    metrics: dict[str, Any]
    files: dict[str, str]  # name -> sha256


@dataclass(frozen=True)
class Bundle:
    """What training hands over to be written. Rows of all item arrays are those of `items`."""

    release: str
    created_at: int
    items: list[Item]
    student: bytes
    ranker: bytes
    features: tuple[str, ...]
    hidden_size: int
    vectors: Floats  # (V, D)
    bias: Floats  # (V,)
    content: Floats  # (V, T)
    initial: Floats  # (D,) user vector before the first event
    projection: Floats  # (T, D) content to vector
    category_vectors: Floats  # (C, D)
    categories: list[str]
    cold_bias: float
    ease_item: NDArray[np.int32]  # (V, Ke) -1 padded
    ease_weight: Floats  # (V, Ke)
    repeat_consumption: bool
    views_consume: bool
    value_scale: Mapping[str, tuple[float, float]]
    signals: dict[str, Any]
    prior_weight: float
    popular_now: int
    popular: int
    encoder: dict[str, Any] = field(default_factory=dict)
    encoder_arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()


def write_release(folder: Path, bundle: Bundle) -> Manifest:
    """Writes the bundle so that it is there whole or not at all; replaces a release at the same place.

    Raises ReleaseError where `folder` holds something that is no release.
    """
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} holds something that is no release; name a new folder")
    contents = _contents(bundle)
    manifest = Manifest(
        format=FORMAT,
        release=bundle.release,
        created_at=bundle.created_at,
        parents=list(bundle.parents),
        items=len(bundle.items),
        vector_size=bundle.vectors.shape[1],
        hidden_size=bundle.hidden_size,
        features=list(bundle.features),
        repeat_consumption=bundle.repeat_consumption,
        views_consume=bundle.views_consume,
        value_scale=dict(bundle.value_scale),
        signals=bundle.signals,
        prior_weight=bundle.prior_weight,
        popular_now=bundle.popular_now,
        popular=bundle.popular,
        cold_bias=bundle.cold_bias,
        categories=bundle.categories,
        encoder=bundle.encoder,
        data=bundle.data,
        metrics=bundle.metrics,
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    contents[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in contents.items():
            with (unfinished / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        unfinished.chmod(0o755)
        _sync_folder(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks `manifest.json` alone."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be read ({error.strerror}); name a folder that `nextclick train --out` has written"
        ) from None
    try:
        version = json.loads(raw).get("format")
    except (ValueError, AttributeError):
        raise ReleaseError(
            f"{path} is no JSON object; the bundle is damaged, copy or train it again"
        ) from None
    if version != FORMAT:
        raise ReleaseError(
            f"{path} has format {version!r}, this version reads format {FORMAT}; "
            "train the release again, or install the version that wrote it"
        )
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise ReleaseError(f"{path}: {error}; the bundle is damaged, copy or train it again") from None


def bundle_sha256(folder: Path) -> str:
    """One checksum for the whole bundle: that of its manifest, which holds all others."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def verify_release(folder: Path) -> Manifest:
    """Checks every file against the manifest. Raises ReleaseError, which names the one that does not fit."""
    return _verified_files(folder)[0]


def load_release(folder: Path, catalogue: Catalogue) -> "LiveRelease":
    """Verifies every file, then loads the bundle onto the catalogue's numbering.

    The bundle's items join the catalogue, unless their owner has spoken of them since. Raises
    ReleaseError, which names the file that is damaged or missing.
    """
    manifest, contents = _verified_files(folder)
    try:
        arrays = load_arrays(contents[ARRAYS])
        items = [
            msgspec.json.decode(line, type=Item) for line in gzip.decompress(contents[ITEMS]).splitlines()
        ]
        student, ranker = _session(contents[STUDENT]), _session(contents[RANKER])
    except (SafetensorError, msgspec.DecodeError, OSError, RuntimeError) as error:
        raise ReleaseError(f"{folder}: {error}; the bundle is damaged, copy or train it again") from None
    rows = np.array([catalogue.admit(item) for item in items], np.int64)
    return LiveRelease(manifest, catalogue, rows, arrays, student, ranker)


class LiveRelease:
    """A loaded release: its models, and its item arrays by the catalogue's numbers. One thread at a time."""

    def __init__(
        self,
        manifest: Manifest,
        catalogue: Catalogue,
        rows: NDArray[np.int64],
        arrays: Mapping[str, NDArray[Any]],
        student: onnxruntime.InferenceSession,
        ranker: onnxruntime.InferenceSession,
    ) -> None:
        self.manifest = manifest
        self.catalogue = catalogue
        self.arrays = arrays  # as stored; the encoder of new items reads its own from here
        self.initial_vector: Floats = arrays["initial"]
        self._student, self._ranker = student, ranker
        self._category_rows = {name: row for row, name in enumerate(manifest.categories)}
        self._known = np.zeros(0, np.bool_)  # by number: has a vector of its own
        self._bare: set[int] = set()  # items without one, whose categories may still be announced
        self._reach = 0
        ease_item, ease_weight = arrays["ease_item"], arrays["ease_weight"]
        numbers = np.append(rows, -1)  # so that the padding -1 stays -1
        self.model = ModelArrays(
            vectors=np.zeros((0, manifest.vector_size), np.float32),
            bias=np.zeros(0, np.float32),
            content=np.zeros((0, arrays["content"].shape[1]), np.float32),
            prior_weight=manifest.prior_weight,
            popular_now=manifest.popular_now,
            popular=manifest.popular,
            ease_item=np.full((0, ease_item.shape[1]), -1, np.int32),
            ease_weight=np.zeros((0, ease_weight.shape[1]), np.float32),
        )
        self._grow(max(catalogue.capacity, 1))
        self.model.vectors[rows] = arrays["vectors"]
        self.model.bias[rows] = arrays["bias"]
        self.model.content[rows] = arrays["content"]
        self.model.ease_item[rows] = numbers[ease_item].astype(np.int32)
        self.model.ease_weight[rows] = ease_weight
        self._known[rows] = True
        self.ensure(catalogue)

    @property
    def id(self) -> str:
        """The release's id."""
        return self.manifest.release

    @property
    def hidden_size(self) -> int:
        """S: numbers in a user's hidden state."""
        return self.manifest.hidden_size

    @property
    def vector_size(self) -> int:
        """D: numbers in a user's or an item's vector."""
        return self.manifest.vector_size

    def ensure(self, catalogue: Catalogue) -> None:
        """Gives every item of the catalogue a vector: new ones what their categories say."""
        if catalogue.size > len(self._known):
            self._grow(catalogue.capacity)
        for item in range(self._reach, catalogue.size):
            if not self._known[item]:
                self.describe(item)
        self._reach = catalogue.size

    def describe(self, item: int) -> None:
        """The vector of an item that training has not seen: the mean of its categories' vectors."""
        if self._known[item]:
            return
        record = self.catalogue.records.get(item)
        rows = [
            self._category_rows[name]
            for name in (record.categories if record else ())
            if name in self._category_rows
        ]
        vectors: Floats = self.arrays["category_vectors"]
        self.model.vectors[item] = vectors[rows].mean(axis=0) if rows else 0.0
        self.model.bias[item] = self.manifest.cold_bias

    def set_vector(self, item: int, vector: Floats, content: Floats) -> None:
        """The encoded text of an item that training has not seen: vector (D,), content (T,)."""
        if self._known[item] or vector.shape != (self.vector_size,):
            return  # the release knows it, or another release's learner sent it
        self.model.vectors[item] = vector
        self.model.bias[item] = self.manifest.cold_bias
        if content.shape == self.model.content[item].shape:
            self.model.content[item] = content

    def knows(self, item: int) -> bool:
        """Whether training has seen the item."""
        return item < len(self._known) and bool(self._known[item])

    def vector_of(self, content: Floats, categories: list[str]) -> Floats:
        """The vector (D,) of a new item from its encoded text (T,) and its categories."""
        rows = [self._category_rows[name] for name in categories if name in self._category_rows]
        vectors: Floats = self.arrays["category_vectors"]
        vector: Floats = content @ self.arrays["projection"]
        return (vector + vectors[rows].mean(axis=0) if rows else vector).astype(np.float32)

    def normalised(self, kinds: NDArray[Any], values: Floats) -> Floats:
        """Values in deviations of their kind; 0 where there is none. Any shape."""
        return normalise_values(kinds, values, self.manifest.value_scale)

    def step(
        self, vectors: Floats, kinds: NDArray[np.int64], gaps: Floats, values: Floats, hidden: Floats
    ) -> tuple[Floats, Floats]:
        """One event for each of B users: item vectors (B, D), kinds (B,), log gaps (B,), values (B,), hidden (B, S).

        Returns hidden (B, S) and user vectors (B, D).
        """
        feed = {"item_vector": vectors, "kind": kinds, "log_gap": gaps, "value": values, "hidden": hidden}
        state, user = self._student.run(None, feed)
        return state, user

    def rank(self, features: Floats) -> Floats:
        """Scores (B, C) of candidates with features (B, C, F)."""
        scores: Floats = self._ranker.run(None, {"features": features})[0]
        return scores

    def _grow(self, capacity: int) -> None:
        model = self.model
        for name, empty in (
            ("vectors", 0), ("bias", 0), ("content", 0), ("ease_item", -1), ("ease_weight", 0),
        ):  # fmt: skip
            old = getattr(model, name)
            new = np.full((capacity, *old.shape[1:]), empty, old.dtype)
            new[: len(old)] = old
            setattr(model, name, new)
        known = np.zeros(capacity, np.bool_)
        known[: len(self._known)] = self._known
        self._known = known


def _contents(bundle: Bundle) -> dict[str, bytes]:
    arrays = {
        "vectors": bundle.vectors,
        "bias": bundle.bias,
        "content": bundle.content,
        "initial": bundle.initial,
        "projection": bundle.projection,
        "category_vectors": bundle.category_vectors,
        "ease_item": bundle.ease_item.astype(np.int32),
        "ease_weight": bundle.ease_weight,
        **{f"encoder.{name}": array for name, array in bundle.encoder_arrays.items()},
    }
    lines = b"\n".join(msgspec.json.encode(item) for item in bundle.items)
    return {
        STUDENT: bundle.student,
        RANKER: bundle.ranker,
        ARRAYS: save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}),
        ITEMS: gzip.compress(lines, 6, mtime=0),
    }


def _verified_files(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    manifest = read_manifest(folder)
    contents = {name: _verified(folder / name, digest) for name, digest in manifest.files.items()}
    for name in (STUDENT, RANKER, ARRAYS, ITEMS):
        if name not in contents:
            raise ReleaseError(f"{folder / MANIFEST} does not list {name}; the bundle is damaged")
    return manifest, contents


def _verified(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be read ({error.strerror}); copy or train the bundle again"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ReleaseError(
            f"{path} is damaged: sha256 {found[:12]}…, the manifest says {digest[:12]}…; copy or train it again"
        )
    return content


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # small models: a second thread costs more than it brings
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
