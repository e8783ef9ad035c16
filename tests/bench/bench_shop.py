"""A shop whose rules change under load: how soon blocked and withdrawn items are gone from lists.

    python tests/bench/bench_shop.py --release DIR [--items 10000] [--rate 100] [--trials 20] [--learner]

Broker, worker, load and measurement share this machine. The release's items and made-up ones have brands and
prices; three scenarios have rules, of which two are changed every second. In each trial an item is pinned to
the first place of every list of the third, until a list shows it; then it is blocked by a new record of
rules, or withdrawn on `items`, and the pin left as it is. `gone_ms` is from the moment before that record was
sent to the CreateTime of the last list that still holds the item, 0 where none does; with 33 lists a second
in that scenario its grain is 30 ms. Lists that break the rules whose offset they name are counted: there must
be none.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from learner.data.catalogue import Item
from learner.release.files import read_release
from streams.broker.node import EmbeddedBroker
from streams.runtime.fleet import Fleet
from streams.settings import Settings, load_settings
from streams.transport import clients
from streams.transport.topics import Names, create_missing
from streams.wire.contract import Recommendation, decode_list, encode

USERS = 2000
BRANDS, MOST_PRICE = 50, 100
SCENARIOS = ("home", "cart", "shelf")  # the last one's rules change by trials alone
STARTS_SECONDS = 300.0
WATCHED_SECONDS = 2.0  # after a change
SHOWN_SECONDS = 20.0  # until a pinned item is shown


@dataclass
class Seen:
    """Lists as they come: CreateTime (ms) and the list."""

    lists: list[tuple[int, Recommendation]] = field(default_factory=list)
    sent_ms: dict[str, int] = field(default_factory=dict)
    freshness: list[int] = field(default_factory=list)
    rules: dict[int, dict[str, Any]] = field(default_factory=dict)  # by offset

    def broken(self, prices: dict[str, int]) -> int:
        """Lists that break what they name."""
        return sum(
            _breaks([item.item_id for item in made.items], self.rules[made.rules], prices)
            for _, made in self.lists
            if made.rules in self.rules
        )


class Shop:
    """The load and the operator of one running system."""

    def __init__(self, settings: Settings, prices: dict[str, int], rate: float) -> None:
        self.names, self.items, self.rate = Names(settings.prefix), list(prices), rate
        self.prices = prices
        self.connection = clients.async_connection(settings)
        self.seen, self.rng = Seen(), random.Random(0)

    async def run(self, trials: int) -> dict[str, Any]:
        """Makes the trials under load; returns the figures."""
        self.producer = AIOKafkaProducer(acks=1, linger_ms=0, **self.connection)
        consumer = AIOKafkaConsumer(
            self.names.recommendations, auto_offset_reset="earliest", enable_auto_commit=False,
            **self.connection,
        )  # fmt: skip
        await self.producer.start()
        await consumer.start()
        beside = [asyncio.create_task(work) for work in (self._click(), self._read(consumer), self._change())]
        try:
            await self._until(lambda: len(self.seen.freshness) > 5 * self.rate, "lists come", STARTS_SECONDS)
            self.seen.freshness.clear()
            gone: dict[str, list[int]] = {"blocked": [], "withdrawn": []}
            for number in range(trials):
                for kind, times in gone.items():
                    times.append(await self._trial(kind))
                print(
                    f"trial {number + 1}: " + ", ".join(f"{k} {v[-1]} ms" for k, v in gone.items()),
                    flush=True,
                )
        finally:
            for task in beside:
                task.cancel()
            failed = [each for each in await asyncio.gather(*beside, return_exceptions=True)
                      if isinstance(each, Exception)]  # fmt: skip
            await consumer.stop()
            await self.producer.stop()
        if failed:
            raise failed[0]
        return {
            "items": len(self.prices), "rate": self.rate, "lists": len(self.seen.lists),
            "changes_of_rules": len(self.seen.rules),
            "lists_against_their_rules": self.seen.broken(self.prices),
            "gone_ms": {kind: _of(times, 50, 100) for kind, times in gone.items()},
            "freshness_ms": _of(self.seen.freshness, 50, 99),
        }  # fmt: skip

    async def _trial(self, kind: str) -> int:
        victim = self.items.pop(self.rng.randrange(len(self.items)))
        rules: dict[str, Any] = {
            "pin": [{"item_id": victim, "position": 1}],
            "caps": [{"field": "brand", "most": 3}],
        }
        offset = await self._put(SCENARIOS[-1], rules)
        await self._until(lambda: self._shows(victim, offset), f"a list shows {victim}", SHOWN_SECONDS)
        before_ms = int(time.time() * 1000)
        if kind == "blocked":
            await self._put(SCENARIOS[-1], rules | {"block": [victim]})
        else:
            await self.producer.send_and_wait(self.names.items, None, key=victim.encode())
        await asyncio.sleep(WATCHED_SECONDS)
        late = [at for at, made in self._newest() if at >= before_ms and _holds(made, victim)]
        return max(late, default=before_ms) - before_ms

    def _shows(self, item: str, offset: int) -> bool:
        return any(made.rules == offset and _holds(made, item) for _, made in self._newest())

    def _newest(self) -> list[tuple[int, Recommendation]]:
        return self.seen.lists[-int(self.rate * 2 * SHOWN_SECONDS) :]

    async def _until(self, there: Any, what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not there():
            if time.monotonic() > end:
                raise TimeoutError(f"waited for {seconds:.0f} s until {what}")
            await asyncio.sleep(0.05)

    async def _put(self, name: str, rules: dict[str, Any]) -> int:
        value = json.dumps({"scenario": name, **rules}).encode()
        offset: int = (
            await self.producer.send_and_wait(self.names.scenarios, value, key=name.encode())
        ).offset
        self.seen.rules[offset] = rules
        return offset

    async def _change(self) -> None:
        """Other rules for the other scenarios, once a second."""
        while True:
            for name in SCENARIOS[:-1]:
                brand = {"field": "brand", "eq": f"b{self.rng.randrange(BRANDS)}"}
                await self._put(name, {
                    "k": self.rng.randint(5, 20), "block": self.rng.sample(self.items, 20),
                    "filter": {"field": "price", "lt": self.rng.randint(10, MOST_PRICE)},
                    "boost": [{"filter": brand, "factor": 3}],
                })  # fmt: skip
            await asyncio.sleep(1)

    async def _click(self) -> None:
        began, number = time.perf_counter(), 0
        while True:
            await asyncio.sleep(max(0.0, began + number / self.rate - time.perf_counter()))
            number += 1
            user, now_ms = f"u{self.rng.randrange(USERS)}", int(time.time() * 1000)
            click = {
                "event_id": f"e{number}", "user_id": user, "event": "click", "timestamp": now_ms,
                "item_id": self.items[int(self.rng.paretovariate(0.7)) % len(self.items)],
                "scenario": self.rng.choice(SCENARIOS),
            }  # fmt: skip
            self.seen.sent_ms[click["event_id"]] = now_ms
            await self.producer.send(self.names.clicks, json.dumps(click).encode(), key=user.encode())

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            made = decode_list(record.value)
            self.seen.lists.append((record.timestamp, made))
            sent = self.seen.sent_ms.pop(made.trigger.id, None)
            if sent is not None:
                self.seen.freshness.append(record.timestamp - sent)


def _holds(made: Recommendation, item: str) -> bool:
    return any(listed.item_id == item for listed in made.items)


def _breaks(items: list[str], rules: dict[str, Any], prices: dict[str, int]) -> bool:
    limit = rules["filter"]["lt"] if "filter" in rules else MOST_PRICE
    return bool(set(items) & set(rules.get("block", ()))) or any(prices[item] >= limit for item in items)


def _of(times: list[int], *percentiles: int) -> dict[str, float]:
    return {f"p{p}" if p < 100 else "max": round(float(np.percentile(times, p)), 1) for p in percentiles}


def _announce(settings: Settings, folder: Path, count: int) -> dict[str, int]:
    """Gives items brands and prices; returns the prices, items of the release first."""
    known = [item.item_id for item in read_release(folder).items][:count]
    ids = known + [f"made-up-{number}" for number in range(count - len(known))]
    rng = random.Random(1)
    prices = {item_id: rng.randrange(MOST_PRICE) for item_id in ids}
    with clients.producer(settings) as sender:
        for item_id in ids:
            item = Item(
                item_id=item_id, title=f"No. {item_id}", price=float(prices[item_id]),
                attributes={"brand": f"b{rng.randrange(BRANDS)}"},
            )  # fmt: skip
            sender.send(Names(settings.prefix).items, key=item_id.encode(), value=encode(item))
    return prices


def main() -> None:
    """Runs the shop and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="clicks a second")
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--learner", action="store_true", help="a learner runs beside the worker")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nextclick-bench-") as name:
        folder = Path(name)
        with EmbeddedBroker(folder / "broker", port=0, cache=load_settings().cache_dir) as broker:
            settings = load_settings(
                bootstrap_servers=broker.bootstrap_servers, prefix="shop.", data_dir=folder / "data"
            )
            with clients.admin(settings) as admin:
                create_missing(admin, settings)
            prices = _announce(settings, asked.release, asked.items)
            common = (
                "--bootstrap-servers", settings.bootstrap_servers, "--prefix", settings.prefix,
                "--release", str(asked.release), "--data-dir", str(settings.data_dir),
            )  # fmt: skip
            with Fleet(folder) as fleet:
                if asked.learner:
                    learner = fleet.start("learner", *common, "--learn", "none")
                    fleet.wait_said(learner, "learner ready", STARTS_SECONDS)
                fleet.wait_said(fleet.start("worker", *common), "partitions assigned", STARTS_SECONDS)
                print(json.dumps(asyncio.run(Shop(settings, prices, asked.rate).run(asked.trials)), indent=1))


if __name__ == "__main__":
    main()
