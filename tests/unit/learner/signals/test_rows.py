"""Rows of pairs: how they move in their pool, and what becomes of the blocks that they leave."""

import numpy as np

from learner.signals.rows import fits, make_room, new_side, with_twice_the_places


def fill(side, item, pairs):
    """Gives the item's row so many pairs: (item, 0), (item, 1), ..."""
    make_room(side, item, pairs)
    side.rows[item, 1] = pairs
    start = side.rows[item, 0]
    side.item[start : start + pairs] = np.arange(pairs)
    side.weight[start : start + pairs] = np.arange(pairs)[:, None] + item


def test_a_row_that_grows_moves_and_keeps_its_pairs():
    side = new_side(2, 3)
    fill(side, 0, 4)
    fill(side, 1, 4)
    make_room(side, 0, 5)
    start, count, room = side.rows[0].tolist()
    assert (count, room) == (4, 8)
    assert side.item[start : start + 4].tolist() == [0, 1, 2, 3]
    assert side.weight[start : start + 4].tolist() == [[k] * 3 for k in range(4)]
    assert side.used[0] == 4 + 4 + 8


def test_room_that_is_there_is_left_as_it_is():
    side = new_side(1, 1)
    make_room(side, 0, 5)
    before = side.rows[0].tolist()
    make_room(side, 0, 8)
    assert side.rows[0].tolist() == before


def test_a_block_that_a_row_has_left_is_given_to_the_next():
    side = new_side(3, 1)
    fill(side, 0, 4)
    fill(side, 1, 4)
    left = [int(side.rows[item, 0]) for item in (0, 1)]
    make_room(side, 0, 5)
    make_room(side, 1, 5)
    used = side.used[0]
    make_room(side, 2, 4)
    assert side.rows[2, 0] == left[1]  # the one that was left last
    assert side.used[0] == used


def test_a_pool_with_twice_the_places_holds_the_same_rows():
    side = new_side(1, 2)
    fill(side, 0, 4)
    places = len(side.item)
    assert fits(side, places - 4)
    assert not fits(side, places - 3)
    longer = with_twice_the_places(side)
    assert fits(longer, 2 * places - 4)
    np.testing.assert_array_equal(longer.weight[:places], side.weight)
    np.testing.assert_array_equal(longer.rows, side.rows)
