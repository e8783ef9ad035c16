"""Writes the golden history of format version 1, which every later version must read. Run once."""

from pathlib import Path

from learner.data.history import Clicks, History

if __name__ == "__main__":
    batch = Clicks()
    for n in range(20):
        batch.add(
            partition=n % 2, offset=n // 2, arrived_ms=n * 8_640_000, event_id=f"e{n}", user_id=f"u{n % 5}",
            item_id=f"i{n % 7}", kind=1, time_ms=1000 * n, value=None, scenario=None,
        )  # fmt: skip
    history = History(str(Path(__file__).parent / "history_v1"))
    history.append(batch, {0: 10, 1: 10})
    history.note(trained_clicks=20)
