"""Vectors of items that a release does not hold: what their categories and texts say of them.

Owns both ways, from the means of known items and from what the student would give. Knows neither clicks nor
the vectors that others have made.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.release.bundle import Arrays

Floats = NDArray[np.float32]


class StandIns:
    """For one release, whose categories are `categories`; `bias` is that of every such item."""

    def __init__(self, categories: Sequence[str], arrays: Arrays, catalogue: Catalogue) -> None:
        self.bias = float(arrays.cold_bias[0])
        self._catalogue = catalogue
        self._parts, self._means = arrays.category_parts, arrays.category_means
        self._projection, self._tail_mean = arrays.projection, arrays.tail_mean
        self._row = {name: row for row, name in enumerate(categories)}
        self._row_of = np.zeros(0, np.int64)  # by the catalogue's categories: row of this release or -1

    def means(self, numbers: NDArray[np.int64]) -> Floats:
        """(n, D): the mean vector of each item's categories, else that of rarely clicked items."""
        names = self._catalogue.category_names
        if len(names) > len(self._row_of):
            rows = [self._row.get(name, -1) for name in names[len(self._row_of) :]]
            if not self._means.size:
                rows = [-1] * len(rows)
            self._row_of = np.append(self._row_of, np.array(rows, np.int64))
        categories = self._catalogue.categories[numbers]  # (n, 6)
        means = np.append(self._row_of, -1)[categories]  # one more, so that -1 finds -1
        known = means >= 0
        count = known.sum(1, keepdims=True)
        if not count.any():
            return np.broadcast_to(self._tail_mean, (len(numbers), len(self._tail_mean)))
        sums = (self._means[means] * known[:, :, None]).sum(1)
        return np.where(count > 0, sums / np.maximum(count, 1), self._tail_mean).astype(np.float32)

    def embed(self, content: Floats, categories: Sequence[str]) -> Floats:
        """The vector (D,) that the student gives an unclicked item with `content` (T,) and categories."""
        known = [self._row[name] for name in dict.fromkeys(categories) if name in self._row]
        vector = np.zeros(len(self._tail_mean), np.float32)
        if known and self._parts.size:
            vector += self._parts[known].mean(0)
        if self._projection.size:
            vector += content @ self._projection
        return vector if vector.any() else self._tail_mean.copy()  # the latter where nothing is known
