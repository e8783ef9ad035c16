"""What items say of themselves, as vectors: a reader turns texts into rows, a projection makes them small.

Owns the text of an item, the projection to 64 dimensions, and two ways to read: `encode`, with the
language model where it is installed (else hashed words), and `glance`, from a table of words that the
release carries: no model, microseconds, close to what the model says. Workers glance at queries, and the
tail of a very large catalogue is only glanced at. Knows no student, which learns its own use of the rows.
Free of torch.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.text import minilm, words
from learner.text.cache import TextCache
from learner.text.wordpiece import WordPieces

DIMENSIONS = 64  # keeps all that 384 say of which items go together; 32 lose a little (docs/log.md)
MINILM = minilm.NAME
HASHED = "hashed-words"
_READ_AT_MOST = 20_000  # texts read in full, two minutes of one core; projection and table are fitted on them

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]


def text_of(item: Item) -> str:
    """What a reader should know of an item, in the order of importance."""
    values = [value if isinstance(value, list) else [value] for value in item.attributes.values()]
    attributes = [", ".join(part for part in value if isinstance(part, str)) for value in values]
    parts = [item.title, ", ".join(item.categories), ", ".join(item.tags), item.description, *attributes]
    return ". ".join(part for part in parts if part)


class ContentEncoder:
    """Texts to rows (n, 64) float32 of length 1, or 0 where there is no text.

    `name` is the reader's; `mean` (R,) and `components` (R, 64) project what it makes of a text (principal
    components of the items it was fitted on). `vocabulary` and `table` (pieces, 64) float16 are for
    `glance`; an encoder of hashed words has none, since it is as quick itself.
    """

    def __init__(
        self, name: str, mean: Floats, components: Floats,
        vocabulary: NDArray[np.uint8] | None = None, table: NDArray[np.float16] | None = None,
        cache: TextCache | None = None,
    ) -> None:  # fmt: skip
        self.name, self.mean, self.components = name, mean, components
        self._vocabulary, self._table = vocabulary, table
        self._cache = cache
        self._pieces: WordPieces | None = None

    @classmethod
    def fit(
        cls, items: Sequence[Item], progress: Progress | None = None, *, cache: TextCache | None = None
    ) -> "ContentEncoder":
        """An encoder for such items: the best reader installed, projected to what tells them apart.

        Of very many items the first ones count, so name those first that matter. `cache` keeps what has
        been read between processes; without one it is kept in memory alone.
        """
        name = MINILM if minilm.installed() else HASHED
        texts = list(dict.fromkeys(text for text in map(text_of, items) if text))[:_READ_AT_MOST]
        size = minilm.SIZE if name == MINILM else words.HASHED_SIZE
        nothing = np.zeros(size, np.float32), np.zeros((size, DIMENSIONS), np.float32)
        encoder = cls(name, *nothing, cache=cache or TextCache())
        if texts:
            rows = encoder._read(texts, progress)
            encoder.mean, encoder.components = _principal(rows)
            if name == MINILM:
                vocabulary, embeddings = minilm.word_table()
                targets = ((rows - encoder.mean) @ encoder.components).astype(np.float32)
                encoder._vocabulary = WordPieces.to_bytes(vocabulary)
                encoder._table = words.fitted_table(WordPieces(vocabulary), embeddings, texts, targets)
        return encoder

    @classmethod
    def load(
        cls, info: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, cache: TextCache | None = None
    ) -> "ContentEncoder":
        """The encoder that a release was made with, from its name and `arrays`."""
        return cls(
            info["name"], arrays["mean"], arrays["components"], arrays.get("vocabulary"), arrays.get("table"),
            cache or TextCache(),
        )  # fmt: skip

    @property
    def info(self) -> dict[str, Any]:
        """What the manifest says of the encoder."""
        if self.name == MINILM:
            return {"name": self.name, "license": minilm.LICENCE, "source": minilm.SOURCE}
        return {"name": self.name, "license": "none needed", "source": ""}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the release stores of the encoder: 100 KB, and 4 MB where it has a table."""
        arrays: dict[str, NDArray[Any]] = {"mean": self.mean, "components": self.components}
        if self._vocabulary is not None and self._table is not None:
            arrays |= {"vocabulary": self._vocabulary, "table": self._table}
        return arrays

    def encode(self, items: Sequence[Item], progress: Progress | None = None) -> Floats:
        """Content vectors (n, 64) of items."""
        return self.encode_texts([text_of(item) for item in items], progress)

    def encode_texts(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Vectors (n, 64) of texts.

        The first 20,000 different ones are read in full, further ones glanced at, as are all where the
        language model is not installed. Raises LookupError where there is no table to do so either.
        """
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            if text:
                places.setdefault(text, []).append(place)
        different = list(places)
        hashed = self.name == HASHED
        in_full = 0 if hashed or not (minilm.installed() or self._table is None) else _READ_AT_MOST
        found = self.glance(different[in_full:])
        if some := different[:in_full]:
            found = np.concatenate([self.project(self._read(some, progress)), found])
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, own in zip(found, places.values(), strict=True):
            rows[own] = row
        return rows

    def glance(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, 64) of texts without the language model: the mean of what their words usually say."""
        if self.name == HASHED:
            return self.project(words.hashed_words(texts))
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        if self._table is None or self._vocabulary is None:
            return rows
        if self._pieces is None:
            self._pieces = WordPieces.from_bytes(self._vocabulary)
        for row, text in zip(rows, texts, strict=True):
            if pieces := self._pieces.split(text):
                row[:] = self._table[pieces].mean(axis=0, dtype=np.float32)
        return _unit(rows)

    def wish(self, query: str) -> Floats:
        """Vector (64,) of a wish in plain language ("a funny film for a rainy evening"), by a glance."""
        vector: Floats = self.glance([words.telling_words(query)])[0]
        return vector

    def project(self, rows: Floats) -> Floats:
        """What a reader has made of texts (n, R), as vectors (n, 64)."""
        read = rows.any(axis=1, keepdims=True)
        return _unit(np.where(read, (rows - self.mean) @ self.components, 0.0).astype(np.float32))

    def _read(self, texts: Sequence[str], progress: Progress | None) -> Floats:
        """Rows (n, R) of non-empty texts, from the cache where it has them."""
        if self.name == HASHED:
            return words.hashed_words(texts)
        assert self._cache is not None
        keys = [blake2b(f"{self.name} {text}".encode(), digest_size=16).digest() for text in texts]
        return self._cache.rows(
            keys, minilm.SIZE, lambda missing: minilm.load().read([texts[n] for n in missing], progress)
        )


def _principal(rows: Floats) -> tuple[Floats, Floats]:
    """Mean (R,) and leading components (R, 64) of rows (n, R); columns are 0 where there are fewer."""
    mean = rows.mean(axis=0)
    centred = (rows - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    kept = vectors[:, np.argsort(-values)[:DIMENSIONS]]
    kept *= np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(DIMENSIONS)])  # the sign is arbitrary
    return mean, kept.astype(np.float32)


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0.0).astype(np.float32)
