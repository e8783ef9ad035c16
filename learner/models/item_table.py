"""Items as vectors, for student and teacher alike: an id's own part and what content says of the item.

Owns the parts of a vector and the item's bias. Does not know sequences, losses or the catalogue: items
are rows.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from learner.models.item_content import ItemContent


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
        reads = bool(content.text.any())  # columns alone say nothing
        self.has_content = reads or bool(has_category.any())
        self.id_part = nn.Parameter(torch.randn(items, dim) * (0.005 if self.has_content else 0.02))
        self.projection = nn.Parameter(torch.randn(width, dim) * (0.08 if reads else 0.0))
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
