"""The encoder that a worker reads queries with: a folder of three files, and no torch, transformers or onnx.

Owns these files and what is refused of them. `learner.text.export_encoder` writes them, a release has them.

encoder.onnx    the network, as a rule in 8 bits
tokenizer.json  texts to its tokens
encoder.json    an `EncoderCard`, with a format version
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.text.card import EncoderCard, EncoderError

FORMAT = 1
GRAPH, TOKENIZER, CARD = "encoder.onnx", "tokenizer.json", "encoder.json"
FILES = (GRAPH, TOKENIZER, CARD)


class WrittenCard(msgspec.Struct, frozen=True, kw_only=True):
    """What encoder.json holds."""

    format: int
    card: EncoderCard


def card_in(folder: Path) -> EncoderCard | None:
    """The card of the encoder in a folder, None where there is none of this format."""
    try:
        written = msgspec.json.decode((folder / CARD).read_bytes(), type=WrittenCard)
    except (OSError, msgspec.DecodeError):
        return None
    return written.card if written.format == FORMAT and (folder / GRAPH).is_file() else None


class QueryEncoder:
    """Reads queries in milliseconds of one core. `encode` is safe from several threads.

    name: of the encoder, for people
    width: of its vectors
    card: what it is, and how it reads
    """

    def __init__(self, card: EncoderCard, graph: Path, tokenizer: str) -> None:
        from learner.text.graph_reader import GraphReader, Tokens

        self.card, self.name = card, card.name
        self._reader = GraphReader(graph, Tokens(tokenizer, card.max_tokens), sparing=True)
        self.width = self._reader.width

    @classmethod
    def open(cls, folder: Path) -> "QueryEncoder":
        """The encoder in a folder that `learner.text.export_encoder.export` has written, or in a release's.

        Takes a fifth of a second and some 50 MB: open it when the first query comes. Whoever opens an equal
        one while it is in use gets the same. Raises EncoderError, which names the file and what is wrong.
        """
        try:
            content = b"".join(_sha256(folder / name) for name in FILES)
        except OSError as error:
            raise EncoderError(f"{error.filename}: {error.strerror}; expected {', '.join(FILES)}") from None
        with _opening:
            found = _opened.get(content)
            if found is None:
                found = _opened[content] = cls._open(folder)
            return found

    @classmethod
    def _open(cls, folder: Path) -> "QueryEncoder":
        try:
            written = msgspec.json.decode((folder / CARD).read_bytes(), type=WrittenCard)
            tokenizer = (folder / TOKENIZER).read_text("utf-8")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EncoderError(f"{folder}: no encoder that can be read: {error}; export it again") from None
        if written.format != FORMAT:
            mend = "update nextclick" if written.format > FORMAT else "export the encoder again"
            raise EncoderError(f"{folder / CARD}: expected format {FORMAT}, got {written.format}; {mend}")
        try:
            encoder = cls(written.card, folder / GRAPH, tokenizer)
            came = encoder.encode(["a"])
        except Exception as error:  # ONNX Runtime's and tokenizers' have no base of their own
            raise EncoderError(
                f"{folder}: {GRAPH} or {TOKENIZER} does not run: {str(error)[:300]}; export the encoder again"
            ) from None
        if came.shape != (1, written.card.width) or not np.isfinite(came).all():
            raise EncoderError(
                f"{folder / GRAPH}: expected vectors of {written.card.width} numbers as {CARD} says, got "
                f"{came.shape[1]}; export the encoder again"
            )
        return encoder

    def read(
        self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None, *, query: bool = False
    ) -> NDArray[np.float32]:
        """Vectors (n, D) float32 of length 1 of items' texts, or of queries; 0 where one is blank."""
        prompt = self.card.query_prompt if query else self.card.item_prompt
        return self._reader.read([prompt + text if text.strip() else "" for text in texts], progress)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (n, D) float32 of length 1 of queries; 0 where a text is blank.

        They lie in the space of the item vectors that the same encoder made: a dot product is the cosine.
        """
        return self.read(texts, query=True)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


_opening = threading.Lock()
_opened: "WeakValueDictionary[bytes, QueryEncoder]" = WeakValueDictionary()  # by what is in their files
