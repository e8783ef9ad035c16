"""Conversations without a line: what is sent again, with which ids, and when it is given up."""

import random
from typing import Any

import msgspec
import pytest

from nextclick.errors import (
    BadAnswer,
    Conflict,
    Forbidden,
    PreconditionFailed,
    Problem,
    Unavailable,
    Unprocessable,
    Unreachable,
)
from nextclick.exchange import Call, Line, Lost, Patience, Reply
from nextclick.operating import delete_item, item, pin, put_item, ready
from nextclick.reading import batch, recommend, recommendations
from nextclick.records import Click, Item, NotTaken, Row
from nextclick.seen import Seen
from nextclick.sending import MOST_BYTES, bodies, click, click_many, none_taken

RECEIPT = {"accepted": 1, "seen": "0-1", "errors": []}


def line(**patience: Any) -> Line:
    return Line(Patience(**patience, rng=random.Random(0)), Seen())


def reply(status: int = 200, body: Any = None, **headers: str) -> Reply:
    return Reply(status, headers | {"etag": '"7"'}, b"" if body is None else msgspec.json.encode(body))


def away(after: str | None = "1") -> Reply:
    told = {"title": "not available now", "detail": "no", "type": "urn:x"}
    return Reply(503, {} if after is None else {"retry-after": after}, msgspec.json.encode(told))


BROKEN = Lost(OSError("broke"), sent=True)
UNSENT = Lost(OSError("refused"), sent=False)


class Spoken:
    """Speaks the other side: gives the replies in turn, keeps what was sent and how long was waited."""

    def __init__(self, *replies: Reply | Lost) -> None:
        self.replies, self.sent, self.waited = list(replies), list[dict[str, Any]](), list[float]()

    def with_(self, call: Call[Any], on: Line) -> Any:
        talk, said = call.talk(on), None
        try:
            while True:
                step = talk.send(said)
                said = None
                if isinstance(step, Call):
                    self.sent.append({"query": dict(step.query), "body": msgspec.to_builtins(step.body)})
                    said = self.replies.pop(0)
                else:
                    self.waited.append(step)
        except StopIteration as end:
            assert self.replies == []
            return end.value


def test_a_click_goes_again_under_the_same_id() -> None:
    other = Spoken(BROKEN, away(), UNSENT, reply(202, RECEIPT))
    on = line()
    assert other.with_(click("u1", "i1"), on).seen == "0-1"
    ids = {sent["body"]["event_id"] for sent in other.sent}
    assert len(ids) == 1
    assert ids != {""}
    assert other.waited[1] >= 1
    assert all(0 < wait < 2 for wait in other.waited)


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([BROKEN] * 4, Unreachable),
        ([away()] * 4, Unavailable),
        ([away(None)], Unavailable),
        ([away("11")], Unavailable),
        ([away("Wed, 21 Oct 2026 07:28:00 GMT")], Unavailable),
        ([Reply(422, {}, b"{}")], Unprocessable),
        ([Reply(500, {}, b"<html>")], Problem),
        ([reply(202, "no receipt")], BadAnswer),
        ([Reply(202, {}, b"<html>")], BadAnswer),
    ],
)
def test_it_ends(replies: list[Reply | Lost], error: type[Exception]) -> None:
    with pytest.raises(error):
        Spoken(*replies).with_(click("u1", "i1"), line())


def test_nobody_waits_who_has_no_patience() -> None:
    other = Spoken(away())
    with pytest.raises(Unavailable) as found:
        other.with_(recommendations("u1"), line(retries=0))
    assert (other.waited, found.value.retry_after_s, found.value.detail) == ([], 1.0, "no")


@pytest.mark.parametrize(
    "call",
    [
        lambda: pin("r1", "x"),
        lambda: delete_item("i1", if_match='"1"'),
        lambda: put_item(Item(item_id="i"), if_match='"1"'),
    ],
)
def test_what_would_do_more_when_done_twice_goes_again_only_where_it_had_not_left(call: Any) -> None:
    with pytest.raises(Unreachable):
        Spoken(BROKEN).with_(call(), line())
    with pytest.raises((Conflict, PreconditionFailed)):
        Spoken(UNSENT, away(), Reply(409 if call().method == "POST" else 412, {}, b"{}")).with_(
            call(), line()
        )


def test_tokens_are_remembered_and_sent() -> None:
    on = line()
    told = RECEIPT | {"tokens": {"u1": "0-7", "u2": "1-3"}}
    Spoken(reply(202, told)).with_(click("u1", "i1"), on)
    expectations = (
        (recommendations("u1"), "0-7"),
        (recommendations("u1", seen="9-9"), "9-9"),
        (recommendations("u3"), None),
    )
    for call, expected in expectations:
        other = Spoken(Reply(404, {}, b"{}"))
        with pytest.raises(Problem):
            other.with_(call, on)
        assert other.sent[0]["query"]["seen"] == expected
    other = Spoken(Reply(404, {}, b"{}"), Reply(404, {}, b"{}"))
    for bodied in (recommend("u2"), batch([Row(user_id="u2"), Row(user_id="u1", k=3), Row(k=2)])):
        with pytest.raises(Problem):
            other.with_(bodied, on)
    assert other.sent[0]["body"] == {"user_id": "u2", "seen": "1-3"}
    assert [row.get("seen") for row in other.sent[1]["body"]["requests"]] == ["1-3", "0-7", None]


