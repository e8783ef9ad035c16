"""Arrays that grow."""

import numpy as np

from learner.data.arrays import grown


def test_new_rows_lie_behind_the_others_and_are_filled():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    longer = grown(array, 4, -1)
    assert longer.dtype == np.int32
    assert longer.tolist() == [[0, 1, 2], [3, 4, 5], [-1] * 3, [-1] * 3]


def test_flags_are_filled_with_false():
    assert grown(np.ones(1, np.bool_), 3).tolist() == [True, False, False]


def test_an_array_with_as_many_rows_is_returned_itself():
    array = np.zeros(3)
    assert grown(array, 3) is array
    assert grown(array, 2) is array
