"""What of a slice goes on: the good, in their order; the rest has gone where it belongs when that is said."""

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord
from structlog.testing import capture_logs

from streams.runtime.repeated import Repeated
from streams.transport.batches import Batch
from streams.transport.delivery import Outgoing
from streams.transport.topics import Names
from streams.wire.clock import Clock
from streams.wire.contract import Request
from streams.wire.intake import Arrival, admit
from streams.wire.partitioner import partition_of
from streams.worker.admission import Admission
from streams.worker.rounds import Pending, _Open

PARTITIONS = 8
HOME = partition_of(b"u", PARTITIONS)
NOW_MS = int(time.time() * 1000)


class Sent:
    """Stands for an assignment's delivery and letters; acknowledges what it takes when `release` is set."""

    def __init__(self) -> None:
        self.forwarded: list[tuple[str, Outgoing]] = []
        self.letters: list[tuple[int, str]] = []
        self.release = asyncio.Event()
        self.release.set()
        self.delivery = SimpleNamespace(send=self._forward)
        self.letter_box = SimpleNamespace(send=self._letter)

    def assignment(self) -> Any:
        return SimpleNamespace(delivery=self.delivery, letters=self.letter_box)

    async def _forward(self, topic: str, records: list[Outgoing]) -> list[Any]:
        self.forwarded += [(topic, record) for record in records]
        return [asyncio.ensure_future(self.release.wait())]

    async def _letter(self, record: ConsumerRecord, error: str, _: int) -> list[Any]:
        self.letters.append((record.offset, error))
        return [asyncio.ensure_future(self.release.wait())]


def batch(*values: bytes, topic: str = "clicks", headers: Any = ()) -> Any:
    records = [
        ConsumerRecord(topic, HOME, offset, 0, 0, b"u", value, None, 0, len(value), headers)
        for offset, value in enumerate(values)
    ]
    return SimpleNamespace(topic=topic, partition=HOME, records=records)


def click(user: str = "u", **more: Any) -> bytes:
    made = {"event_id": "e", "user_id": user, "item_id": "i", "event": "click", "timestamp": NOW_MS}
    return json.dumps(made | more).encode()


def admitted(sent: Sent, some: Any) -> tuple[list[tuple[str, int]], dict[str, int], Admission]:
    """The good ones, how many were forwarded and refused, and who said so."""
    counts, bad = {"forwarded": 0}, Repeated("bad record", "")
    admission = Admission(Names(""), PARTITIONS, Clock("wall"), counts, bad)

    async def run() -> list[tuple[str, int]]:
        return [(user, arrival.offset) for user, arrival in await admission.admit(some, sent.assignment())]

    good = asyncio.run(run())
    return good, counts | {"refused": bad.counted}, admission


def elsewhere() -> str:
    return next(f"v{n}" for n in range(99) if partition_of(f"v{n}".encode(), PARTITIONS) != HOME)


def test_the_good_go_on_in_their_order() -> None:
    sent = Sent()
    good, counts, _ = admitted(sent, batch(click(), b"{broken", click(event_id="e2")))
    assert good == [("u", 0), ("u", 2)]
    assert counts == {"forwarded": 0, "refused": 1}
    ((offset, error),) = sent.letters
    assert (offset, sent.forwarded) == (1, [])
    assert error


def test_a_time_that_the_clock_refuses_is_bad_input() -> None:
    sent = Sent()
    good, _, _ = admitted(sent, batch(click(timestamp=NOW_MS + 3_600_000)))
    assert good == []
    assert "ahead of the clock" in sent.letters[0][1]


def test_another_users_record_is_sent_to_where_it_belongs_as_it_is() -> None:
    sent, user = Sent(), elsewhere()
    value = click(user)
    good, counts, _ = admitted(sent, batch(value, headers=(("trace", b"1"),)))
    assert (good, counts["forwarded"]) == ([], 1)
    home = partition_of(user.encode(), PARTITIONS)
    headers = [("trace", b"1"), ("forwarded", b"3-0")]
    assert sent.forwarded == [("clicks", Outgoing(user.encode(), value, home, headers))]


def test_requests_are_read_as_requests() -> None:
    sent = Sent()
    assert admitted(sent, batch(asked(), topic="requests"))[0] == [("u", 0)]
    assert admitted(sent, batch(asked()))[0] == []  # no click


def asked(**more: Any) -> bytes:
    return json.dumps({"request_id": "r", "user_id": "u"} | more).encode()


def test_a_strangers_turn_and_place_are_those_of_the_request() -> None:
    sent = Sent()
    here = next(f"r{n}" for n in range(99) if partition_of(f"r{n}".encode(), PARTITIONS) == HOME)
    there = next(f"r{n}" for n in range(99) if partition_of(f"r{n}".encode(), PARTITIONS) != HOME)
    values = [json.dumps({"request_id": name}).encode() for name in (here, there)]
    assert admitted(sent, batch(*values, topic="requests"))[0] == [(here, 0)]
    home = partition_of(there.encode(), PARTITIONS)
    headers = [("forwarded", b"3-1")]
    assert sent.forwarded == [("requests", Outgoing(there.encode(), values[1], home, headers))]


