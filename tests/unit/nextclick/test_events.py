"""Server-sent events, however their bytes are cut; and what a stream does when its line breaks."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextclick import BadAnswer, NotFound, Unavailable, Unreachable
from nextclick.events import MOST_BYTES, Event, Following, Parser
from nextclick.records import Recommendations

LIST = {
    "recommendation_id": "c-0-1", "trigger": {"kind": "click", "id": "e", "timestamp": 1},
    "items": [{"item_id": "x\u2028\x0by", "score": 1, "source": "ann", "reason": {"kind": "new"}}],
    "release": "r", "policy": "p", "created_at": 1,
}  # fmt: skip


def sent(name: str) -> bytes:
    data = msgspec.json.encode(LIST | {"recommendation_id": name})
    return b"event: recommendation\nid: " + name.encode() + b"\ndata: " + data + b"\n\n"


@given(st.lists(st.integers(0, 200), max_size=20), st.sampled_from([b"\n", b"\r\n"]))
def test_where_bytes_are_cut_changes_nothing(cuts: list[int], end: bytes) -> None:
    whole = (
        b"\xef\xbb\xbfretry: 2000\n\n: still here\n\nevent: a\nid: 1\ndata: x\ndata:  y\n\ndata: \xc3\xa4\n\n"
        b"id: 2\nevent: lost\n\nid\ndata\nunknown: 3\n\ndata: unfinished\n"
    ).replace(b"\n", end)
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    parser = Parser()
    found = [event for at, to in itertools.pairwise(places) for event in parser.feed(whole[at:to])]
    assert found == [
        Event("a", "1", b"x\n y"),
        Event("message", "1", "ä".encode()),
        Event("message", "", b""),
    ]
    assert parser.retry_ms == 2000


def test_an_event_without_an_end_is_not_collected_for_ever() -> None:
    parser = Parser()
    lines = [b"data: " + b"x" * 99_990 + b"\n"] * (MOST_BYTES // 100_000 + 2)
    with pytest.raises(BadAnswer):
        [event for line in lines for event in parser.feed(line)]


def following(last: str = "", give_up_s: float = 10.0) -> Following[Any]:
    return Following("/", Recommendations, "recommendation", {}, "u1", last, give_up_s)


def test_lists_come_as_they_are_and_none_twice() -> None:
    stream = following()
    stream.opened()
    assert "Last-Event-ID" not in stream.headers
    found = list(
        stream.feed(b"retry: 5000\n\n" + sent("c-0-1") + b"event: other\ndata: 1\n\n" + sent("c-0-2"))
    )
    assert [each.recommendation_id for each in found] == ["c-0-1", "c-0-2"]
    assert found[0].ids == ["x\u2028\x0by"]
    assert stream.headers["Last-Event-ID"] == "c-0-2"
    assert stream.lost(OSError("broke"), 100.0) == 5.0
    stream.opened()
    assert [each.recommendation_id for each in stream.feed(sent("c-0-2") + sent("c-0-3"))] == ["c-0-3"]
    assert following("c-0-9").headers["Last-Event-ID"] == "c-0-9"
    with pytest.raises(BadAnswer):
        list(following().feed(b"event: recommendation\ndata: {}\n\n"))


def test_it_comes_back_for_a_while_and_then_says_so() -> None:
    stream = following(give_up_s=10)
    assert stream.lost(OSError("broke"), 100.0) == 2.0
    assert stream.refused(503, {"retry-after": "7"}, b"", 103.0) == 7.0
    assert stream.lost(OSError("broke"), 109.0) == 2.0
    with pytest.raises(Unreachable, match="11 s: broke"):
        stream.lost(OSError("broke"), 111.0)
    with pytest.raises(Unavailable):
        stream.refused(503, {}, b"", 112.0)
    stream.opened()
    assert stream.lost(None, 200.0) == 2.0
    with pytest.raises(NotFound):
        stream.refused(404, {}, b"{}", 201.0)
