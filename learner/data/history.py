"""The clicks that training reads: Parquet files by day below any fsspec URL, with a checkpoint.

Owns how clicks are kept when the topic has forgotten them, and up to which offset of each partition
they are kept. One small file, history.json, names all parts and the checkpoint and is replaced as a whole:
a part that it does not name does not exist, so a writer killed at any moment has either kept a batch and
moved the checkpoint or neither. One writer at a time. Knows no broker and no models.

history.json                      format, checkpoint, parts, notes (see `State`)
day=2026-11-24/<part>.parquet     clicks that arrived on that day (UTC), not those of that event time: a
                                  load of ten years' clicks is one day's files, not 3,650
"""

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

import fsspec
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.data.times import DAY_MS

FORMAT = 1
STATE = "history.json"
MERGED_FROM = 16  # parts of a day that are written as one: each costs a request when training reads
UNDONE = 128  # added to the kind of a click that takes back the user's newest one of that item and kind
WITH_UNDONE = 2  # the format of a history that has such clicks: version 1 took each for a click
SCHEMA = pa.schema(
    [
        ("partition", pa.int32()), ("offset", pa.int64()), ("arrived_ms", pa.int64()),
        ("event_id", pa.string()), ("user_id", pa.string()), ("item_id", pa.string()), ("kind", pa.uint8()),
        ("time_ms", pa.int64()), ("value", pa.float32()), ("scenario", pa.string()),
    ]
)  # fmt: skip


class HistoryError(Exception):
    """A history that cannot be read or written: names the file and says what to do."""


class Part(msgspec.Struct, frozen=True):
    """A Parquet file: its place below the URL and how many clicks it holds."""

    name: str
    rows: int

    @property
    def day(self) -> str:
        """The day (UTC) on which its clicks arrived."""
        return self.name.partition("/")[0].removeprefix("day=")


class State(msgspec.Struct, kw_only=True):
    """What history.json holds. `next`: by partition, the first offset that is not kept yet."""

    next: dict[str, int] = {}
    parts: list[Part] = []
    notes: dict[str, Any] = {}
    format: int = FORMAT


class _Version(msgspec.Struct):
    format: int


class Click(TypedDict):
    """A click, with where and when it stood in its topic: a row of SCHEMA."""

    partition: int
    offset: int
    arrived_ms: int
    event_id: str
    user_id: str
    item_id: str
    kind: int
    time_ms: int
    value: float | None
    scenario: str | None


@dataclass
class Clicks:
    """Clicks on their way into the history, as columns."""

    rows: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SCHEMA.names})

    def add(self, **click: Unpack[Click]) -> None:
        """One click."""
        for name, value in click.items():
            self.rows[name].append(value)

    def __len__(self) -> int:
        return len(self.rows["offset"])


