"""How new items stand among their like: learned from answers, and by content and age where there are none."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learner.models.newcomers import fit_newcomers  # noqa: E402
from learner.ranking.arrays import BY_CONTENT  # noqa: E402
from learner.ranking.columns import FEATURES  # noqa: E402
from learner.ranking.lists import Lists  # noqa: E402

pytestmark = pytest.mark.learner


def lists_where(taste: float, match: float, clicks: float, n: int = 2000) -> Lists:
    """Lists of ten candidates with so many clicks, whose answer is drawn by taste and match."""
    rng = np.random.default_rng(0)
    features = np.zeros((n, 10, len(FEATURES)), np.float32)
    features[..., FEATURES.index("student")] = rng.normal(size=(n, 10))
    features[..., FEATURES.index("content_profile")] = rng.normal(0, 0.3, size=(n, 10))
    features[..., FEATURES.index("popularity_all")] = np.log1p(clicks)
    features[..., FEATURES.index("age")] = rng.uniform(10, 15, size=(n, 10)) if clicks else -1.0
    features[..., FEATURES.index("published_age")] = -1.0
    scores = (
        taste * features[..., FEATURES.index("student")]
        + match * features[..., FEATURES.index("content_profile")]
        + rng.gumbel(size=(n, 10))
    )
    best = scores.argmax(1)
    rows = np.arange(n)
    features[rows, 0], features[rows, best] = features[rows, best].copy(), features[rows, 0].copy()
    return Lists(features.astype(np.float16), np.zeros(n, np.int64), np.ones((n, 10), np.bool_))


@pytest.mark.parametrize(("clicks", "row"), [(0, 0), (2, 1)])
def test_what_the_answers_go_by_weighs(clicks: int, row: int) -> None:
    by_taste, by_match = (
        fit_newcomers(lists_where(2.0, 0.0, clicks)),
        fit_newcomers(lists_where(0.0, 6.0, clicks)),
    )
    assert by_taste[row, 0] == pytest.approx(2.0, abs=0.4)
    assert abs(by_taste[row, 1]) < 1.0
    assert by_match[row, 1] == pytest.approx(6.0, abs=1.5)
    assert abs(by_match[row, 0]) < 0.3
    np.testing.assert_array_equal(by_taste[1 - row], BY_CONTENT[1 - row])


def test_items_with_many_clicks_teach_nothing_of_new_ones() -> None:
    np.testing.assert_array_equal(fit_newcomers(lists_where(2.0, 0.0, 40)), BY_CONTENT)
    np.testing.assert_array_equal(fit_newcomers(lists_where(2.0, 0.0, 0).part(slice(0, 0))), BY_CONTENT)
