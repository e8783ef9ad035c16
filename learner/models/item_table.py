"""Items as vectors, for student and teacher alike: an id's own part and what content says of the item.

Owns the parts of a vector and the item's bias. Does not know sequences, losses or the catalogue: items
are rows.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class ItemContent:
    """What is known of items beside their clicks; row q belongs to item q.

    `text` (V, T) float32, unit rows or zero; `categories` (V, 6) int32, -1 padded.
    """

    text: NDArray[np.float32]
    categories: NDArray[np.int32]

    @property
    def category_count(self) -> int:
        """Number of categories, at least 1 so that the table is never empty."""
        return max(int(self.categories.max(initial=-1)) + 1, 1)

    @staticmethod
    def empty(items: int) -> "ItemContent":
        """No content for `items` items."""
        return ItemContent(np.zeros((items, 0), np.float32), np.full((items, 6), -1, np.int32))


class ItemTable(nn.Module):
    """vector = id part + projected text + mean of category parts; score = user · vector + bias."""

    projection: Tensor
    text: Tensor
    category: Tensor
    category_share: Tensor
    seen: Tensor

    def __init__(self, content: ItemContent, dim: int, id_dropout: float) -> None:
        super().__init__()
        items, width = content.text.shape
        has_category = content.categories >= 0
        self.id_dropout = id_dropout
        self.has_content = width > 0 or bool(has_category.any())
        self.id_part = nn.Parameter(torch.randn(items, dim) * (0.005 if self.has_content else 0.02))
        self.projection = nn.Parameter(torch.randn(width, dim) * 0.08 if width else torch.zeros(0, dim))
        self.category_part = nn.Parameter(torch.randn(content.category_count, dim) * 0.02)
        self.bias = nn.Parameter(torch.zeros(items))
        self.register_buffer("text", torch.from_numpy(content.text.astype(np.float32)))
        self.register_buffer("category", torch.from_numpy(np.maximum(content.categories, 0).astype(np.int64)))
        share = has_category / np.maximum(has_category.sum(1, keepdims=True), 1)
        self.register_buffer("category_share", torch.from_numpy(share.astype(np.float32)))
        self.register_buffer("seen", torch.zeros(items, dtype=torch.bool))

    def table(self, rows: Tensor | None = None) -> Tensor:
        """Item vectors (V or len(rows), D); in training the id part of some items is hidden."""
        take = slice(None) if rows is None else rows
        part = self.id_part[take]
        if self.has_content:
            if self.training and self.id_dropout:
                part = part * (torch.rand(len(part), 1) >= self.id_dropout)
            part = part + F.embedding_bag(
                self.category[take],
                self.category_part,
                mode="sum",
                per_sample_weights=self.category_share[take],
            )
            if self.text.shape[1]:
                part = part + self.text[take] @ self.projection
        return part
