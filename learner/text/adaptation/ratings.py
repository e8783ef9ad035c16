"""Ratings as an encoder's lessons: how much more or less than usual somebody liked what a text says.

Owns their scale and who rated what else. Knows no network. Free of torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 100  # ratings to learn from
_SHRINK = 5.0  # ratings of the mean that a user's own mean begins with
_OTHERS = 12  # of a user's ratings that say what the user likes

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ratings:
    """n ratings, by text and by user.

    begin (T + 1,): of text t those at begin[t]:begin[t + 1]; user (n,); value (n,) float32: above the user's
    mean, in standard deviations; by_user (n,): their texts, user u's at user_begin[u]:user_begin[u + 1], and
    by_user_value (n,)
    """

    begin: Places
    user: Places
    value: NDArray[np.float32]
    user_begin: Places
    by_user: Places
    by_user_value: NDArray[np.float32]

    @classmethod
    def of(cls, user: Places, text: Places, value: NDArray[np.float32], texts: int) -> "Ratings | None":
        """None where there are too few, or all are alike."""
        given = np.flatnonzero(np.isfinite(value))
        if len(given) < _LEAST or float(np.std(value[given])) < 1e-6:
            return None
        user, text, rated = user[given], text[given], value[given].astype(np.float64)
        count = np.bincount(user)
        usual = (np.bincount(user, rated) + _SHRINK * rated.mean()) / (count + _SHRINK)
        scaled = ((rated - usual[user]) / rated.std()).astype(np.float32)
        by_text, by_user = np.argsort(text, kind="stable"), np.argsort(user, kind="stable")
        return cls(
            np.searchsorted(text[by_text], np.arange(texts + 1)), user[by_text], scaled[by_text],
            np.searchsorted(user[by_user], np.arange(len(count) + 1)), text[by_user], scaled[by_user],
        )  # fmt: skip

    def drawn(
        self, places: Places, rng: np.random.Generator
    ) -> tuple[Places, NDArray[np.float32], Places, NDArray[np.float32]]:
        """A rating of each text in `places` (B,) that has any, m of them, and what else that user rated.

        which of the batch (m,), value (m,), texts (m, 12), weights (m, 12): 0 where there is none
        """
        count = self.begin[places + 1] - self.begin[places]
        which = np.flatnonzero(count > 0)
        row = self.begin[places[which]] + rng.integers(0, count[which])
        user = self.user[row]
        size = self.user_begin[user + 1] - self.user_begin[user]
        at = self.user_begin[user][:, None] + rng.integers(
            0, np.maximum(size, 1)[:, None], (len(user), _OTHERS)
        )
        other = self.by_user[at]
        weight = np.where(other == places[which][:, None], 0.0, self.by_user_value[at])
        return which, self.value[row], other, weight.astype(np.float32)
