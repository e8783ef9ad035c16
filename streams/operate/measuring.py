"""What a click, an item and a user cost on this machine, with a release of one's own.

Owns made-up users who click its items, and what is timed and weighed. Needs no broker: what Kafka takes of a
worker's time is not measured here, and stays what it was elsewhere.
"""

import gc
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psutil

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.release.bundle import Bundle
from learner.release.files import read_release
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from streams.hot_path.fold import prepare
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.learning.counting import Counting
from streams.operate.sizing import Constant, Constants
from streams.recorded.world import Offline
from streams.wire.clock import Clock
from streams.wire.contract import Click, encode
from streams.wire.event_ids import event_hash
from streams.wire.intake import Arrival

HOUR_MS = 3_600_000
USERS, CLICKS, ROUND = 2_000, 20, 32
_BEGIN_MS = 1_760_000_000_000
WEIGHED = 20_000  # users and items that are made up to see what one takes


def measure(
    release: Path, today: str, say: Callable[[str], None] = lambda _: None, *, users: int = USERS,
    weighed: int = WEIGHED,
) -> Constants:  # fmt: skip
    """The constants that can be measured here. Takes a minute; raises what reading a release does."""
    bundle = read_release(release)
    clicks = _clicks([item.item_id for item in bundle.items], users)
    say("clicks are counted")
    count_ms, records = _counted(SignalSettings.from_dict(bundle.manifest.signals), clicks)
    say("items and users are weighed")
    item_bytes = _item_bytes(bundle, records[len(records) // 2], weighed)
    user_bytes = _user_bytes(bundle, weighed)
    say("lists are made")
    record_bytes, list_ms, list_bytes = _lists(_offline(bundle), clicks)
    signal_bytes = statistics.mean(map(len, records))
    told = f"nextclick plan --measure, release {bundle.manifest.release}"
    values = {
        "list_ms": (list_ms, "ms", f"processor time of a click's list in rounds of {ROUND}"),
        "count_ms": (count_ms, "ms", "processor time of a click that the learner counts"),
        "item_bytes": (item_bytes, "bytes", "memory of an item in a worker: record, vectors, signals"),
        "user_bytes": (user_bytes, "bytes", f"memory of a user's state of {CLICKS} clicks in a worker"),
        "state_record_bytes": (record_bytes, "bytes", "a user's state as it is written"),
        "list_bytes": (list_bytes, "bytes", "a list of ten items in Kafka"),
        "signal_record_bytes": (
            signal_bytes,
            "bytes",
            "what all users' clicks say of an item, as it is sent",
        ),
    }
    return Constants(
        f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}",
        today,
        {name: Constant(round(value, 3), unit, what, told) for name, (value, unit, what) in values.items()},
    )


def _clicks(items: list[str], users: int) -> list[Click]:
    """Clicks in turn, by users with tastes: of a stretch of items each, the first ones most."""
    rng = np.random.default_rng(0)
    begins = rng.integers(0, len(items), users)
    return [
        Click(
            event_id=f"e{user}-{nth}", user_id=f"u{user}", event="click", timestamp=_BEGIN_MS + nth * HOUR_MS,
            item_id=items[int(begins[user] + len(items) * 0.2 * rng.random() ** 2) % len(items)],
        )
        for nth in range(CLICKS) for user in range(users)
    ]  # fmt: skip


def _lists(offline: Offline, clicks: list[Click]) -> tuple[float, float, float]:
    """Bytes of a state's record, ms of a list in full rounds (the median), bytes of a list."""
    taken, sizes = [], []
    for begin in range(0, len(clicks), ROUND):
        group = clicks[begin : begin + ROUND]
        arrivals = [Arrival(click, 0, begin + place) for place, click in enumerate(group)]
        prepare(arrivals, offline.states, offline.world.live)
        began = time.thread_time()
        outcomes = recommend(arrivals, offline.states, offline.world, group[-1].timestamp, rng=None)
        taken.append((time.thread_time() - began) * 1000 / len(group))
        sizes += [len(encode(each.recommendation)) for each in outcomes if each.recommendation is not None]
        for click in group:
            offline.count(click)
    slots = range(0, len(offline.states), 17)
    records = [len(offline.states.encode(slot, offline.world.catalogue)) for slot in slots]
    return statistics.mean(records), statistics.median(taken[len(taken) // 2 :]), statistics.mean(sizes)


def _counted(settings: SignalSettings, clicks: list[Click]) -> tuple[float, list[bytes]]:
    """ms of a click, and the items' records, the smallest first."""
    catalogue = Catalogue()
    signals = Signals(settings, catalogue, keep_offsets=True)
    counting = Counting(signals, catalogue, Clock("stream"))
    values = [encode(click) for click in clicks]
    began = time.thread_time()
    for offset, value in enumerate(values):
        counting.count(value, 0, offset, _BEGIN_MS + CLICKS * HOUR_MS)
    taken_ms = (time.thread_time() - began) * 1000 / len(values)
    return taken_ms, sorted((signals.record(item) for item in signals.drain()), key=len)


def _user_bytes(bundle: Bundle, weighed: int) -> float:
    """Memory of a user's state, as workers hold it."""
    dims, rng, before = bundle.manifest.dims, np.random.default_rng(0), _memory()
    states = UserStates(dims.hidden, dims.vector)
    states.fit(bundle.manifest.release, dims.hidden, dims.vector)
    for user in range(weighed):
        slot = states.slot(f"user-{user}")
        for nth, item in enumerate(rng.integers(0, len(bundle.items), CLICKS).tolist()):
            event = event_hash(f"{user}-{nth}")
            states.append(slot, item, _BEGIN_MS + nth * HOUR_MS, int(Kind.CLICK), math.nan, event)
    return max(_memory() - before, 1) / len(states)


def _item_bytes(bundle: Bundle, record: bytes, weighed: int) -> float:
    """Memory of an item that is announced and has been clicked, with its rows in every array."""
    offline = _offline(bundle)
    world, before = offline.world, _memory()
    for number in range(weighed):
        item_id = f"weighed-{number}"
        item = Item(
            item_id=item_id, title=f"An item that is number {number}", tags=["weighed"],
            description="Twenty words that say what it is. " * 3, categories=[f"c{number % 40}"],
        )  # fmt: skip
        offline.announce(item_id, item)
        world.signals.apply(item_id, _of(item_id, record))
    return max(_memory() - before, 1) / weighed


def _of(item_id: str, record: bytes) -> bytes:
    """The record as one of another item."""
    return msgspec.json.encode(msgspec.json.decode(record) | {"item_id": item_id})


def _offline(bundle: Bundle) -> Offline:
    catalogue = Catalogue()
    return Offline(Live(LiveRelease(bundle, catalogue), catalogue), catalogue, Policy())


def _memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)
