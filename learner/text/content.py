"""What items say of themselves, as vectors: a reader turns texts into rows, a projection makes them small.

Owns the text of an item, the projection to 64 dimensions, and two ways to read: `encode`, with the encoder
that was chosen, where it is at hand (else hashed words), and `glance`, by the words alone and with what the
release carries: no model, microseconds, close to what the encoder says. The tail of a very large catalogue is
only glanced at. Knows no student, which learns its own use of the rows. Free of torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.text import encoder as encoders
from learner.text import words
from learner.text.cache import TextCache
from learner.text.card import EncoderCard, EncoderChoice, EncoderError
from learner.text.encoder import Encoder
from learner.text.reading import keys_of
from learner.text.wordpiece import WordPieces

DIMENSIONS = 64  # keeps all that 384 say of which items go together; 32 lose a little (docs/log.md)
HASHED = "hashed-words"
HASHED_CARD = EncoderCard(name=HASHED, licence="none needed", width=words.HASHED_SIZE)
READ_AT_MOST = 20_000  # texts read in full, two minutes of one core; projection and table are fitted on them

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

    `card` is the reader's; `mean` (R,) and `components` (R, 64) project what it makes of a text (principal
    components of the items it was fitted on). For `glance` there are `vocabulary` and `table` (pieces, 64)
    float16 where the reader splits words as BERT does, else `spread` (513, 64) of hashed words; a reader of
    hashed words has neither, since it is as quick itself.
    """

    def __init__(
        self, card: EncoderCard, mean: Floats, components: Floats,
        hints: Mapping[str, NDArray[Any]] | None = None, *,
        cache: TextCache | None = None, reader: Encoder | None = None, folder: Path | None = None,
    ) -> None:  # fmt: skip
        """`reader`: one that is at hand; else the card says which; a release's `folder` may have a copy."""
        self.card, self.mean, self.components = card, mean, components
        self._hints = dict(hints or {})
        self.cache = cache or TextCache()
        self._reader, self.folder = reader, folder
        self._pieces: WordPieces | None = None

    @classmethod
    def fit(
        cls, items: Sequence[Item], progress: Progress | None = None, *, cache: TextCache | None = None,
        choice: EncoderChoice | None = None, reader: Encoder | None = None,
    ) -> "ContentEncoder":  # fmt: skip
        """An encoder for such items, projected to what tells them apart.

        It reads with `reader`, else with the one of `choice`, else with the default where that is installed,
        else by hashed words. Of very many items the first ones count, so name those first that matter.
        `cache` keeps what has been read between processes; without one it is kept in memory alone.
        Raises EncoderError where what was chosen cannot be had.
        """
        card = card_for(choice, reader)
        texts = list(dict.fromkeys(text for text in map(text_of, items) if text))[:READ_AT_MOST]
        nothing = np.zeros(card.width, np.float32), np.zeros((card.width, DIMENSIONS), np.float32)
        encoder = cls(card, *nothing, cache=cache, reader=reader)
        if texts:
            rows = encoder.rows(texts, progress)
            encoder.mean, encoder.components = _principal(rows)
            targets = ((rows - encoder.mean) @ encoder.components).astype(np.float32)
            encoder._hints = {} if card.name == HASHED else _hints(card, texts, targets)
        return encoder

    @classmethod
    def load(
        cls, card: EncoderCard, arrays: Mapping[str, NDArray[Any]], *, cache: TextCache | None = None,
        reader: Encoder | None = None, folder: Path | None = None,
    ) -> "ContentEncoder":  # fmt: skip
        """The encoder that a release was made with, from its manifest's card and its `arrays`.

        `reader` counts where it is the same one; `folder` is the release's.
        """
        hints = {name: array for name, array in arrays.items() if name not in ("mean", "components")}
        if reader is not None and reader.card.identity != card.identity:
            reader = None
        return cls(
            card, arrays["mean"], arrays["components"], hints, cache=cache, reader=reader, folder=folder
        )

    @property
    def name(self) -> str:
        """The reader's."""
        return self.card.name

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the release stores of the encoder: 100 KB, and 4 MB where it has a table."""
        return {"mean": self.mean, "components": self.components, **self._hints}

    def encode(self, items: Sequence[Item], progress: Progress | None = None) -> Floats:
        """Content vectors (n, 64) of items."""
        return self.encode_texts([text_of(item) for item in items], progress)

    def encode_texts(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Vectors (n, 64) of texts.

        The first 20,000 different ones are read in full, further ones glanced at, as are all where the
        reader is not at hand. Raises EncoderError where nothing is there to do so either.
        """
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            if text:
                places.setdefault(text, []).append(place)
        different = list(places)
        in_full = READ_AT_MOST if different and self.can_read() else 0
        found = self.glance(different[in_full:])
        if some := different[:in_full]:
            found = np.concatenate([self.project(self.rows(some, progress)), found])
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, own in zip(found, places.values(), strict=True):
            rows[own] = row
        return rows

    def said(self, items: Sequence[Item]) -> Floats:
        """What the reader makes of items' texts (n, R), unprojected; 0 where a text is not read in full.

        By hashed words nothing is: a query finds more by its words.
        """
        texts = [text_of(item) for item in items]
        rows = np.zeros((len(texts), len(self.mean)), np.float32)
        if self.name == HASHED or not any(texts) or not self.can_read():
            return rows
        different = list(dict.fromkeys(text for text in texts if text))[:READ_AT_MOST]
        found = dict(zip(different, self.rows(different), strict=True))
        for row, text in zip(rows, texts, strict=True):
            if text in found:
                row[:] = found[text]
        return rows

    def glance(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, 64) of texts without the reader: the mean of what their words usually say."""
        if self.name == HASHED:
            return self.project(words.hashed_words(texts))
        if "spread" in self._hints:
            return unit(words.by_spread(texts, self._hints["spread"]))
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        table = self._hints.get("table")
        if table is None:
            return rows
        if self._pieces is None:
            self._pieces = WordPieces.from_bytes(self._hints["vocabulary"])
        for row, text in zip(rows, texts, strict=True):
            if pieces := self._pieces.split(text):
                row[:] = table[pieces].mean(axis=0, dtype=np.float32)
        return unit(rows)

    def wish(self, query: str) -> Floats:
        """Vector (64,) of a wish in plain language ("a funny film for a rainy evening"), by a glance."""
        vector: Floats = self.glance([words.telling_words(query)])[0]
        return vector

    def project(self, rows: Floats) -> Floats:
        """What a reader has made of texts (n, R), as vectors (n, 64)."""
        read = rows.any(axis=1, keepdims=True)
        return unit(np.where(read, (rows - self.mean) @ self.components, 0.0).astype(np.float32))

    def rows(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """What the reader makes of non-empty texts (n, R), from the cache where it has them."""
        if self.name == HASHED:
            return words.hashed_words(texts)
        return self.cache.rows(
            keys_of(self.card, texts),
            len(self.mean),
            lambda missing: self.reader().read([texts[n] for n in missing], progress),
        )

    def reader(self) -> Encoder:
        """What reads the texts. Raises EncoderError where it cannot be had."""
        if self._reader is None:
            self._reader = encoders.reader_of(self.card, self.folder)
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        """To another process goes no network: that one opens its own."""
        return self.__dict__ | {"_reader": None, "_pieces": None}

    def can_read(self) -> bool:
        """Whether texts are read in full; raises EncoderError where they could not be glanced at either."""
        if self.name == HASHED or self._reader is not None:
            return True
        try:
            encoders.find_reader(self.card, self.folder)
        except EncoderError:
            if not self._hints:
                raise
            return False
        return True


def card_for(choice: EncoderChoice | None, reader: Encoder | None = None) -> EncoderCard:
    """What reads where an encoder is fitted. Raises EncoderError where what was chosen cannot be had."""
    if reader is not None:
        return reader.card
    if choice is None:
        return encoders.card_of(EncoderChoice()) if encoders.installed() else HASHED_CARD
    return HASHED_CARD if choice.model == HASHED else encoders.card_of(choice)


def _hints(card: EncoderCard, texts: Sequence[str], targets: Floats) -> dict[str, NDArray[Any]]:
    """What `glance` reads by: a table of the reader's own words, or what hashed words come to mean."""
    known = encoders.word_table(card)
    if known is None:
        return {"spread": words.fitted_spread(texts, targets)}
    vocabulary, embeddings = known
    return {
        "vocabulary": WordPieces.to_bytes(vocabulary),
        "table": words.fitted_table(WordPieces(vocabulary), embeddings, texts, targets),
    }


def _principal(rows: Floats) -> tuple[Floats, Floats]:
    """Mean (R,) and leading components (R, 64) of rows (n, R); columns are 0 where there are fewer."""
    mean = rows.mean(axis=0)
    centred = (rows - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    kept = np.zeros((rows.shape[1], DIMENSIONS))
    kept[:, : len(values)] = vectors[:, np.argsort(-values)[:DIMENSIONS]]
    kept *= np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(DIMENSIONS)])  # the sign is arbitrary
    return mean, kept.astype(np.float32)


def unit(rows: Floats) -> Floats:
    """Rows of length 1, or 0 where they are next to it."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-6, rows / np.maximum(length, 1e-6), 0.0).astype(np.float32)
