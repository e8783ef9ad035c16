"""A worker that only counts each user's clicks, wired as the real one: run by test_batches.py.

counting_worker.py BOOTSTRAP PREFIX SLOT DATA BOOM LATE
BOOM: the click number that raises, or -1. LATE: seconds between a rebalance and the next slice.
Each click leads to one record {"user", "count", "n"} on recommendations; the state is "applied count".
Each request leads to one {"user", "asked"} there: how many clicks were counted by then.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mode import Worker

from streams.settings import load_settings
from streams.transport.batches import Batch, BatchSource
from streams.transport.changelog import Changelog
from streams.transport.clients import async_connection
from streams.transport.delivery import Delivery, Outgoing, new_producer
from streams.transport.faust_app import new_app
from streams.transport.feeds import new_reader
from streams.transport.topics import Names
from streams.worker.rounds import Rounds


def main(bootstrap: str, prefix: str, slot: str, data: str, boom: int = -1, late: float = 0.0) -> None:
    settings = load_settings(bootstrap_servers=bootstrap, prefix=prefix, data_dir=Path(data))
    names, connection = Names(prefix), async_connection(settings)
    app = new_app(f"{prefix}workers", settings, instance=f"slot-{slot}", session_seconds=6.0)
    states: dict[int, dict[str, tuple[int, int]]] = {}
    rounds: Rounds[Any] = Rounds()
    running: list[asyncio.Task[None]] = []
    clients: dict[str, Any] = {}

    def say(**facts: Any) -> None:
        print(json.dumps({"slot": slot, **facts}), flush=True)

    async def restore(partitions: frozenset[Any], generation: int) -> None:
        producer = new_producer(connection)
        await producer.start()
        clients["producer"] = producer
        delivery = clients["delivery"] = Delivery(producer, source.fence, source.hold)
        changelog = clients["changelog"] = Changelog(
            names.user_states, delivery, lambda: new_reader(connection)
        )
        wanted = sorted({tp.partition for tp in partitions if tp.topic == names.clicks})
        async for restored in changelog.restore(wanted, generation):
            states[restored.partition] = {
                key.decode(): tuple(map(int, value.split())) for key, value in restored.states.items()
            }
        running.append(asyncio.create_task(work()))
        say(event="assigned", partitions=wanted, users=sum(map(len, states.values())))

    async def settle(partitions: frozenset[Any]) -> None:
        rounds.clear()
        for task in running:
            task.cancel()
            await asyncio.wait([task])
        running.clear()
        if "changelog" in clients:
            await clients["changelog"].drain()
            await clients["producer"].stop()
        states.clear()
        say(event="revoked")

    async def work() -> None:
        try:
            await rounds.run(one_round)
        except Exception as error:
            await app.crash(error)

    async def one_round() -> None:
        changelog: Changelog = clients["changelog"]
        await changelog.room(2048)
        touched: dict[int, dict[bytes, bytes | None]] = {}
        lists: dict[int, list[Outgoing]] = {}
        taken = rounds.take()
        source.more()
        for pending in taken:
            partition, record = pending.payload
            applied, count = states[partition].get(pending.user, (-1, 0))
            touched.setdefault(partition, {})
            if record.topic == names.requests:
                value = json.dumps({"user": pending.user, "asked": count}).encode()
                lists.setdefault(partition, []).append(Outgoing(record.key, value))
                continue
            if record.offset <= applied:
                continue
            click = json.loads(record.value)
            if click["n"] == boom:
                raise ValueError(f"click {boom}")
            states[partition][pending.user] = (record.offset, count + 1)
            touched[partition][pending.user.encode()] = f"{record.offset} {count + 1}".encode()
            value = json.dumps({"user": pending.user, "count": count + 1, "n": click["n"]}).encode()
            lists.setdefault(partition, []).append(Outgoing(record.key, value))
        delivery: Delivery = clients["delivery"]
        for partition, changed in touched.items():
            sent = await delivery.send(names.recommendations, lists.get(partition, []))
            mine = [pending for pending in taken if pending.payload[0] == partition]
            durable = changelog.commit(partition, sent, changed, len(mine))
            source.then(durable, lambda mine=mine: [pending.done() for pending in mine])  # type: ignore[misc]

    source = BatchSource(
        app, [names.clicks, names.requests], assigned=restore, revoking=settle,
        follows={names.requests: names.clicks},
    )  # fmt: skip

    @app.on_rebalance_complete.connect
    async def dawdle(*_: Any, **__: Any) -> None:
        await asyncio.sleep(late)  # a fetch that waits through the rebalance ends before the flow is on

    @app.agent(source.topic)
    @source.fatal
    async def count(stream: Any) -> None:
        async for batch in source.batches(stream):
            await rounds.put(batch, decode(batch))
            if not rounds.pending:
                source.more()

    def decode(batch: Batch) -> list[tuple[str, Any]]:
        return [(record.key.decode(), (batch.partition, record)) for record in batch.records]

    Worker(app, loglevel="warning", override_logging=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*arguments[:4], boom=int(arguments[4]), late=float(arguments[5]))