def test_a_click_to_wait_for_is_one_of_the_users_partition() -> None:
    sent = Sent()
    mine, others = ({"partition": n, "offset": 5} for n in (HOME, (HOME + 1) % PARTITIONS))
    stranger = next(f"r{n}" for n in range(99) if partition_of(f"r{n}".encode(), PARTITIONS) == HOME)
    values = (
        asked(at_least=mine), asked(at_least=others),
        json.dumps({"request_id": stranger, "at_least": mine}).encode(),
    )  # fmt: skip
    assert admitted(sent, batch(*values, topic="requests"))[0] == [("u", 0)]
    assert [error for _, error in sent.letters] == [
        f"at_least of another user's partition: it is {others['partition']}, and clicks of 'u' are in {HOME}",
        "at_least without user_id: a stranger's list knows no clicks; leave it out",
    ]


def test_a_wrong_filter_is_a_dead_letter_that_names_the_place() -> None:
    sent = Sent()
    wrong = (
        ("filter.all[1]", {"filter": {"all": [{"field": "price", "lt": 20}, {"field": "price", "near": 3}]}}),
        ("rules.filter.not", {"rules": {"filter": {"not": {"field": "brand"}}}}),
        ("rules.boost[0].filter", {"rules": {"boost": [{"filter": {"field": "brand"}, "factor": 2}]}}),
        ("rules.bury[0].factor", {"rules": {"bury": [{"filter": {"field": "a", "eq": 1}, "factor": 2}]}}),
        ("rules.caps[0].most", {"rules": {"caps": [{"field": "brand", "most": 0}]}}),
    )
    values = [asked(**more) for _, more in wrong]
    assert admitted(sent, batch(*values, topic="requests"))[0] == []
    for (place, _), (_, error) in zip(wrong, sent.letters, strict=True):
        assert place in error, error


def test_it_returns_when_what_became_of_the_rest_is_acknowledged() -> None:
    sent = Sent()
    admission = Admission(Names(""), PARTITIONS, Clock("wall"), {"forwarded": 0}, Repeated("bad record", ""))

    async def run() -> None:
        sent.release = asyncio.Event()
        waiting = asyncio.create_task(
            admission.admit(batch(click(), b"{", click(elsewhere())), sent.assignment())
        )
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert (len(sent.letters), len(sent.forwarded)) == (1, 1)
        sent.release.set()
        assert [user for user, _ in await waiting] == ["u"]

    asyncio.run(run())


def test_a_flood_of_what_is_not_admitted_is_told_of_in_two_lines() -> None:
    wrong = [b"{", *(click(event=f"e{n}") for n in range(3)), *(click(elsewhere()) for _ in range(300))]
    with capture_logs() as said:
        _, counts, admission = admitted(Sent(), batch(*wrong, *(300 * [b"{"])))
        admission.watch()
    assert counts == {"forwarded": 300, "refused": 304}
    assert [line["event"] for line in said] == ["bad record", "bad record", "misplaced records are forwarded"]


def test_what_is_turned_down_later_is_a_dead_letter_as_it_came() -> None:
    sent, came = Sent(), batch(b"{}", click(), topic="requests")
    bad = Repeated("bad record", "")
    admission = Admission(Names(""), PARTITIONS, Clock("wall"), {"forwarded": 0}, bad)
    whole: Any = Batch(None, SimpleNamespace(topic="requests", partition=HOME), came.records)  # type: ignore[arg-type]
    record = Pending("u", Arrival(Request(request_id="r"), HOME, 1), _Open(whole, 2))

    async def run() -> None:
        sent.release.clear()
        turning = asyncio.create_task(admission.turn_down(record, "too many: later", sent.assignment()))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not turning.done()
        sent.release.set()
        await turning

    asyncio.run(run())
    assert sent.letters == [(1, "too many: later")]
    assert dict(bad.by_kind) == {"requests: too many": 1}


def test_a_token_from_before_the_topic_grew_is_waited_for_no_longer() -> None:
    users = (f"u{n}" for n in range(99))
    user = next(each for each in users if partition_of(each.encode(), 16) >= 8)
    old, home = (partition_of(user.encode(), number) for number in (8, 16))
    value = {"request_id": "r", "user_id": user, "at_least": {"partition": old, "offset": 7}}
    found = admit(json.dumps(value).encode(), home, 0, requests=True, partitions=16, refuses=lambda _: None)
    assert isinstance(found, Arrival)
    assert found.message.at_least is None  # type: ignore[union-attr]
