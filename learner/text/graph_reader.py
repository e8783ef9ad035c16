"""Texts to vectors by an ONNX graph and a tokenizer: so workers read queries, and trainings their items.

Owns the tokens, the batches and the length of the vectors. Texts of equal length go together, so nothing is
ever padded. Knows neither where graph and tokenizer come from, nor torch and transformers, whose import alone
takes longer than reading a thousand titles.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from learner.graphs.running import session
from learner.text.card import EncoderError

BATCH_TOKENS = 1024  # a batch's activations stay in the cache of one core

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]  # texts read so far, and all


class Tokens:
    """Texts as numbers of their pieces, at most `most`, with the marks that the model was trained with."""

    def __init__(self, tokenizer: str, most: int) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer)
        except Exception as error:  # its own, without a base
            raise EncoderError(f"tokenizer.json: no tokenizer that can be read: {error}") from None
        self._tokenizer.enable_truncation(most)
        self._tokenizer.no_padding()

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of each text's pieces; none for a text of blanks."""
        encoded = self._tokenizer.encode_batch([text if text.strip() else "" for text in texts])
        return [each.ids if text.strip() else [] for each, text in zip(encoded, texts, strict=True)]


class GraphReader:
    """A graph at work. `read` is safe from several threads.

    The graph takes `ids` (B, L) int64, and `positions` (L,) int64 if it likes, and gives one output (B, D).
    Raises what ONNX Runtime and `tokenizers` raise where these are no graph and no tokenizer.
    """

    def __init__(
        self, graph: bytes | Path, tokens: Tokens, threads: int = 1, *, sparing: bool = False
    ) -> None:
        """`sparing`: gives memory back after each batch instead of keeping it for the next."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False  # batches have all shapes
        options.enable_cpu_mem_arena = not sparing
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = session(graph, options)
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._tokens = tokens
        self.width = int(self._session.get_outputs()[0].shape[-1])

    def read(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Vectors (n, D) float32 of length 1, 0 where a text is blank."""
        rows = np.zeros((len(texts), self.width), np.float32)
        for places, ids in equally_long(self._tokens.of(texts), progress):
            given: dict[str, Any] = {self._inputs[0]: ids}
            if len(self._inputs) > 1:
                given[self._inputs[1]] = np.arange(ids.shape[1])
            rows[places] = self._session.run(None, given)[0]
        return unit(rows)


def equally_long(
    tokens: Sequence[list[int]], progress: Progress | None = None
) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """Batches: places of texts of equal length, and their tokens (B, L) int64; empty ones are left out."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, ids in enumerate(tokens):
        by_length[len(ids)].append(place)
    done = len(by_length.pop(0, []))
    for length, places in sorted(by_length.items()):
        at_once = max(1, BATCH_TOKENS // length)
        for start in range(0, len(places), at_once):
            chosen = places[start : start + at_once]
            yield chosen, np.array([tokens[place] for place in chosen], np.int64)
            done += len(chosen)
            if progress is not None:
                progress(done, len(tokens))


def unit(rows: Floats) -> Floats:
    """Rows of length 1, or 0 where they are."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-9, rows / np.maximum(length, 1e-9), 0.0).astype(np.float32)
