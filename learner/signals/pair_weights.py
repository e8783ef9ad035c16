"""What one click adds to a pair of items: five weights by how many events lie between them.

Owns these weights and how far they reach. Knows no pairs.
"""

import numpy as np
from numpy.typing import NDArray

PAIR_WEIGHTS = ("count", "decayed", "rule", "decayed_rule", "inverse")
WEIGHTS = len(PAIR_WEIGHTS)
DECAYED = (1, 3)  # columns of those that fade with the pair half-life
WINDOW = 50  # events between the two clicks of a pair, at most


def _distance_weights() -> NDArray[np.float32]:
    """(WINDOW + 1, 5) float32: what a click adds to the pair with the event `distance` before it.

    count: 1. decayed: d^-.5 up to 20 events, little beyond (it also ranks pairs, so it is never 0).
    rule: 1/d up to 10. decayed_rule: d^-2 up to 3. The two decayed ones fade with the pair half-life.
    inverse: 1, over the root of the user's events so far: somebody who clicks on everything says less
    (inverse user frequency; Breese et al. 1998).
    """
    weights = np.zeros((WINDOW + 1, WEIGHTS), np.float32)
    for distance in range(1, WINDOW + 1):
        weights[distance, 0] = 1.0
        weights[distance, 1] = distance**-0.5 if distance <= 20 else 1.0 / distance
        weights[distance, 2] = 1.0 / distance if distance <= 10 else 0.0
        weights[distance, 3] = distance**-2.0 if distance <= 3 else 0.0
        weights[distance, 4] = 1.0
    return weights


DISTANCE_WEIGHTS = _distance_weights()
