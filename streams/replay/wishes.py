"""What a replay is asked for, as the command line has it; and the files it names.

Owns the reading of them, and what is refused before anything runs. Which systems there are is `parts`'s and
the baselines' affair, what a split or sessions mean `learner.evaluation.plan`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.pair import read_pair
from learner.evaluation.plan import Announce
from learner.evaluation.report import CONTENT_FIELDS
from streams.replay.parts import Learn
from streams.wire.contract import UNREADABLE, Rules, decode_rules


class ReplayCommandError(Exception):
    """The options do not fit together: says which and what to do."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The flags of `nextclick replay`, which says what each means and what it is by default."""

    interactions: Path
    items: Path | None
    without: Sequence[str]  # fields of the items
    split: float
    seed: int
    seeds: int
    announce: Announce
    sessions_ms: int | None
    systems: Sequence[str]  # none: the usual ones
    learn: Learn
    through: Literal["offline", "kafka"]
    release: Path | None
    time_budget: float  # minutes
    report: Path | None
    plot: Path | None
    columns: str | None = None  # what the files call theirs
    shuffle_days: bool = False  # leave-one-out alone
    scenario: Path | None = None  # JSON, as on the topic `scenarios`

    def named(self, usual: Sequence[str]) -> list[str]:
        """The systems asked for, each once."""
        return list(dict.fromkeys(self.systems or usual))

    def check_folders(self) -> None:
        """A replay takes minutes: what it is to be written to must be there before it begins."""
        for file in (self.report, self.plot):
            if file is not None and not file.absolute().parent.is_dir():
                raise ReplayCommandError(f"{file}: there is no folder {file.parent}; make it first")

    def loaded(self) -> tuple[Interactions, list[Item]]:
        """What the files hold."""
        return loaded(self.interactions, self.items, self.without, self.columns)

    def rules(self) -> Rules | None:
        """The scenario's. Raises `ReplayCommandError` where the file holds none."""
        if self.scenario is None:
            return None
        try:
            return decode_rules(self.scenario.read_bytes())
        except UNREADABLE as error:
            raise ReplayCommandError(f"{self.scenario}: no scenario: {error}") from None

    def files(self) -> dict[str, list[str]]:
        """Their names, for the report."""
        return {"files": [file.name for file in (self.interactions, self.items) if file is not None]}


def loaded(
    interactions: Path, items: Path | None, without: Sequence[str] = (), columns: str | None = None
) -> tuple[Interactions, list[Item]]:
    """Both files; the items' fields `without` are emptied, as if the file did not have them."""
    wrong = [name for name in without if name not in CONTENT_FIELDS]
    if wrong:
        raise ReplayCommandError(f"--without {wrong[0]}: an item's fields are {', '.join(CONTENT_FIELDS)}")
    blank = Item(item_id="-")
    empty = {name: getattr(blank, name) for name in without}
    events, records = read_pair(interactions, items, columns)
    return events, [msgspec.structs.replace(record, **empty) for record in records]
