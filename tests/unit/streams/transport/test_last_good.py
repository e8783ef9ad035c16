"""The last good record behind a broken one: when it is due, and which of two written at once counts."""

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.transport import last_good as module
from streams.transport.last_good import LastGood, Unknown, restores, restoring


@dataclass
class Record:
    offset: int
    value: Any
    key: bytes = b"k"
    partition: int = 0
    headers: list[tuple[str, bytes]] = field(default_factory=list)


class Reader:
    """Follows a topic as workers do; values that begin with ! are broken."""

    def __init__(self) -> None:
        self.in_force: dict[bytes, str | None] = {}
        self.kept = LastGood("t", self._good)

    def read(self, record: Record) -> None:
        broken = record.value is not None and record.value.startswith("!")
        if broken or (self.kept.is_late(record) and self.in_force.get(record.key) != record.value):
            self.kept.broke(replace(record, value=record.value and record.value.encode()))
        else:
            self.in_force[record.key] = record.value
            self.kept.came(record)

    def _good(self, key: bytes) -> Any:
        if key not in self.in_force:
            raise Unknown("nothing known")
        return self.in_force[key]


def test_the_good_one_is_due_behind_the_broken_one_until_another_has_come() -> None:
    reader = Reader()
    reader.read(Record(0, "a"))
    assert reader.kept.due() == []
    reader.read(Record(1, "!"))
    (due,) = reader.kept.due()
    assert (reader.kept.value(due), restores(restoring(due))) == ("a", 1)
    reader.read(Record(2, "b"))
    assert reader.kept.due() == []
    with pytest.raises(Unknown):
        reader.kept.value(due)


def test_what_was_written_is_not_written_again_and_the_next_broken_one_is_made_good_too() -> None:
    reader = Reader()
    for record in (Record(0, "a"), Record(1, "!")):
        reader.read(record)
    (due,) = reader.kept.due()
    reader.kept.done(due)
    assert len(reader.kept) == 0
    reader.read(Record(2, "a", headers=restoring(due)))
    reader.read(Record(3, "!"))
    (again,) = reader.kept.due()
    assert again.offset == 3
    reader.kept.done(due)  # somebody is late with the old one
    assert reader.kept.due() == [again]


def test_a_good_record_that_came_meanwhile_wins_over_the_one_that_was_written_again() -> None:
    """Nothing at a broker says "only if nobody has written": it is found out when both are read."""
    reader = Reader()
    for record in (Record(0, "a"), Record(1, "!")):
        reader.read(record)
    (due,) = reader.kept.due()
    reader.read(Record(2, "operator's"))
    reader.read(Record(3, "a", headers=restoring(due)))
    assert reader.in_force[b"k"] == "operator's"
    (again,) = reader.kept.due()  # compaction would keep the late one
    assert reader.kept.value(again) == "operator's"
    reader.read(Record(4, "operator's", headers=restoring(again)))
    assert reader.kept.due() == []


def test_twice_the_same_is_in_nobodys_way() -> None:
    reader = Reader()
    for record in (Record(0, "a"), Record(1, "!")):
        reader.read(record)
    (due,) = reader.kept.due()
    for offset in (2, 3):
        reader.read(Record(offset, "a", headers=restoring(due)))
    assert reader.kept.due() == []


def test_of_a_flood_the_newest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEYS", 3)
    reader = Reader()
    for number in range(5):
        reader.read(Record(number, "!", key=b"%d" % number))
    assert [due.key for due in reader.kept.due()] == [b"2", b"3", b"4"]
    reader.kept.broke(Record(9, "!", key=b""))
    assert len(reader.kept) == 3


def test_a_record_of_a_later_version_is_not_overwritten() -> None:
    """While versions are rolled out an older worker must not undo what a newer operator has written."""
    reader = Reader()
    reader.read(Record(0, "a"))
    for value, count in (('{"v": 2, "colour": "red"}', 0), ('{"v": 1}', 1), ('{"v": "2"}', 1), ("[2]", 1)):
        reader.kept.broke(Record(1, value.encode()))
        assert len(reader.kept) == count
    reader.kept.broke(Record(2, b'{"v": 2}'))  # nor behind one that was broken before it
    assert len(reader.kept) == 0


@pytest.mark.parametrize(
    "headers",
    [[], *([("restores", value)] for value in (b"soon", b"", b"9" * 20, b"1" * 5_000)), [("other", b"1")]],
)
def test_other_headers_mean_nothing(headers: list[tuple[str, bytes]]) -> None:
    assert restores(headers) is None


@given(st.lists(st.sampled_from(["write", "break", "mend"]), max_size=30), st.integers(0, 29), st.data())
def test_whoever_reads_the_compacted_topic_has_what_the_others_have(
    steps: list[str], late: int, data: st.DataObject
) -> None:
    """A writer's restoring reaches the topic whenever it likes, up to `late` records after it was due."""
    topic: list[Record] = []
    worker, on_the_way = Reader(), []
    for step in [*steps, *["mend"] * 40]:
        if step == "write":
            topic.append(Record(len(topic), f"rules {len(topic)}"))
            worker.read(topic[-1])
        elif step == "break":
            topic.append(Record(len(topic), "!"))
            worker.read(topic[-1])
        else:
            for due in worker.kept.due():
                with contextlib.suppress(Unknown):
                    on_the_way.append((worker.kept.value(due), due))
                worker.kept.done(due)
            if on_the_way and (len(topic) >= late or data.draw(st.booleans())):
                value, due = on_the_way.pop(0)
                topic.append(Record(len(topic), value, headers=restoring(due)))
                worker.read(topic[-1])
    assert not on_the_way
    later = Reader()
    for record in topic[-1:]:  # all that compaction is sure to leave
        later.read(record)
    assert later.in_force == worker.in_force
