"""Recorded clicks: the part that is meant, and the click made from a row."""

from pathlib import Path

import numpy as np
import pytest

from streams.recorded.clicks import PartError, RecordedClicks
from streams.traffic.playing import Pace

ROWS = """user_id,item_id,timestamp,event,value,scenario
u1,i1,1000000000,click,,home
u2,i2,1000000060,rating,4.5,
u1,i3,1000000120,dislike,,
u3,i1,1000000180,purchase,9.99,cart
"""


@pytest.fixture
def clicks(tmp_path: Path) -> RecordedClicks:
    file = tmp_path / "interactions.csv"
    file.write_text(ROWS)
    return RecordedClicks(file)


def test_rows_become_clicks(clicks: RecordedClicks) -> None:
    made = list(clicks.clicks(range(4), history=True))
    assert [(c.user_id, c.item_id, c.event, c.value, c.scenario) for c in made] == [
        ("u1", "i1", "click", None, "home"),
        ("u2", "i2", "rating", 4.5, None),
        ("u1", "i3", "dislike", None, None),
        ("u3", "i1", "purchase", pytest.approx(9.99), "cart"),
    ]
    assert [c.timestamp for c in made] == [1_000_000_000_000 + 60_000 * n for n in range(4)]
    assert all(c.history for c in made)
    assert len({c.event_id for c in made}) == 4


def test_a_click_has_the_same_id_in_every_part(clicks: RecordedClicks) -> None:
    whole = [c.event_id for c in clicks.clicks(range(4), history=False)]
    assert [c.event_id for c in clicks.clicks(range(2, 4), history=True)] == whole[2:]


@pytest.mark.parametrize(
    ("start", "stop", "part"),
    [
        (None, None, range(0, 4)),
        ("0.5", None, range(2, 4)),
        (None, "0.8", range(0, 3)),
        ("2001-09-09T01:47:40", None, range(1, 4)),
        ("2001-09-09T01:47:40Z", "2001-09-09T03:49:40+02:00", range(1, 3)),
    ],
)
def test_parts(clicks: RecordedClicks, start: str | None, stop: str | None, part: range) -> None:
    assert clicks.part(start, stop) == part


@pytest.mark.parametrize(
    ("start", "stop", "told"),
    [
        ("1.5", None, "between 0 and 1"),
        ("yesterday", None, "--from yesterday: expected a fraction"),
        ("0.5", "0.5", "no clicks between --from 0.5 and --to 0.5"),
        ("2020-01-01", None, "2001-09-09T01:46:40"),
    ],
)
def test_what_is_no_part_is_told(
    clicks: RecordedClicks, start: str | None, stop: str | None, told: str
) -> None:
    with pytest.raises(PartError, match=told):
        clicks.part(start, stop)


def test_paces() -> None:
    times = np.array([5_000, 6_000, 6_000, 9_000])
    assert Pace(speed=2).due_s(times).tolist() == [0, 0.5, 0.5, 2]
    assert Pace(rate=4).due_s(times).tolist() == [0, 0.25, 0.5, 0.75]
    assert Pace(rate=0).due_s(times).tolist() == [0, 0, 0, 0]
