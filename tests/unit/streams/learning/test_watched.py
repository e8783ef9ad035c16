"""What counts as watched: all was read, the process was there and the broker answered."""

from streams.learning.watched import Watched


def test_what_stood_in_the_topics_is_read_before_anything_counts() -> None:
    watched = Watched()
    assert watched.look(0, {1: 0}, {1: 500}) is None  # the first look only sees where the end is
    for second in range(1, 60):
        assert watched.look(second, {1: second}, {1: 500 + second}) is None
    assert watched.look(60, {1: 500}, {1: 560}) == 0  # the minute of catching up is none of watching
    assert watched.look(61, {1: 560}, {1: 561}) == 1000


def test_falling_behind_is_made_good_by_catching_up() -> None:
    watched = Watched()
    watched.look(0, {1: 0, 2: 0}, {1: 0, 2: 0})
    assert watched.look(1, {1: 0, 2: 0}, {1: 0, 2: 9}) == 0
    assert watched.look(2, {1: 0, 2: 3}, {1: 0, 2: 20}) is None
    assert watched.look(3, {1: 0, 2: 9}, {1: 0, 2: 30}) == 2000


def test_nothing_counts_while_the_broker_does_not_answer_or_the_process_stands_still() -> None:
    watched = Watched()
    watched.look(0, {1: 0}, {1: 0})
    assert watched.look(1, {1: 0}, {1: 0}) == 0
    assert watched.look(2, {1: 0}, {1: 0}) == 1000
    watched.lost()
    assert watched.look(40, {1: 0}, {1: 7}) is None
    assert watched.look(41, {1: 7}, {1: 7}) == 0
    assert watched.look(42, {1: 7}, {1: 7}) == 1000
    assert watched.look(9000, {1: 7}, {1: 99}) is None  # stopped, and continued hours later
    assert watched.look(9001, {1: 50}, {1: 99}) is None
    assert watched.look(9002, {1: 99}, {1: 99}) == 0
    assert watched.look(9003, {1: 99}, {1: 99}) == 1000


def test_topics_made_anew_and_other_partitions_hold_nothing_up() -> None:
    watched = Watched()
    watched.look(0, {1: 900}, {1: 900})
    watched.look(1, {1: 900}, {1: 900})
    assert watched.look(2, {1: 0, 2: 0}, {1: 0, 2: 0}) == 1000
    assert watched.look(3, {2: 0}, {2: 0}) == 1000
