"""What must hold after a run in which everything happened: each check returns what does not, in words.

Owns the comparison of a ledger with lists, letters and decisions as they are in the topics at the end, and
what processes left in logs and took of memory. What becomes of users' states is `undisturbed`'s.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.data.events import CONSUMPTION, INTEREST, KIND_OF_WORD
from streams.releases.roles import DRIFTED
from streams.wire.contract import UNREADABLE, Click, ReleaseRecord, decode_click
from tests.worlds.happenings import Memory, ends
from tests.worlds.ledger import Ledger

GROWTH = 1.15  # of a process's memory in the second half, at most
MISSED_SECONDS = 5.0  # between the last sample and the end, at most
SHOWN = 5  # of what is wrong
TESTED = frozenset({"clicks_canary"})  # in the evidence of what the canary's test has decided
BY_PATIENCE = ("without certainty", "too few users")  # in the reason where time was a part of it


@dataclass(frozen=True, slots=True)
class Listed:
    """A list as a consumer sees it; `created_ms` is its record's CreateTime."""

    trigger: str
    is_click: bool
    name: str
    user: str
    items: tuple[str, ...]
    release: str
    created_ms: int

    @property
    def offset(self) -> int:
        """Of the record that it answers."""
        return int(self.name.rsplit("-", 1)[1])


@dataclass(frozen=True, slots=True)
class Placed:
    """A click where it stands."""

    click: Click
    partition: int
    offset: int

    @property
    def consumes(self) -> bool:
        """Whether its item is not to be listed again."""
        return KIND_OF_WORD[self.click.event] in CONSUMPTION

    @property
    def calls_for_list(self) -> bool:
        """Whether a list must come of it."""
        return KIND_OF_WORD[self.click.event] in INTEREST


def lists_of(records: Iterable[Any]) -> list[Listed]:
    """The records of `recommendations`, in their order."""
    found = []
    for record in records:
        made = json.loads(record.value)
        trigger, items = made["trigger"], tuple(item["item_id"] for item in made["items"])
        found.append(Listed(
            trigger["id"], trigger["kind"] == "click", made["recommendation_id"], made["user_id"], items,
            made["release"], record.timestamp,
        ))  # fmt: skip
    return found


def clicks_of(records: Iterable[Any]) -> list[Placed]:
    """The good records of `clicks`, each partition's in their order; the ledger's bad ones are none."""
    found = []
    for record in records:
        try:
            click = decode_click(record.value)
        except UNREADABLE:
            continue
        if click.timestamp < record.timestamp:
            found.append(Placed(click, record.partition, record.offset))
    return sorted(found, key=lambda placed: (placed.partition, placed.offset))


def told(wrong: Iterable[str]) -> list[str]:
    """Some of it, and how much there is."""
    found = list(wrong)
    return [*found[:SHOWN], *([f"… {len(found)} in all"] if len(found) > SHOWN else [])]


# -- lists --------------------------------------------------------------------------------------------


def unanswered(ledger: Ledger, clicks: Sequence[Placed], lists: Sequence[Listed]) -> list[str]:
    """Acknowledged clicks of interest, and acknowledged requests, without a list."""
    calling = {placed.click.event_id for placed in clicks if placed.calls_for_list}
    there = {(placed.partition, placed.offset) for placed in clicks}
    answered = {made.trigger for made in lists}
    acknowledged = [sent for sent in ledger.clicks if sent.acknowledged]
    return [
        *(
            f"{sent} is not in the topic"
            for sent in acknowledged
            if (sent.partition, sent.offset) not in there
        ),
        *(f"{sent} has no list" for sent in acknowledged if sent.id in calling - answered),
        *(
            f"{sent} has no answer"
            for sent in ledger.requests
            if sent.acknowledged and sent.id not in answered
        ),
    ]


def of_several_names(lists: Iterable[Listed]) -> list[str]:
    """Triggers whose lists have more than one `recommendation_id`."""
    names = defaultdict(set)
    for made in lists:
        names[made.trigger].add(made.name)
    return [f"{trigger} has {sorted(found)}" for trigger, found in names.items() if len(found) > 1]


def repeats(lists: Sequence[Listed]) -> int:
    """Lists beyond the first of a trigger: allowed after kills."""
    return len(lists) - len({made.trigger for made in lists})


