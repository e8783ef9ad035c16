"""One way to read texts, whatever reads them: any encoder that `transformers` loads, or an address.

Owns the interface and which class serves a chosen model: BERT and its like run as a graph in ONNX Runtime,
all others by transformers and torch, which are imported only then. `learner.text.cache` keeps the vectors.
"""

import importlib
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from learner.text.architectures import is_bert
from learner.text.card import ADDRESS, DEFAULT_MODEL, EncoderCard, EncoderChoice, EncoderError, NotInstalled
from learner.text.pretrained import TOKENIZER, WEIGHTS, Pretrained, choice_of, find
from learner.text.pretrained import installed as in_package
from learner.text.query_encoder import GRAPH, QueryEncoder

_MOST_GRAPH_BYTES = 900_000_000  # of weights, perhaps halves: a graph in 32 bits must stay below 2 GB

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of texts read so far and of all texts."""


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


def installed() -> bool:
    """Whether the default encoder is, with what it needs."""
    return in_package(DEFAULT_MODEL) and importlib.util.find_spec("onnx") is not None


def card_of(choice: EncoderChoice) -> EncoderCard:
    """What the chosen encoder is; it is opened only where its files do not tell. Raises EncoderError."""
    card = find(choice).card
    return card if card.width else open_encoder(choice).card


def find_reader(card: EncoderCard, folder: Path | None) -> Pretrained | Path:
    """Where the encoder of a release's card is: as a model on this machine, or as the release's own copy.

    Raises EncoderError where it is neither, or where the model is another one by now.
    """
    try:
        if card.source.startswith(ADDRESS):
            raise EncoderError(f"{card.name}: read by the address that the settings name; name it again")
        found = find(choice_of(card))
        if importlib.util.find_spec("onnx") is None:
            raise NotInstalled(f"reading with {card.name} needs onnx: pip install 'nextclick[learner]'")
        if card.identity and found.card.identity != card.identity:
            raise EncoderError(
                f"{card.model}: not the {card.name} that the release was made with: its files have changed"
            )
    except EncoderError:
        if folder is None or not (folder / GRAPH).is_file():
            raise
        return folder
    return found


def reader_of(card: EncoderCard, folder: Path | None) -> Encoder:
    """The encoder of a release's card, ready to read. Raises EncoderError."""
    found = find_reader(card, folder)
    return QueryEncoder.open(found) if isinstance(found, Path) else open_encoder(choice_of(card))


class BertEncoder:
    """BERT and its like, without torch. `read` is safe from several threads."""

    def __init__(self, pretrained: Pretrained, threads: int) -> None:
        from learner.text.graph_reader import GraphReader, Tokens

        self.card = pretrained.card
        self.tokenizer = tokenizer_of(pretrained)
        self._pretrained = pretrained
        self._reader = GraphReader(self.graph(), Tokens(self.tokenizer, self.card.max_tokens), threads)

    def read(self, texts: Sequence[str], progress: Progress | None = None, *, query: bool = False) -> Floats:
        """Vectors (n, D) float32 of length 1, 0 where a text is blank."""
        return self._reader.read(prompted(texts, self.card, query), progress)

    def graph(self) -> bytes:
        """The network in ONNX, 32 bits."""
        from learner.text.bert_graph import bert_model

        found = self._pretrained
        try:
            return bert_model(
                weights_of(found), found.config, self.card.max_tokens, self.card.pooling, projection_of(found)
            )
        except KeyError as error:
            raise EncoderError(f"{found.folder}: its weights lack {error}, which its config has") from None


def open_encoder(choice: EncoderChoice, threads: int | None = None) -> LocalEncoder:
    """The chosen encoder, ready to read, once a process: MiniLM takes a second and 250 MB.

    Raises EncoderError, which says what is missing or wrong and what to do.
    """
    identity = find(choice).card.identity  # a model whose files have changed is opened anew
    return _opened(choice, identity, threads or min(2, os.cpu_count() or 1))


@lru_cache(maxsize=2)
def _opened(choice: EncoderChoice, _identity: str, threads: int) -> LocalEncoder:
    pretrained = find(choice)
    weights = sum(path.stat().st_size for path in pretrained.weight_files())
    if is_bert(pretrained.config) and weights < _MOST_GRAPH_BYTES:
        return BertEncoder(pretrained, threads)
    # By name: what serves imports this module, and must not lead to torch.
    module = importlib.import_module("learner.text.torch_encoder")
    opened: LocalEncoder = module.TorchEncoder(pretrained, threads)
    return opened


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


def word_table(card: EncoderCard) -> tuple[list[str], Floats] | None:
    """The pieces of an encoder's vocabulary in order, and its embedding of each (pieces, E).

    None where it is not on this machine, or does not split words as uncased BERT does.
    """
    import safetensors

    if card.source.startswith(ADDRESS):
        return None
    found = find(choice_of(card))
    split = json.loads(tokenizer_of(found))
    model, normalizer = split.get("model") or {}, split.get("normalizer") or {}
    as_bert = normalizer.get("type") == "BertNormalizer" and normalizer.get("lowercase")
    if model.get("type") != "WordPiece" or not as_bert:
        return None
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    for path in found.weight_files():
        with safetensors.safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                if name.endswith("word_embeddings.weight"):
                    table = np.asarray(file.get_tensor(name), np.float32)
                    return (pieces, table) if len(table) >= len(pieces) else None
    return None


def projection_of(pretrained: Pretrained) -> tuple[Floats, Floats] | None:
    """What turns the pooled vectors: a matrix (D, E) and what is added (E,); None where nothing does.

    Raises EncoderError where the file is damaged.
    """
    import safetensors

    if pretrained.projection is None:
        return None
    path = pretrained.projection / WEIGHTS
    try:
        with safetensors.safe_open(path, "numpy") as file:
            turn = np.asarray(file.get_tensor("linear.weight"), np.float32).T
            there = "linear.bias" in file.keys()  # noqa: SIM118 (it is no dict)
            shift = (
                np.asarray(file.get_tensor("linear.bias"), np.float32) if there else np.zeros(turn.shape[1])
            )
    except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise EncoderError(f"{path}: cannot be read: {str(error)[:300]}; copy the model again") from None
    return np.ascontiguousarray(turn), shift.astype(np.float32)


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
