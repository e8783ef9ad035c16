"""What the numbers of a content vector mean: by which reader, and along which components.

Owns the name of such a space and the way from one to another. Reads no texts.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.text.card import EncoderCard

Floats = NDArray[np.float32]
Projection = Mapping[str, NDArray[Any]]  # what a release stores: mean (R,), components (R, T) and more


def space_of(card: EncoderCard, projection: Projection) -> str:
    """A name, the same for all that make the same vector of a text."""
    told = hashlib.sha256((card.identity or card.name).encode())
    for name in ("mean", "components"):
        if name in projection:
            told.update(np.ascontiguousarray(projection[name], "<f4").tobytes())
    return told.hexdigest()[:16]


def turned(content: Floats, there: Projection, here: Projection) -> Floats:
    """A content vector (T,) of one projection in another's numbers, of the same reader.

    Each keeps the principal components of the items that it was fitted on, nearly the same ones: what one
    keeps of a text the other keeps too, turned about.
    """
    vector: Floats = (content @ there["components"].T @ here["components"]).astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-6 else np.zeros_like(vector)
