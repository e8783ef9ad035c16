"""EASE rows against the plain formula."""

from types import SimpleNamespace

import numpy as np

from learner.data.events import Kind
from learner.models.ease import ease_rows, items_within


def log_of(user, item):
    n = len(user)
    return SimpleNamespace(
        user=np.asarray(user, np.int32),
        item=np.asarray(item, np.int32),
        time_ms=np.arange(n),
        kind=np.full(n, Kind.CLICK, np.uint8),
        value=np.full(n, np.nan, np.float32),
    )


def random_log(n=3000, users=100, items=30, seed=0):
    rng = np.random.default_rng(seed)
    return log_of(rng.integers(users, size=n), (rng.integers(items, size=n) ** 2) // items)


def dense(log, items, penalty):
    x = np.zeros((log.user.max() + 1, items))
    x[log.user, log.item] = 1
    p = np.linalg.inv(x.T @ x + penalty * np.eye(items))
    b = -p / np.diag(p)[None]
    np.fill_diagonal(b, 0)
    return b


def test_equals_the_formula() -> None:
    log = random_log()
    rows = ease_rows(log, 3000, 30, keep=50, penalty=10.0)
    expected = dense(log, 30, 10.0)
    found = np.zeros((30, 30))
    for q in range(30):
        use = rows.item[q] >= 0
        found[q, rows.item[q][use]] = rows.weight[q][use]
    clicked = np.flatnonzero(np.bincount(log.item, minlength=30) >= 3)
    np.testing.assert_allclose(found[np.ix_(clicked, clicked)], expected[np.ix_(clicked, clicked)], atol=1e-4)


def test_keeps_the_weights_that_matter_most() -> None:
    log = random_log()
    few, many = (ease_rows(log, 3000, 30, keep=keep) for keep in (5, 29))
    for q in range(30):
        largest = np.sort(np.abs(many.weight[q]))[::-1][:5]
        np.testing.assert_allclose(np.sort(np.abs(few.weight[q]))[::-1], largest, atol=1e-6)


def test_limit_keeps_the_most_clicked() -> None:
    log = random_log()
    rows = ease_rows(log, 3000, 30, limit=10)
    assert rows.items_used == 10
    count = np.bincount(log.item, minlength=30)
    with_row = np.flatnonzero((rows.item >= 0).any(1))
    assert count[with_row].min() >= np.sort(count)[-10]


def test_later_and_rare_clicks_take_no_part() -> None:
    log = random_log()
    before = ease_rows(log, 2000, 31)
    log.item[2000:] = 30
    np.testing.assert_array_equal(ease_rows(log, 2000, 31).weight, before.weight)
    assert (before.item[30] == -1).all()


def test_too_little_gives_empty_rows() -> None:
    assert ease_rows(log_of([0, 1], [0, 1]), 2, 5).item.shape == (5, 0)
    assert ease_rows(log_of([], []), 0, 0).item.shape == (0, 0)


def test_more_time_allows_more_items_up_to_the_memory_limit() -> None:
    assert items_within(1) < items_within(10) < items_within(1e9) == 20_000
