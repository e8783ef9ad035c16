"""Content vectors of two releases of one encoder are the same texts in other numbers."""

import numpy as np

from learner.text.card import EncoderCard
from learner.text.space import space_of, turned

CARD = EncoderCard(name="reader", licence="none", identity="r1", width=12)


def projection(components: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": np.zeros(12, np.float32), "components": components.astype(np.float32)}


def test_a_space_is_that_of_reader_and_components() -> None:
    rng = np.random.default_rng(0)
    one, other = projection(rng.normal(size=(12, 4))), projection(rng.normal(size=(12, 4)))
    assert space_of(CARD, one) == space_of(CARD, {**one, "table": np.ones(3)})
    adapted = EncoderCard(name="reader", licence="none", identity="r2", width=12)
    assert len({space_of(CARD, one), space_of(CARD, other), space_of(adapted, one)}) == 3


def test_what_both_keep_of_a_text_is_found_again() -> None:
    """The same four of twelve directions, turned about: as components next to each other in size come out."""
    rng = np.random.default_rng(0)
    kept, _ = np.linalg.qr(rng.normal(size=(12, 4)))
    about, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    there, here = projection(kept), projection(kept @ about)
    text = rng.normal(size=12)
    for told, expected in ((text @ there["components"], text @ here["components"]),):
        found = turned((told / np.linalg.norm(told)).astype(np.float32), there, here)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    assert not turned(np.zeros(4, np.float32), there, here).any()
