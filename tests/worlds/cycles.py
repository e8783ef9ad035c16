"""Users who walk in circles: the next item is certain."""

import numpy as np
import torch

from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.models.item_table import ItemContent
from learner.models.run import Run
from learner.models.student_training import train_model
from learner.models.teacher import Teacher, TeacherConfig

SMALL = TeacherConfig(
    dim=16, dropout=0.0, epochs=30, batch_events=256, warmup_steps=5, context=6, window=8, learning_rate=1e-2
)


def cycles(users: int, items: int, length: int, kinds: bool = False) -> Interactions:
    """Every user walks the cycle 0, 1, 2, … from a place of their own: the next item is certain."""
    rng = np.random.default_rng(0)
    start = rng.integers(items, size=users)
    user = np.tile(np.arange(users), length)
    n = len(user)
    item = (start[None] + np.arange(length)[:, None]).ravel() % items
    return Interactions(
        user=user.astype(np.int32), item=item.astype(np.int32),
        time_ms=np.arange(n, dtype=np.int64) * 60_000 + 1_600_000_000_000,
        kind=rng.integers(len(Kind), size=n).astype(np.uint8) if kinds else np.full(n, Kind.CLICK, np.uint8),
        value=rng.normal(size=n).astype(np.float32) if kinds else np.full(n, np.nan, np.float32),
        place=np.zeros(n, np.int32), occurrence=np.zeros(n, np.int32),
        user_ids=[f"u{k}" for k in range(users)], item_ids=[f"i{k}" for k in range(items)], scenarios=[None],
    )  # fmt: skip


def trained(log, stop, config=SMALL, seed=0, **options) -> Teacher:
    torch.manual_seed(seed)
    teacher = Teacher(ItemContent.empty(len(log.item_ids)), config)
    train_model(teacher, log, stop, log.value_scale(), Run(seed), **options)
    return teacher
