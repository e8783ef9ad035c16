"""Requests wait for the clicks that stood before them: in which cases, and for how long."""

from faust.types import TP

from streams.transport.behind import Behind, Place

CLICKS, REQUESTS = (TP("clicks", 3), TP("clicks", 4)), (TP("requests", 3), TP("requests", 4))


class Log:
    """How far two partitions of clicks have been read."""

    def __init__(self) -> None:
        self.places = dict.fromkeys(CLICKS, Place(None, None))

    def __call__(self, tp: TP) -> Place:
        return self.places[tp]


def begun() -> tuple[Behind, Log]:
    behind, log = Behind({"requests": "clicks"}), Log()
    behind.begin([*CLICKS, *REQUESTS])
    return behind, log


def test_each_waits_for_its_own_partition_and_for_what_stood_there_alone() -> None:
    behind, log = begun()
    assert behind.waiting(log) == set(REQUESTS)  # nothing has been fetched yet
    log.places = {CLICKS[0]: Place(0, 1000), CLICKS[1]: Place(50, 50)}
    assert behind.waiting(log) == {REQUESTS[0]}
    log.places[CLICKS[0]] = Place(999, 5000)  # clicks go on coming
    assert behind.waiting(log) == {REQUESTS[0]}
    log.places[CLICKS[0]] = Place(1000, 5000)
    assert behind.waiting(log) == set()
    log.places[CLICKS[0]] = Place(1001, 9000)
    assert behind.waiting(log) == set()


def test_after_another_assignment_they_wait_again() -> None:
    behind, log = begun()
    log.places = dict.fromkeys(CLICKS, Place(7, 7))
    assert behind.waiting(log) == set()
    behind.begin([CLICKS[0], REQUESTS[0]])
    log.places[CLICKS[0]] = Place(7, 8)
    assert behind.waiting(log) == {REQUESTS[0]}


def test_an_end_that_is_gone_is_not_waited_for() -> None:
    behind, log = begun()
    log.places = {CLICKS[0]: Place(10, 1000), CLICKS[1]: Place(10, 1000)}
    assert behind.waiting(log) == set(REQUESTS)
    log.places[CLICKS[0]] = Place(None, 1000)  # out of range: the place is looked for
    assert REQUESTS[0] in behind.waiting(log)
    log.places[CLICKS[0]] = Place(1000, 1000)  # all was deleted, or the rest were markers of transactions
    log.places[CLICKS[1]] = Place(3, 3)  # made anew
    assert behind.waiting(log) == set()


def test_what_follows_nothing_here_does_not_wait() -> None:
    behind, log = Behind({"requests": "clicks"}), Log()
    behind.begin([*CLICKS, TP("requests", 9), TP("items", 3)])
    assert behind.waiting(log) == set()
