"""A release at work: its models loaded and its arrays in the process's numbering of items.

Owns the alignment of a bundle with a catalogue, and which items have a vector of their own. Knows no index,
no users and no Kafka. Free of torch: workers import it. What a bundle holds is `learner.release.bundle`'s;
the calls into ONNX Runtime are `learner.release.sessions`'.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learner.data.arrays import grown
from learner.data.catalogue import Catalogue
from learner.data.inputs import normalise_by_code, normalise_value, scale_by_code
from learner.ranking.arrays import ModelArrays
from learner.ranking.columns import FEATURES
from learner.ranking.features import Features
from learner.release.bundle import (
    MANIFEST,
    RANKER,
    STUDENT,
    Arrays,
    Bundle,
    ReleaseError,
)
from learner.release.files import read_release
from learner.release.sessions import RankerSession, StudentSession
from learner.release.stand_ins import StandIns
from learner.release.text_vectors import TextVectors
from learner.release.word_vectors import WordVectors
from learner.text.space import space_of, turned

Floats = NDArray[np.float32]


class LiveRelease:
    """Models and arrays that lists are made with. Not for two threads at once, but for `step` and `rank`.

    model: arrays by the catalogue's item numbers; read them from here each time, growth replaces them
    own (capacity,) bool: the item has a vector of its own, from the release or from `set_vector`
    initial_vector (D,) float32: user vector before the first event
    encoder: arrays of the text encoder, for `learner.text.content.ContentEncoder.load`
    space: what the numbers of content vectors mean: two releases of one space make the same of a text
    query_encoder: the folder that has the encoder's files, for `learner.text.query_encoder`, if there is one
    texts: what that encoder made of items' texts, by the catalogue's numbers; none of newer items
    words: what it made of the words that items say most
    """

    def __init__(
        self,
        bundle: Bundle,
        catalogue: Catalogue,
        *,
        numbers: NDArray[np.int64] | None = None,
        folder: Path | None = None,
        features: Sequence[str] = FEATURES,
    ) -> None:
        """Admits the bundle's items to the catalogue and takes up its arrays.

        `numbers`: of items already admitted by `catalogue.admit_all`; a busy worker does that in slices,
        and then all of this beside its batches. `folder` is what errors name; `features` are the names of
        the features that `rank` will get.
        Raises ReleaseError where the models do not fit the manifest or this version's features.
        """
        manifest, arrays = bundle.manifest, bundle.arrays
        self.id = manifest.release
        self.manifest = manifest
        self.catalogue = catalogue
        self.encoder = arrays.encoder
        self.space = space_of(manifest.encoder, arrays.encoder)
        self.query_encoder = bundle.query_encoder
        self.hidden_size = manifest.dims.hidden
        self.vector_size = manifest.dims.vector
        self.initial_vector: Floats = arrays.initial
        # Of few distinct values most come again and again, ratings above all. Not a cached method: its cycle
        # would keep a release in memory after a swap until the next full collection.
        self.normalised_value: Callable[[int, float], float] = lru_cache(maxsize=4096)(
            partial(normalise_value, scale=manifest.value_scale)
        )
        self._scale = scale_by_code(manifest.value_scale)
        where = folder or Path(self.id)
        if bundle.ranker is not None and list(features) != manifest.features:
            raise ReleaseError(
                f"{where / MANIFEST}: expected a ranker for this version's {len(features)} features, "
                f"got one for {_difference(manifest.features, features)}; train a new release"
            )
        self._student = StudentSession(bundle.student, where / STUDENT)
        self._ranker = None if bundle.ranker is None else RankerSession(bundle.ranker, where / RANKER)
        self._student.try_out(manifest.dims)
        if self._ranker is not None:
            self._ranker.try_out(manifest.dims.features)
        self._stand_ins = StandIns(manifest.categories, arrays, catalogue)
        self._known = 0  # items of the catalogue that have rows
        self._align(catalogue.admit_all(bundle.items) if numbers is None else numbers, arrays)

    def step(
        self, item_vectors: Floats, kinds: NDArray[np.int64], log_gaps: Floats, values: Floats, hidden: Floats
    ) -> tuple[Floats, Floats]:
        """One event for each of B users, as `StudentSession.step` says."""
        return self._student.step(item_vectors, kinds, log_gaps, values, hidden)

    def rank(self, features: Features | Floats) -> Floats:
        """Scores (B, C) float32 of lists of candidates, with features in parts or all columns (B, C, F)."""
        if self._ranker is None:
            raise ReleaseError(f"{self.id}: expected a ranker, got none; this release is still in training")
        return self._ranker.scores(features)

    def replace_ranker(self, model: bytes) -> None:
        """Takes another ranker over the same features: a replay's, which learns as it goes."""
        self._ranker = RankerSession(model, Path(self.id) / RANKER)

    def normalised(self, kinds: NDArray[np.integer], values: Floats) -> Floats:
        """Values in standard deviations of their kind, in any shape; 0 where there is none."""
        return normalise_by_code(kinds, values, self._scale)  # type: ignore[arg-type]

    def ensure(self, catalogue: Catalogue) -> None:
        """Gives stand-in vectors to items that have joined the catalogue since the last call."""
        size = catalogue.size
        if size == self._known:
            return
        if size > len(self.own):
            self._grow(catalogue.capacity)
        new = np.arange(self._known, size)
        self._known = size
        self._stand_in(new)

    def refresh(self, items: Iterable[int]) -> None:
        """Renews the stand-in vectors of items whose categories may have changed; own vectors stay."""
        numbers = np.fromiter(items, np.int64)
        self._stand_in(numbers[~self.own[numbers]])

    def set_vector(self, item: int, vector: Floats, content: Floats) -> None:
        """Takes the vector (D,) and content (T,) of an item that is newer than the release.

        Items of the release keep theirs: the vector may have been made for an older release.
        """
        if len(vector) != self.vector_size or len(content) not in (0, self.manifest.dims.content):
            raise ValueError(
                f"item {self.catalogue.ids[item]}: expected a vector of {self.vector_size} and content of "
                f"{self.manifest.dims.content} numbers, got {len(vector)} and {len(content)}"
            )
        self.ensure(self.catalogue)
        if self._released[item]:
            return
        self.model.vectors[item] = vector
        self.model.bias[item] = self._stand_ins.bias
        self.model.content[item] = content if len(content) else 0.0
        self.own[item] = True

    def content_of(self, content: Floats, other: "LiveRelease") -> Floats | None:
        """What `content` (T,), which `other` has made of a text, is here; None where that cannot be told."""
        if self.space == other.space:
            return content
        same = self.manifest.encoder == other.manifest.encoder
        if not same or "components" not in self.encoder or "components" not in other.encoder:
            return None
        return turned(content, other.encoder, self.encoder)

    def embed(self, content: Floats, categories: Sequence[str]) -> Floats:
        """The vector (D,) that the student gives an unclicked item with `content` (T,) and categories."""
        return self._stand_ins.embed(content, categories)

    def _align(self, numbers: NDArray[np.int64], arrays: Arrays) -> None:
        """Puts row r of the bundle's arrays into row numbers[r]."""
        capacity, dims = self.catalogue.capacity, self.manifest.dims
        self._released: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._released[numbers] = True
        self.own: NDArray[np.bool_] = self._released.copy()
        ease_item, ease_weight = _placed_ease(arrays, numbers)
        self.model = ModelArrays(
            vectors=np.zeros((capacity, dims.vector), np.float32),
            bias=np.zeros(capacity, np.float32),
            content=np.zeros((capacity, dims.content), np.float32),
            prior_weight=self.manifest.prior_weight,
            popular_now=self.manifest.popular_now,
            popular=self.manifest.popular,
            ease_item=ease_item,
            ease_weight=ease_weight,
            calibration=np.zeros(capacity, np.float32),
        )
        self.words = WordVectors.unpacked(arrays)
        self.texts = TextVectors(arrays.text_items, arrays.texts, arrays.text_scales).placed(numbers)
        if arrays.calibration.size:
            self.model.calibration[numbers] = arrays.calibration
        self.model.vectors[numbers] = arrays.vectors
        self.model.bias[numbers] = arrays.bias
        self.model.content[numbers] = arrays.content
        self.ensure(self.catalogue)

    def _grow(self, capacity: int) -> None:
        model = self.model
        self.model = model._replace(
            vectors=grown(model.vectors, capacity),
            bias=grown(model.bias, capacity),
            content=grown(model.content, capacity),
            calibration=grown(model.calibration, capacity),
        )
        self.own = grown(self.own, capacity)
        self._released = grown(self._released, capacity)

    def _stand_in(self, numbers: NDArray[np.int64]) -> None:
        numbers = numbers[~self.own[numbers]]
        if len(numbers):
            self.model.vectors[numbers] = self._stand_ins.means(numbers)
            self.model.bias[numbers] = self._stand_ins.bias


