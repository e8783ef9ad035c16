"""The release bundle, format version 1: a folder with everything that lists are made from, and no state.

Owns what a bundle holds. Writing and verified reading are `learner.release.files`'; a bundle at work, in
a process's numbering of items, is `learner.release.live`'s. Free of torch.

manifest.json        what the release is, and size and SHA-256 of every other file
student.onnx         one step of the student
ranker.onnx          scores of lists
vectors.safetensors  arrays by row, one row an item (see `Arrays`)
items.jsonl.gz       the items' records, one a line, row by row
index.faiss          optional: an index over the vectors, else built on load
encoder.onnx, tokenizer.json, encoder.json
                     optional: the encoder that queries are read with (`learner.text.query_encoder`)
"""

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.text.card import EncoderCard

FORMAT = 1
MANIFEST, STUDENT, RANKER = "manifest.json", "student.onnx", "ranker.onnx"
VECTORS, ITEMS, INDEX = "vectors.safetensors", "items.jsonl.gz", "index.faiss"
REQUIRED = (STUDENT, RANKER, VECTORS, ITEMS)
_ALPHABET = string.ascii_lowercase + string.digits

Floats = NDArray[np.float32]


class ReleaseError(ValueError):
    """A bundle that must not be used. Names the file, what was expected, what came and what to do."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The events a release was trained on."""

    first_ms: int
    last_ms: int
    events: int
    users: int


class Dims(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes: of item and user vectors, of the student's state, of content vectors, of features."""

    vector: int
    hidden: int
    content: int
    features: int


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of the bundle must be."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a release is. `signals` are `SignalSettings.as_dict()`; times are Unix milliseconds."""

    release: str
    created_at: int
    data: Window
    items: int
    dims: Dims
    signals: dict[str, Any]
    encoder: EncoderCard
    features: list[str]  # names of the ranker's inputs, in order
    categories: list[str]  # names by row of `Arrays.category_means` and `category_parts`
    value_scale: dict[str, tuple[float, float]]  # mean and deviation of values by kind of event
    repeat_consumption: bool
    views_consume: bool  # the data has nothing stronger than views
    prior_weight: float = 0.0  # of log popularity in the student's score
    popular_now: int = 2  # the half-lives, as places in signals.half_lives_ms, of
    popular: int = 4  # what is popular now and in the long run
    unclicked: float = 0.0  # beside the ranker's scores of items that nobody has clicked yet
    parents: list[str] = []
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}  # seed, settings, seconds, versions of libraries
    files: dict[str, FileEntry] = {}
    format: int = FORMAT


def _no_matrix() -> Floats:
    return np.zeros((0, 0), np.float32)


def _no_rows() -> NDArray[np.int32]:
    return np.full((0, 1), -1, np.int32)


@dataclass(slots=True, eq=False)
class Arrays:
    """Arrays of a release: V items, vectors of size D, content of size T, C categories."""

    vectors: Floats  # (V, D)
    bias: Floats  # (V,)
    content: Floats  # (V, T) unit rows, 0 where there is no text
    initial: Floats  # (D,) user vector before the first event
    tail_mean: Floats  # (D,) mean vector of rarely clicked items
    cold_bias: Floats  # (1,) bias of an item that training has not seen
    category_means: Floats = field(default_factory=_no_matrix)  # (C, D) mean vector of a category's items
    category_parts: Floats = field(default_factory=_no_matrix)  # (C, D) what the student adds for one
    projection: Floats = field(default_factory=_no_matrix)  # (T, D) a new item's content to its vector
    # Static item-item model; rows and entries are the release's rows, -1 padded; may have fewer than V rows.
    ease_item: NDArray[np.int32] = field(default_factory=_no_rows)  # (rows, Ke)
    ease_weight: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))  # (rows, Ke)
    # What online calibration adds to the ranker's scores, and in a refreshed release where it began: with
    # what the training had left.
    calibration: Floats = field(default_factory=lambda: np.zeros(0, np.float32))  # (V,), or nothing
    calibration_begin: Floats = field(default_factory=lambda: np.zeros(0, np.float32))  # (V,), or nothing
    encoder: dict[str, NDArray[Any]] = field(default_factory=dict)  # of `learner.text.content.ContentEncoder`
    # What the encoder made of items' texts, unprojected: W numbers of 8 bits, times the row's scale.
    text_items: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) rows, rising
    texts: NDArray[np.int8] = field(default_factory=lambda: np.zeros((0, 0), np.int8))  # (n, W)
    text_scales: Floats = field(default_factory=lambda: np.zeros(0, np.float32))  # (n,)
    # And of the words that items say most, of which `word_letters` has the letters in UTF-8, a line each.
    word_letters: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    words: NDArray[np.int8] = field(default_factory=lambda: np.zeros((0, 0), np.int8))  # (m, W)
    word_scales: Floats = field(default_factory=lambda: np.zeros(0, np.float32))  # (m,)


@dataclass(slots=True, eq=False)
class Bundle:
    """A release in memory. `ranker` is None only between the stages of training.

    query_encoder: the folder that has the files of the encoder, if there is one; a release carries a copy
    """

    manifest: Manifest
    student: bytes
    ranker: bytes | None
    arrays: Arrays
    items: Sequence[Item]
    query_encoder: Path | None = None


def release_id(at_ms: int, rng: np.random.Generator | None = None) -> str:
    """Returns r-YYYYMMDD-HHMMSS-xxxx (UTC); the four characters are unguessable unless drawn from `rng`."""
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%d-%H%M%S")
    drawn = [secrets.randbelow(36) for _ in range(4)] if rng is None else rng.integers(0, 36, 4).tolist()
    return f"r-{stamp}-{''.join(_ALPHABET[k] for k in drawn)}"


def mean_vectors(
    vectors: Floats, categories: NDArray[np.int32], clicks: NDArray[np.integer], names: int
) -> tuple[Floats, Floats]:
    """Vectors that stand in for those of new items.

    vectors (V, D), categories (V, 6) -1 padded, clicks (V,) -> the mean vector of each category's items
    (names, D), and of the items with at most the median of clicks (D,). A category without items gets
    the latter.
    """
    tail = vectors[clicks <= np.median(clicks)].mean(0, dtype=np.float64) if len(vectors) else None
    tail = np.zeros(vectors.shape[1]) if tail is None else tail
    rows, slots = np.nonzero(categories >= 0)
    of = categories[rows, slots]
    sums = np.zeros((names, vectors.shape[1]))
    np.add.at(sums, of, vectors[rows])
    count = np.bincount(of, minlength=names)[:, None]
    return np.where(count > 0, sums / np.maximum(count, 1), tail).astype(np.float32), tail.astype(np.float32)
