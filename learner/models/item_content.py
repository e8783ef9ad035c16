"""What content says of items, as the models take it. Free of torch; items are rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