class History:
    """The history below `url`; `state` is what is kept now.

    Opening it reads history.json and, for the one who `writes`, removes parts of a writer that was killed.
    Raises HistoryError.
    """

    def __init__(self, url: str, *, writes: bool = True) -> None:
        self.url = url.rstrip("/")
        self._left: list[str] = []  # files that are to be removed still
        with _naming(self.url):
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
            self._local = isinstance(self._fs, LocalFileSystem)
            self.state = self._read_state()
            if writes:
                self._sweep()

    @property
    def next(self) -> dict[int, int]:
        """By partition, the first offset that is not kept yet."""
        return {int(partition): offset for partition, offset in self.state.next.items()}

    @property
    def clicks(self) -> int:
        """How many clicks are kept."""
        return sum(part.rows for part in self.state.parts)

    def append(self, clicks: Clicks, following: Mapping[int, int]) -> None:
        """Keeps clicks and moves the checkpoint to `following`, both or neither."""
        parts = list(self.state.parts)
        table = pa.table(clicks.rows, SCHEMA)
        days = np.array(clicks.rows["arrived_ms"], np.int64) // DAY_MS
        for day in np.unique(days).tolist():
            parts.append(self._write_part(_name(day), table.filter(pa.array(days == day))))
        merged, gone = self._merge(parts)
        steps = {str(partition): offset for partition, offset in following.items()}
        undone = max(clicks.rows["kind"], default=0) >= UNDONE
        version = WITH_UNDONE if undone else self.state.format
        self._commit(
            State(next=self.state.next | steps, parts=merged, notes=self.state.notes, format=version)
        )
        self._remove(gone)

    def note(self, **notes: Any) -> None:
        """Keeps facts about the history (plain JSON), such as when it was last trained on."""
        self._commit(msgspec.structs.replace(self.state, notes=self.state.notes | notes))

    def drop_days_before(self, day: str) -> int:
        """Forgets clicks that arrived before `day` (YYYY-MM-DD); returns how many."""
        gone = [part for part in self.state.parts if part.day < day]
        if gone:
            kept = [part for part in self.state.parts if part.day >= day]
            self._commit(msgspec.structs.replace(self.state, parts=kept))
        self._remove(gone)
        return sum(part.rows for part in gone)

    def interactions(self, newest: int | None = None) -> Interactions:
        """The kept clicks in order of time, each event id of a user once; of about the `newest` that came.

        A click that was taken back is not among them, nor what took it back. Clicks of one time stand in the
        order in which their partition has them.
        """
        wanted: list[Part] = []
        for part in reversed(self.state.parts):
            wanted.append(part)
            if newest is not None and sum(each.rows for each in wanted) >= newest:
                break
        tables = [self._read_part(part) for part in reversed(wanted)]
        return _interactions(pa.concat_tables([SCHEMA.empty_table(), *tables]), newest)

    def clicks_of(self, user_id: str) -> list[dict[str, Any]]:
        """The kept clicks of one user, as they came; what takes one back has `undo`."""
        found: list[dict[str, Any]] = []
        for part in self.state.parts:
            table = self._read_part(part)
            found += table.filter(pa.compute.equal(table["user_id"], user_id)).to_pylist()
        for row in found:
            if undo := row["kind"] >= UNDONE:
                row["undo"] = undo
            row["event"] = Kind(row.pop("kind") % UNDONE).word
            if row["value"] is not None and not np.isfinite(row["value"]):
                row["value"] = None
        return found

    def _read_state(self) -> State:
        path = f"{self._root}/{STATE}"
        if not self._fs.exists(path):
            return State()
        data = self._fs.cat_file(path)
        try:
            version = msgspec.json.decode(data, type=_Version).format
            if version in (FORMAT, WITH_UNDONE):
                return msgspec.json.decode(data, type=State)
        except msgspec.DecodeError as error:
            raise HistoryError(
                f"{self.url}/{STATE}: expected the state of a history, got {error}; "
                "move the folder away to begin anew with what the topic still has"
            ) from None
        raise HistoryError(
            f"{self.url}/{STATE}: expected format {WITH_UNDONE} or less, got {version}; update nextclick, "
            "or move the folder away to begin anew with what the topic still has"
        )

    def _write_part(self, day: str, table: Any) -> Part:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        name = f"day={day}/{secrets.token_hex(8)}.parquet"
        self._write(name, sink.getvalue().to_pybytes())
        return Part(name, table.num_rows)

    def _read_part(self, part: Part) -> Any:
        with _naming(f"{self.url}/{part.name}"):
            data = self._fs.cat_file(f"{self._root}/{part.name}")
            table = pq.read_table(pa.BufferReader(data), schema=SCHEMA, partitioning=None)
        if table.num_rows != part.rows:
            raise HistoryError(
                f"{self.url}/{part.name}: expected {part.rows} clicks, got {table.num_rows}; restore the file"
            )
        return table

    def _merge(self, parts: list[Part]) -> tuple[list[Part], list[Part]]:
        """One part for each day that has come to have many; the parts then, and those that are not needed."""
        counts: dict[str, int] = {}
        for part in parts:
            counts[part.day] = counts.get(part.day, 0) + 1
        merged: list[Part] = []
        gone: list[Part] = []
        for day, count in sorted(counts.items()):
            own = [part for part in parts if part.day == day]
            if count >= MERGED_FROM:
                merged.append(self._write_part(day, pa.concat_tables([self._read_part(p) for p in own])))
                gone += own
            else:
                merged += own
        return merged, gone

    def _commit(self, state: State) -> None:
        self._write(STATE, msgspec.json.format(msgspec.json.encode(state), indent=1))
        self.state = state

    def _write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all."""
        path = f"{self._root}/{name}"
        with _naming(f"{self.url}/{name}"):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if not self._local:
                self._fs.pipe_file(path, data)
                return
            partial = f"{path}.{secrets.token_hex(4)}.partial"
            with open(partial, "xb") as file:  # noqa: PTH123 (fsspec's paths are text)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)  # noqa: PTH105

    def _remove(self, parts: Iterable[Part]) -> None:
        """Removes files that the state does not name any more; one that cannot be now is the next time."""
        names, self._left = [*self._left, *(part.name for part in parts)], []
        for name in names:
            try:
                self._fs.rm_file(f"{self._root}/{name}")
            except FileNotFoundError:
                continue
            except Exception:  # each file system has exceptions of its own
                self._left.append(name)  # or swept at the next start

    def _sweep(self) -> None:
        """Removes files that the state does not name: those of a writer that was killed."""
        known = {part.name for part in self.state.parts} | {STATE}
        if not self._fs.exists(self._root):
            return
        self._fs.invalidate_cache()
        for path in self._fs.find(self._root):
            name = str(path)[len(str(self._root)) :].lstrip("/")
            if name not in known and (name.startswith("day=") or name.startswith(STATE)):
                with contextlib.suppress(OSError):
                    self._fs.rm_file(path)


def recent_and_replayed(
    data: Interactions, limit: int, *, recent: float = 0.5, seed: int = 0
) -> Interactions:
    """At most about `limit` of the clicks, in their order: a mix to train on where all would be too many.

    The newest `recent` share of the limit, and of what came before the clicks of users drawn at random,
    each user's whole: a model of sequences learns nothing from clicks torn out of them.
    """
    if len(data) <= limit:
        return data
    first = len(data) - int(recent * limit)
    before = data.user[:first]
    users, counts = np.unique(before, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(users))
    fits = np.cumsum(counts[drawn]) <= limit - int(recent * limit)
    chosen = np.isin(before, users[drawn[fits]])
    return data.at(np.concatenate([np.flatnonzero(chosen), np.arange(first, len(data))]))


def _interactions(table: Any, newest: int | None) -> Interactions:
    columns = {name: table.column(name).combine_chunks() for name in SCHEMA.names}
    plain = {name: columns[name].to_numpy(zero_copy_only=False) for name in _NUMBERS}
    users, user_ids = _numbered(columns["user_id"])
    events = _codes(columns["event_id"].dictionary_encode())  # nobody asks for their names, which are many
    order = np.lexsort((plain["offset"], plain["partition"], plain["time_ms"]))
    arrival = np.lexsort((plain["offset"], plain["partition"]))
    _, firsts = np.unique(
        users[arrival].astype(np.int64) * (int(events.max(initial=0)) + 1) + events[arrival],
        return_index=True,
    )
    fresh = np.zeros(len(order), np.bool_)
    fresh[arrival[firsts]] = True
    items, item_ids = _numbered(columns["item_id"])
    if (plain["kind"] >= UNDONE).any():
        fresh[_taken_back(users, items, plain["kind"], arrival[fresh[arrival]])] = False
    order = order[fresh[order]]
    if newest is not None:
        order = order[-newest:]
    places, names = _numbered(columns["scenario"].fill_null(""))
    scenarios: list[str | None] = [None, *(name for name in names if name)]
    shift = np.array([scenarios.index(name or None) for name in names], np.int32)
    return Interactions(
        user=users[order], item=items[order], time_ms=plain["time_ms"][order].astype(np.int64),
        kind=plain["kind"][order].astype(np.uint8), value=plain["value"][order].astype(np.float32),
        place=shift[places[order]], occurrence=np.zeros(len(order), np.int32), user_ids=user_ids,
        item_ids=item_ids, scenarios=scenarios,
    )  # fmt: skip


def _taken_back(
    users: NDArray[np.int32], items: NDArray[np.int32], kinds: NDArray[np.uint8], arrival: NDArray[np.int64]
) -> list[int]:
    """Rows of clicks that later ones took back, and of these; `arrival` (n,): rows as they came."""
    undone = arrival[kinds[arrival] >= UNDONE]
    concerned = arrival[np.isin(users[arrival], users[undone]) & np.isin(items[arrival], items[undone])]
    standing: dict[tuple[int, int, int], list[int]] = {}
    gone: list[int] = []
    for row in concerned.tolist():
        kind = int(kinds[row])
        same = standing.setdefault((int(users[row]), int(items[row]), kind % UNDONE), [])
        if kind < UNDONE:
            same.append(row)
        else:
            gone.append(row)
            if same:
                gone.append(same.pop())
    return gone


_NUMBERS = ("partition", "offset", "kind", "time_ms", "value")


def _numbered(column: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers by first appearance, and what they stand for."""
    encoded = column.dictionary_encode()
    return _codes(encoded), encoded.dictionary.to_pylist()


def _codes(encoded: Any) -> NDArray[np.int32]:
    codes: NDArray[np.int32] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return codes


def _name(day: int) -> str:
    return datetime.fromtimestamp(86_400 * day, UTC).strftime("%Y-%m-%d")


@contextlib.contextmanager
def _naming(place: str) -> Any:
    try:
        yield
    except HistoryError:
        raise
    except FileNotFoundError as error:
        raise HistoryError(f"{place}: no such file; restore it, or move the history away") from error
    except Exception as error:  # each file system, and Parquet, has exceptions of its own
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise HistoryError(
            f"{place}: cannot be read or written ({text}); check address and rights"
        ) from error