def test_an_answer_with_a_status_of_its_own_is_one() -> None:
    told = {"status": "away", "broker": "away", "catalogue": "ok", "lists": "none"}
    found = Spoken(reply(503, told)).with_(ready(), line())
    assert (bool(found), found.broker) == (False, "away")
    assert Spoken(reply(204)).with_(delete_item("i1"), line()) is None
    assert Spoken(reply(200, {"item_id": "i1", "new_field": 1})).with_(item("i1"), line()).etag == '"7"'


def test_what_was_not_acknowledged_goes_again_alone() -> None:
    first = {"accepted": 1, "seen": "0-1", "errors": [
        {"index": 0, "detail": "not acknowledged", "retry": True},
        {"index": 2, "detail": "bad", "pointer": "/event"},
    ]}  # fmt: skip
    other = Spoken(reply(202, first), reply(202, RECEIPT | {"seen": "0-2", "tokens": {"a": "0-2"}}))
    clicks = [Click(user_id=user, item_id="i") for user in "abc"]
    told = other.with_(click_many(clicks), line())
    assert (told.accepted, told.seen) == (2, "0-2")
    assert [(each.index, each.pointer, each.retry) for each in told.errors] == [(2, "/event", False)]
    again = other.sent[1]["body"]["clicks"]
    assert [each["user_id"] for each in again] == ["a"]
    assert again[0]["event_id"] == other.sent[0]["body"]["clicks"][0]["event_id"]


def test_of_many_clicks_each_is_taken_refused_or_to_be_sent_again() -> None:
    clicks = [Click(user_id="u", item_id=f"i{n}") for n in range(2_500)]
    refused = {
        "detail": "none",
        "errors": [{"pointer": f"/clicks/{n}/event", "detail": "no event"} for n in range(1000)],
    }
    other = Spoken(
        reply(202, RECEIPT | {"accepted": 1000}), Reply(422, {}, msgspec.json.encode(refused)), BROKEN
    )
    told = other.with_(click_many(clicks), line(retries=0))
    assert told.accepted == 1000
    assert {(each.pointer, each.retry) for each in told.errors if each.index < 2000} == {("/event", False)}
    assert {each.index for each in told.errors if each.retry} == set(range(2000, 2500))
    assert len(told.errors) == 1500
    with pytest.raises(Unprocessable):
        Spoken(Reply(422, {}, msgspec.json.encode(refused))).with_(click_many(clicks[:1000]), line())


def test_a_click_whose_token_cannot_be_made_holds_up_no_other() -> None:
    tokens = {"a": "aa", "c": "cc", "odd": None}
    on = line()
    on.token_of = tokens.__getitem__  # type: ignore[assignment]
    clicks = [Click(user_id=user, item_id="i") for user in ("a", "secret", "c", "odd")]
    other = Spoken(reply(202, RECEIPT | {"accepted": 2}))
    told = other.with_(click_many(clicks), on)
    assert [each["user_token"] for each in other.sent[0]["body"]["clicks"]] == ["aa", "cc"]
    assert told.accepted == 2
    assert [(each.index, each.pointer, each.retry) for each in told.errors] == [
        (1, "/user_token", False),
        (3, "/user_token", False),
    ]
    assert "secret" not in repr(told.errors)
    away_now = Spoken(away(None)).with_(click_many(clicks), on)
    assert [(each.index, each.retry) for each in away_now.errors] == [
        (0, True),
        (1, False),
        (2, True),
        (3, False),
    ]
    with pytest.raises(Forbidden) as none:
        Spoken().with_(click_many(clicks[1:2]), on)
    assert none_taken(none.value, 1) == [
        NotTaken(0, "no token of this user could be made", "/user_token", False)
    ]


def test_a_body_is_refused_for_good_where_its_tokens_are_and_not_where_the_key_is() -> None:
    clicks = [Click(user_id="u", item_id="i")] * 2
    places = [{"pointer": f"/clicks/{n}/user_token", "detail": "of another user"} for n in range(2)]
    for errors, again in ((places, [False, False]), ([], [True, True])):
        answer = Reply(403, {}, msgspec.json.encode({"detail": "no", "errors": errors}))
        with pytest.raises(Forbidden) as refused:
            Spoken(answer).with_(click_many(clicks), line())
        assert [each.retry for each in none_taken(refused.value, 2)] == again


def test_bodies_stay_below_what_the_server_takes() -> None:
    long = [Click(user_id="u", event="impression", items=["x" * 200] * 900) for _ in range(12)]
    parts = list(bodies(list(enumerate(long))))
    assert [index for part in parts for index, _ in part] == list(range(12))
    assert all(
        len(part) == 1 or sum(len(msgspec.json.encode(each)) for _, each in part) < MOST_BYTES
        for part in parts
    )
    assert len(parts) == 3
