"""One way to read texts, whatever reads them: any encoder that `transformers` loads, or an address.

Owns the interface and which class serves a chosen model: BERT and its like run as a graph in ONNX Runtime,
all others by transformers and torch, which are imported only then. `learner.text.cache` keeps the vectors.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learner.text.bert_graph import bert_model, is_bert, most_places
from learner.text.card import EncoderCard, EncoderChoice, EncoderError
from learner.text.graph_reader import Floats, GraphReader, Progress, Tokens
from learner.text.pretrained import TOKENIZER, Pretrained, find


class Encoder(Protocol):
    """Reads texts. `card` says what it is; it must not change while the encoder lives."""

    card: EncoderCard

    def read(self, texts: Sequence[str], progress: Progress | None = None, *, query: bool = False) -> Floats:
        """Vectors (n, `card.width`) float32 of length 1, 0 where a text is blank.

        With `query` the texts get the prompt of queries, else that of items.
        """


class LocalEncoder(Encoder, Protocol):
    """One whose weights are here: it can be exported for workers."""

    tokenizer: str

    def graph(self) -> bytes:
        """The network in ONNX, 32 bits, as `learner.text.graph_reader.GraphReader` takes it."""


class BertEncoder:
    """BERT and its like, without torch. `read` is safe from several threads."""

    def __init__(self, pretrained: Pretrained, threads: int) -> None:
        places = most_places(pretrained.config)
        self.card = _at_most(pretrained.card, places)
        self.tokenizer = tokenizer_of(pretrained)
        self._pretrained = pretrained
        self._reader = GraphReader(self.graph(), Tokens(self.tokenizer, self.card.max_tokens), threads)

    def read(self, texts: Sequence[str], progress: Progress | None = None, *, query: bool = False) -> Floats:
        """Vectors (n, D) float32 of length 1, 0 where a text is blank."""
        return self._reader.read(prompted(texts, self.card, query), progress)

    def graph(self) -> bytes:
        """The network in ONNX, 32 bits."""
        found = self._pretrained
        try:
            return bert_model(weights_of(found), found.config, self.card.max_tokens, self.card.pooling)
        except KeyError as error:
            raise EncoderError(f"{found.folder}: its weights lack {error}, which its config has") from None


def open_encoder(choice: EncoderChoice, threads: int | None = None) -> LocalEncoder:
    """The chosen encoder, ready to read, once a process: MiniLM takes a second and 250 MB.

    Raises EncoderError, which says what is missing or wrong and what to do.
    """
    return _opened(choice, threads or min(2, os.cpu_count() or 1))


@lru_cache(maxsize=2)
def _opened(choice: EncoderChoice, threads: int) -> LocalEncoder:
    pretrained = find(choice)
    if is_bert(pretrained.config):
        return BertEncoder(pretrained, threads)
    from learner.text.torch_encoder import TorchEncoder

    return TorchEncoder(pretrained, threads)


def prompted(texts: Sequence[str], card: EncoderCard, query: bool) -> list[str]:
    """Texts with the prompt that stands before them; blank ones stay blank."""
    prompt = card.query_prompt if query else card.item_prompt
    return [prompt + text if text.strip() else "" for text in texts]


def tokenizer_of(pretrained: Pretrained) -> str:
    """The text of tokenizer.json; made by transformers where a model has another kind of file."""
    path = pretrained.folder / TOKENIZER
    try:
        if path.is_file():
            return path.read_text("utf-8")
        from transformers import AutoTokenizer

        fast = AutoTokenizer.from_pretrained(pretrained.folder, use_fast=True, trust_remote_code=False)
        made: str = fast.backend_tokenizer.to_str()
    except Exception as error:  # transformers raises what it likes
        raise EncoderError(f"{pretrained.folder}: its tokenizer cannot be read: {str(error)[:300]}") from None
    return made


def weights_of(pretrained: Pretrained) -> dict[str, NDArray[Any]]:
    """All weights by name, float32. Raises EncoderError where a file is damaged."""
    import safetensors

    weights: dict[str, NDArray[Any]] = {}
    for path in pretrained.weight_files():
        try:
            with safetensors.safe_open(path, "numpy") as file:
                weights |= {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
        except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise EncoderError(f"{path}: cannot be read: {str(error)[:300]}; copy the model again") from None
    return weights


def _at_most(card: EncoderCard, places: int) -> EncoderCard:
    import msgspec

    return card if card.max_tokens <= places else msgspec.structs.replace(card, max_tokens=places)
