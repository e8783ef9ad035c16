"""Writes the golden records of the topic `signals`, version 1, which every later version must read.

Run once, by `python -m tests.golden.make_signals_v1`; its output is committed and never written again.
"""

import json
from pathlib import Path

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals

NOW = 1_700_000_000_000
MINUTE_MS, DAY_MS = 60_000, 86_400_000
USERS = 5

if __name__ == "__main__":
    folder = Path(__file__).parent / "signals_v1"
    folder.mkdir()
    catalogue = Catalogue()
    for name in ("a", "b", "c", "idle", "é"):
        catalogue.announce(Item(item_id=name))
    signals = Signals(SignalSettings(), catalogue)
    histories: list[list[int]] = [[] for _ in range(USERS)]
    clicks = []
    for n in range(24):
        user, item = n % USERS, (n * n + n // 7) % 3 if n % 11 else 4
        time_ms = NOW + n * (DAY_MS if n < 12 else MINUTE_MS)
        kind = Kind.RATING if n % 4 == 0 else Kind.CLICK
        value = 0.5 if kind == Kind.RATING else 0.0
        signals.learn(item, time_ms, kind, value, np.array(histories[user], np.int32))
        signals.offsets[user % 2] = n
        histories[user].append(item)
        clicks.append([user, catalogue.ids[item], time_ms, kind.name.lower(), value])
    new = catalogue.announce(Item(item_id="new"))
    signals.set_vector(new, np.arange(4, dtype=np.float32) / 8, np.arange(6, dtype=np.float32) / -16)
    records = [signals.record(item) for item in signals.drain()] + [signals.frontier_record()]
    (folder / "records.jsonl").write_bytes(b"\n".join(records) + b"\n")
    (folder / "clicks.json").write_text(json.dumps(clicks, ensure_ascii=False, indent=0) + "\n")
    # As versions wrote it that knew nothing of users' depths.
    old = json.loads(records[0])
    del old["depths"]
    (folder / "before_depths.jsonl").write_text(json.dumps(old, separators=(",", ":")) + "\n")