def load_release(
    folder: Path | str, catalogue: Catalogue, *, features: Sequence[str] = FEATURES
) -> LiveRelease:
    """Reads and verifies a bundle and takes it up; `read_release` and `LiveRelease` do so in two steps.

    Raises ReleaseError, which names the damaged file; the catalogue is then unchanged.
    """
    return LiveRelease(read_release(Path(folder)), catalogue, folder=Path(folder), features=features)


def try_models(bundle: Bundle, folder: Path) -> None:
    """Whether a bundle's models fit, before any of its items joins a catalogue.

    Raises ReleaseError, which names the file in `folder` that does not.
    """
    arrays = bundle.arrays
    models = replace(
        bundle, items=[], arrays=replace(
            arrays, vectors=arrays.vectors[:0], bias=arrays.bias[:0], content=arrays.content[:0],
            calibration=arrays.calibration[:0], calibration_begin=arrays.calibration_begin[:0],
            ease_item=arrays.ease_item[:0], ease_weight=arrays.ease_weight[:0],
            text_items=arrays.text_items[:0], texts=arrays.texts[:0], text_scales=arrays.text_scales[:0],
        ),
    )  # fmt: skip
    LiveRelease(models, Catalogue(), folder=folder)


def _placed_ease(arrays: Arrays, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], Floats]:
    """EASE rows by the catalogue's numbers, as many as the last one that says anything needs."""
    item, weight = arrays.ease_item, arrays.ease_weight
    if not item.size:
        return np.full((0, 1), -1, np.int32), np.zeros((0, 1), np.float32)
    used = np.flatnonzero((item >= 0).any(1))
    rows = int(numbers[used].max(initial=-1)) + 1
    placed = np.full((rows, item.shape[1]), -1, np.int32)
    weights = np.zeros((rows, item.shape[1]), np.float32)
    # What a row has no weight for goes to its end: the kernel reads a row up to there.
    order = np.argsort(item[used] < 0, axis=1, kind="stable")
    entries = np.take_along_axis(item[used], order, 1)
    placed[numbers[used]] = np.where(entries >= 0, numbers[entries], -1)
    weights[numbers[used]] = np.take_along_axis(weight[used], order, 1)
    return placed, weights


def _difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    missing = [name for name in theirs if name not in ours]
    new = [name for name in ours if name not in theirs]
    parts = [f"{len(theirs)}"]
    if missing:
        parts.append(f"with {', '.join(missing[:3])}{'…' if len(missing) > 3 else ''}")
    if new:
        parts.append(f"without {', '.join(new[:3])}{'…' if len(new) > 3 else ''}")
    return ", ".join(parts) if missing or new else f"{len(theirs)} in another order"
