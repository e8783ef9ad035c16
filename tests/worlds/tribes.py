"""A catalogue whose texts tell who clicks what, and a small network that can learn it in seconds."""

from pathlib import Path

import numpy as np

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from tests.worlds.small_models import save_model
from tests.worlds.toy_training import data_of

SPECIAL = ["[UNK]", "[PAD]", "[MASK]"]
WORDS = [*SPECIAL, *(f"{kind}{n}" for kind in "abcd" for n in range(8))]


def tribes(clicks: int = 3000, seed: int = 0) -> tuple[Interactions, list[Item]]:
    """Eight tribes of users, each with titles of one first word; the other words say nothing."""
    rng = np.random.default_rng(seed)
    words = np.random.default_rng(0).integers(0, 8, (60, 4))
    words[:, 0] = np.arange(60) % 8
    titles = [" ".join(f"{kind}{word}" for kind, word in zip("abcd", row, strict=True)) for row in words]
    user = rng.integers(0, 40, clicks)
    item = np.array([rng.choice(np.arange(each % 8, 60, 8)) for each in user])
    return data_of(user.tolist(), item.tolist(), items=60), [
        Item(item_id=f"i{number}", title=title) for number, title in enumerate(titles)
    ]


def small_bert(folder: Path) -> Path:
    """A BERT of 32 numbers in a folder, as transformers saves it."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=20, pad_token_id=1,
    )  # fmt: skip
    return save_model(folder, config, WORDS, SPECIAL)
