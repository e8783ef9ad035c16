"""Records of the topic `signals` as version 1 wrote them: read, understood and written the same."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from learner.data.catalogue import Catalogue
from learner.signals.record import FRONTIER
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from tests.worlds.places import GOLDEN

FOLDER = GOLDEN / "signals_v1"  # made by tests/golden/make_signals_v1.py
CLICKS = json.loads((FOLDER / "clicks.json").read_text())  # user, item, time, kind, value
NOW = max(click[2] for click in CLICKS)  # not the last one's: some came late


def records(name: str = "records.jsonl") -> Iterator[tuple[str, bytes]]:
    for line in (FOLDER / name).read_bytes().splitlines():
        yield json.loads(line)["item_id"], line


@pytest.fixture
def given() -> dict[str, tuple[list[float], list[float]]]:
    """Vectors that records brought."""
    return {}


@pytest.fixture
def signals(given: dict[str, tuple[list[float], list[float]]]) -> Signals:
    catalogue = Catalogue()
    read = Signals(
        SignalSettings(), catalogue, keep_offsets=True,
        on_vector=lambda item, vector, content, _: given.update(
            {catalogue.ids[item]: (vector.tolist(), content.tolist())}
        ),
    )  # fmt: skip
    for name, value in records():
        read.apply(name, value)
    return read


def test_they_say_of_each_item_what_its_clicks_do(signals: Signals) -> None:
    number = signals.catalogue.index
    assert signals.total == len(CLICKS)
    assert signals.now_ms == NOW
    assert signals.frontier == signals.offsets == {0: 22, 1: 23}
    counted = Counter(click[1] for click in CLICKS)
    assert {name: signals.count[number[name]] for name in ("a", "b", "c", "é")} == counted
    for name in counted:
        item, mine = number[name], [click for click in CLICKS if click[1] == name]
        times = np.array([click[2] for click in mine], float)
        assert signals.first_ms[item] == mine[0][2]
        assert signals.last_ms[item] == times.max()
        assert signals.value_sum[item] == sum(click[4] for click in mine)
        for column, half_life in enumerate(signals.settings.half_lives_ms):
            kept = signals.popularity[item, column] * 2.0 ** (signals.reference[column] - NOW / half_life)
            assert kept == pytest.approx((0.5 ** ((NOW - times) / half_life)).sum(), rel=1e-6)
    assert signals.by_depth.any((1, 2))[[number[name] for name in counted]].all()


def test_they_know_which_items_came_one_after_the_other(signals: Signals) -> None:
    before: dict[str, set[str]] = {}
    had: dict[int, set[str]] = {}
    for user, name, *_ in CLICKS:
        before.setdefault(name, set()).update(had.setdefault(user, set()) - {name})
        had[user].add(name)
    ids = signals.catalogue.ids
    for name, sources in before.items():
        row, weights = signals.neighbours.row(signals.catalogue.index[name])
        assert {ids[item] for item in row.tolist()} == sources
        assert (weights[:, :2] > 0).all()


def test_a_new_items_vector_comes_with_its_record(
    signals: Signals, given: dict[str, tuple[list[float], list[float]]]
) -> None:
    assert given == {"new": ([n / 8 for n in range(4)], [n / -16 for n in range(6)])}
    assert signals.born_ms[signals.catalogue.index["new"]] == NOW


def test_they_are_written_as_they_were(signals: Signals) -> None:
    number = signals.catalogue.index
    for name, value in records():
        written = signals.frontier_record() if name == FRONTIER else signals.record(number[name])
        assert written == value


def test_records_from_before_there_were_depths_are_read() -> None:
    signals = Signals(SignalSettings(), Catalogue())
    ((name, value),) = records("before_depths.jsonl")
    item = signals.apply(name, value)
    assert signals.count[item] == sum(click[1] == name for click in CLICKS)
    assert not signals.by_depth[item].any()
    assert signals.without_depths == 1
