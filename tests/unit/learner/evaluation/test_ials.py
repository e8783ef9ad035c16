"""iALS against its closed form: every factor solves a small system, which NumPy solves as it is written."""

import numpy as np
import pytest

from learner.evaluation.baselines.ials import Clicks, Factors

USERS, ITEMS, DIMENSIONS = 12, 9, 4
UNOBSERVED, RIDGE = 0.1, 0.03


def solved(clicked: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The minimum over x of Σ_clicked (1 - x·y)² + a Σ_all (x·y)² + r (clicked + a · all) |x|²."""
    penalty = RIDGE * (len(clicked) + UNOBSERVED * len(others)) * np.eye(others.shape[1])
    left = UNOBSERVED * others.T @ others + others[clicked].T @ others[clicked] + penalty
    return np.linalg.solve(left, others[clicked].sum(0))


@pytest.fixture
def clicked() -> np.ndarray:
    """(USERS, ITEMS) bool; the last item has no click."""
    table = np.random.default_rng(3).random((USERS, ITEMS)) < 0.4
    table[:, -1] = False
    table[:, 0] |= ~table.any(1)
    return table


@pytest.fixture
def clicks(clicked: np.ndarray) -> Clicks:
    users, items = np.nonzero(clicked)
    # A click that is repeated is one click.
    return Clicks([*users.tolist(), int(users[0])], [*items.tolist(), int(items[0])])


def test_sweeps_solve_each_users_and_each_items_system(clicked: np.ndarray, clicks: Clicks) -> None:
    factors = Factors(ITEMS, DIMENSIONS, UNOBSERVED, RIDGE, seed=1)
    items = factors.items.copy()
    factors.sweep(clicks, 3)
    for _ in range(3):
        users = np.array([solved(np.flatnonzero(row), items) for row in clicked])
        items = np.array(
            [solved(np.flatnonzero(row), users) if row.any() else np.zeros(DIMENSIONS) for row in clicked.T]
        )
    np.testing.assert_allclose(factors.items, items, rtol=1e-9, atol=1e-12)


def test_a_user_is_folded_in_by_the_same_system(clicks: Clicks) -> None:
    factors = Factors(ITEMS, DIMENSIONS, UNOBSERVED, RIDGE, seed=1)
    factors.sweep(clicks, 2)
    recent = np.array([2, 5, 7], np.int32)
    expected = factors.items @ solved(recent, factors.items)
    np.testing.assert_allclose(factors.scores(recent), expected, rtol=1e-9, atol=1e-12)


def test_no_other_factor_of_a_user_costs_less(clicks: Clicks) -> None:
    """The objective itself, not its derivative: the solution is its minimum."""
    factors = Factors(ITEMS, DIMENSIONS, UNOBSERVED, RIDGE, seed=1)
    factors.sweep(clicks, 2)
    clicked, rng = np.array([2, 5, 7]), np.random.default_rng(0)

    def cost(user: np.ndarray) -> float:
        scores = factors.items @ user
        penalty = RIDGE * (len(clicked) + UNOBSERVED * ITEMS)
        return float(
            ((1 - scores[clicked]) ** 2).sum() + UNOBSERVED * (scores**2).sum() + penalty * (user**2).sum()
        )

    best = np.linalg.lstsq(factors.items, factors.scores(clicked.astype(np.int32)), rcond=None)[0]
    for _ in range(50):
        assert cost(best) < cost(best + 0.01 * rng.normal(size=DIMENSIONS))
