"""Decisions on failed releases: none is lost on its way, and none is sent that has been overtaken."""

import asyncio
from typing import Any

import msgspec
import pytest

from streams.releases.roles import Roles, take_back
from streams.transport.delivery import Outgoing
from streams.wire.contract import ReleaseRecord
from streams.worker.decisions import Decisions


class Broker:
    """Takes records, but for the first `down` sendings."""

    def __init__(self, down: int = 0, unacknowledged: int = 0) -> None:
        self.down, self.unacknowledged = down, unacknowledged
        self.taken: list[tuple[str, str]] = []

    async def send(self, topic: str, records: list[Outgoing]) -> list[Any]:
        assert topic == "releases"
        if self.down:
            self.down -= 1
            raise ConnectionError("no leader")
        future = asyncio.get_running_loop().create_future()
        if self.unacknowledged:
            self.unacknowledged -= 1
            future.set_exception(ConnectionError("no acknowledgement"))
            return [future]
        for record in records:
            assert record.value is not None
            told = msgspec.json.decode(record.value)
            self.taken.append((told["release"], told["role"]))
        future.set_result(None)
        return [future]


def record(release: str, role: str) -> ReleaseRecord:
    return ReleaseRecord(release=release, url="/r", sha256="", role=role, at=1)  # type: ignore[arg-type]


def world() -> tuple[Roles, list[ReleaseRecord]]:
    roles = Roles([record("a", "live"), record("b", "live")])
    return roles, take_back(roles, "b", at=2, reason="it fails", role="quarantined", decision="failed")


QUARANTINE = [("a", "live"), ("b", "quarantined")]


@pytest.mark.parametrize("fault", ["down", "unacknowledged"])
def test_what_could_not_be_sent_is_sent_again(fault: str) -> None:
    roles, records = world()
    broker: Any = Broker(**{fault: 2})
    decisions = Decisions()
    decisions.add(records, shared=False)

    async def send() -> None:
        await decisions.send(broker, "releases", roles, first=False)

    for _ in range(2):
        asyncio.run(send())
        assert len(decisions) == 1
        assert broker.taken == []
    asyncio.run(send())
    assert broker.taken == QUARANTINE
    asyncio.run(send())
    assert (len(decisions), broker.taken) == (0, QUARANTINE)


def test_what_all_decide_is_sent_by_one_and_kept_by_the_others_until_it_is_done() -> None:
    roles, records = world()
    broker: Any = Broker()
    decisions = Decisions()
    decisions.add(records, shared=True)
    asyncio.run(decisions.send(broker, "releases", roles, first=False))
    assert (len(decisions), broker.taken) == (1, [])
    for each in records:
        roles.apply(each)
    asyncio.run(decisions.send(broker, "releases", roles, first=False))
    assert (len(decisions), broker.taken) == (0, [])
    roles.apply(record("b", "live"))  # an operator tries it again: that is for nobody to undo
    asyncio.run(decisions.send(broker, "releases", roles, first=True))
    assert broker.taken == []


def test_two_sendings_at_once_send_once() -> None:
    roles, records = world()
    broker: Any = Broker()
    decisions = Decisions()
    decisions.add(records, shared=False)

    async def twice() -> None:
        await asyncio.gather(*(decisions.send(broker, "releases", roles, first=True) for _ in range(2)))

    asyncio.run(twice())
    assert broker.taken == QUARANTINE
