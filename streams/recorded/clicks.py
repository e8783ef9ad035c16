"""Recorded clicks as messages: a file's rows in replay order, each as the click it was.

Owns which part of a file is meant by `--from` and `--to`, and the fields of a click made from a row.
`learner.data.dataset` reads the file; `streams.traffic.loading` and `streams.traffic.playing` send what
this module makes.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learner.data.events import Kind
from learner.data.pair import read_pair
from streams.wire.contract import Click


class PartError(ValueError):
    """A `--from` or `--to` that names no part of the file."""


class RecordedClicks:
    """The clicks of one file in replay order: by time, ties broken by `seed` as in `nextclick replay`."""

    def __init__(
        self, file: Path, seed: int = 0, columns: str | None = None, items: Path | None = None
    ) -> None:
        """`columns` as `--columns` says; `items` is a file that the clicks' ids are compared
        with; `announced` holds its records.
        """
        self.file, self.seed = file, seed
        events, self.announced = read_pair(file, items, columns)
        self._data = events.in_order(seed)
        self._words = [kind.word for kind in Kind]

    def __len__(self) -> int:
        return len(self._data)

    @property
    def time_ms(self) -> NDArray[np.int64]:
        """Event times (n,) int64, ascending."""
        return self._data.time_ms

    def part(self, start: str | None, stop: str | None) -> range:
        """Places from `start` (included) to `stop` (excluded), each a fraction such as 0.8 or an ISO time."""
        first = 0 if start is None else self._place(start, "--from")
        last = len(self) if stop is None else self._place(stop, "--to")
        if first >= last:
            raise PartError(
                f"no clicks between --from {start or 0} and --to {stop or 1} in {self.file}, which has "
                f"{len(self):,} from {_iso(self.time_ms[0])} to {_iso(self.time_ms[-1])}"
            )
        return range(first, last)

    def scenarios(self, part: range) -> list[str]:
        """The different scenarios that the clicks of a part name."""
        data = self._data.at(slice(part.start, part.stop))
        names = (data.scenarios[number] for number in np.unique(data.place).tolist())
        return [name for name in names if name]

    def clicks(self, places: range, *, history: bool) -> Iterator[Click]:
        """The clicks at these places, in order."""
        part, words = self._data.at(slice(places.start, places.stop)), self._words
        columns = zip(
            part.event_ids(), part.user.tolist(), part.item.tolist(), part.time_ms.tolist(),
            part.kind.tolist(), part.value.tolist(), part.scenario, strict=True,
        )  # fmt: skip
        users, items = part.user_ids, part.item_ids
        for event_id, user, item, time_ms, kind, value, scenario in columns:
            yield Click(
                event_id=event_id, user_id=users[user], item_id=items[item], event=words[kind],  # type: ignore[arg-type]
                timestamp=time_ms, value=None if value != value else value, scenario=scenario or None,
                history=history,
            )  # fmt: skip

    def _place(self, text: str, flag: str) -> int:
        try:
            fraction = float(text)
        except ValueError:
            return int(np.searchsorted(self.time_ms, _milliseconds(text, flag)))
        if not 0 <= fraction <= 1:
            raise PartError(
                f"{flag} {text}: a fraction lies between 0 and 1; a time looks like 2015-03-01T12:00"
            )
        return int(fraction * len(self))  # as `nextclick replay` cuts at --split


def _milliseconds(text: str, flag: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PartError(
            f"{flag} {text}: expected a fraction such as 0.8, or an ISO time such as 2015-03-01T12:00 (UTC)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