def consumed_again(ledger: Ledger, clicks: Sequence[Placed], lists: Sequence[Listed]) -> list[str]:
    """Lists with what their user had consumed before.

    Of a click's list that is what clicks to this one have consumed; of a request's, what was acknowledged and
    answered before the request was sent.
    """
    came: dict[str, int] = {}
    for made in lists:
        came.setdefault(made.trigger, made.created_ms)
    acknowledged = {sent.id: sent.acknowledged_ms for sent in ledger.clicks[::-1]}
    asked = {sent.id: sent.sent_ms for sent in ledger.requests}
    first: dict[tuple[str, str], int] = {}  # offset of the click that consumed it
    known: dict[tuple[str, str], float] = {}  # when everybody could know
    for placed in clicks:
        if placed.consumes and (event_id := placed.click.event_id) in came:
            pair = placed.click.user_id, placed.click.item_id
            first.setdefault(pair, placed.offset)
            when = max(came[event_id], acknowledged[event_id])
            known[pair] = min(when, known.get(pair, when))
    wrong = []
    for made in lists:
        for item in made.items:
            pair = made.user, item
            if made.is_click and first.get(pair, made.offset + 1) <= made.offset:
                wrong.append(f"{item}, consumed at offset {first[pair]}: {made}")
            elif not made.is_click and known.get(pair, asked[made.trigger]) < asked[made.trigger]:
                ago = asked[made.trigger] - known[pair]
                wrong.append(f"{item}, known for {ago:.0f} ms when it was asked for: {made}")
    return wrong


def withdrawn_listed(ledger: Ledger, lists: Iterable[Listed], grace_ms: float) -> list[str]:
    """Lists with an item that had been withdrawn for longer than that."""
    gone = ledger.withdrawn
    return [
        f"{item}, withdrawn {made.created_ms - gone[item]:.0f} ms before: {made}"
        for made in lists
        for item in made.items
        if item in gone and made.created_ms > gone[item] + grace_ms
    ]


def letters_of(ledger: Ledger, records: Iterable[Any]) -> list[str]:
    """Bad records without exactly one letter, and letters of others."""
    letters: Counter[tuple[int, int]] = Counter()
    for record in records:
        headers = dict(record.headers)
        letters[int(headers["partition"]), int(headers["offset"])] += 1
    bad = {(sent.partition, sent.offset) for sent in ledger.bad if sent.acknowledged}
    return [
        f"{letters[place]} letters of {place}"
        for place in bad | set(letters)
        if letters[place] != (place in bad)
    ]


# -- processes and releases ---------------------------------------------------------------------------


def grown(memory: Memory, half: float, end: float) -> list[str]:
    """Processes that lived from `half` to `end` (of the monotonic clock) and took ever more memory."""
    wrong, compared = [], 0
    for (name, pid), samples in memory.samples.items():
        if samples[0][0] > half or samples[-1][0] < end - MISSED_SECONDS:
            continue
        compared += 1
        values = [megabytes for at, megabytes in samples if at >= half]
        before, after = ends(values, max(len(values) // 5, 1))
        print(f"memory of {name} ({pid}) in the second half: {before} to {after} MB")
        if after > GROWTH * before:
            wrong.append(f"memory of {name} went from {before} to {after} MB: {values}")
    return wrong if compared else ["no process lived through the second half"]


def without_evidence(decisions: Sequence[ReleaseRecord], by_hand: str) -> list[str]:
    """Records that do not say by what their decision was made: figures, a fault, another release or a word.

    `by_hand` is the operator's word.
    """
    ids = {record.release for record in decisions}
    return [
        f"{record} names no evidence"
        for record in decisions
        if not record.decision
        or not record.reason
        or not (
            record.evidence
            or record.decision in ("first", "failed", DRIFTED)  # their figures stand in the reason
            or by_hand in record.reason
            or any(other in record.reason for other in ids - {record.release})
        )
    ]


def decided_unwatched(
    decisions: Iterable[ReleaseRecord], away_ms: Sequence[tuple[float, float]], patience_ms: float
) -> list[str]:
    """Decisions of the canary's test at times when no learner ran, or by patience that counted such times.

    `away_ms`: from when to when there was no learner; the first of them before the run.
    """
    wrong, canary_ms = [], 0
    for record in decisions:
        if record.role == "canary":
            canary_ms = record.at
        if not TESTED.intersection(record.evidence):
            continue
        wrong += [f"{record} while no learner ran" for gone, back in away_ms if gone < record.at < back]
        watched_ms = record.at - max([canary_ms, *(back for _, back in away_ms if back <= record.at)])
        if any(words in record.reason for words in BY_PATIENCE) and watched_ms < patience_ms:
            wrong.append(f"{record} after {watched_ms:.0f} ms of watching")
    return wrong


def tracebacks(folder: Path) -> list[str]:
    """Logs that hold one, each with the lines around it."""
    found = []
    for log in sorted(folder.glob("*.log")):
        text = log.read_text(errors="replace")
        if (at := text.find("Traceback")) >= 0:
            found.append(f"{log}: {text[max(at - 500, 0) : at + 3000]}")
    return found
