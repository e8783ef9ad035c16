"""Nextclick and its parts by name, as `nextclick replay` may be asked for them.

Owns the list of names, what each is made of, and which are the same thing. How a part works is its own
module's; those that need torch are imported when they are made, for a replay without them needs none.
"""

from collections.abc import Callable
from typing import Literal

from learner.evaluation.report import NO_CONTENT, SIGNALS
from learner.evaluation.system import System
from streams.hot_path.policy import Policy
from streams.replay.controls import ColdNoContent, ColdRandom, NoContent
from streams.replay.steered import Steered
from streams.replay.systems import HotPath, Nextclick, Student, Train
from streams.wire.contract import Rules

Learn = Literal["none", "ranker", "periodic"]
"""What goes on learning after the split besides users' states and signals: nothing, the ranker from lists
that have been answered, or everything from time to time too."""

STATE = "nextclick_state"
# What each mode of learning is compared with: the system that does all but the last of it.
WITHOUT: dict[Learn, str] = {
    "none": STATE, "ranker": SIGNALS, "periodic": SIGNALS
}  # fmt: skip
_MAKERS: dict[str, Callable[[Train, Policy], System]] = {
    "nextclick_frozen": lambda train, policy: HotPath(
        train, policy, name="nextclick_frozen", state=False, signals=False
    ),
    STATE: lambda train, policy: HotPath(train, policy, name=STATE, signals=False),
    SIGNALS: lambda train, policy: HotPath(train, policy, name=SIGNALS),
    "ranker": lambda train, policy: HotPath(train, policy, name="ranker"),
    "student": Student,
    "cold_random": ColdRandom,
    "cold_no_content": ColdNoContent,
}
# The same parts of a release whose student and ranker have learned from teachers and an ensemble too.
DISTILLED = {"student_distilled": Student, "ranker_distilled": HotPath}
SCENARIO = "nextclick_scenario"  # under the rules of `--scenario`
PARTS = ("nextclick", "teacher", SCENARIO, NO_CONTENT, *_MAKERS, *DISTILLED)
# With nothing beyond signals that learns, the whole is this part of it: it is not computed twice.
SAME = {SIGNALS: "nextclick", "ranker": "nextclick"}


def part(
    name: str, train: Train, policy: Policy, learn: Learn = "none", minutes: float = 6.0,
    distilled: Train | None = None, rules: Rules | None = None, blind: Train | None = None,
) -> Callable[[], System]:  # fmt: skip
    """The maker of Nextclick or of a part of it.

    `learn` is about `nextclick` itself alone, `minutes` about training teachers, or everything anew;
    `distilled` trains for the parts that are, `blind` for the control without content; `rules` are the
    scenario's.
    """
    if name == SCENARIO:
        assert rules is not None, f"{name} is of a scenario"
        return lambda: Steered(train, policy, rules)
    if name == NO_CONTENT:
        assert blind is not None, f"{name} is of a release of its own"
        return lambda: NoContent(blind, policy)
    if name in DISTILLED:
        assert distilled is not None, f"{name} is of a release of its own"
        return lambda: DISTILLED[name](distilled, policy, name=name)
    if name == "teacher":
        from streams.replay.teacher import TeacherAlone

        return lambda: TeacherAlone(train, policy, minutes)
    if name == "nextclick" and learn == "ranker":
        from streams.replay.refreshed import Refreshed

        return lambda: Refreshed(train, policy)
    if name == "nextclick" and learn == "periodic":
        from streams.replay.retrained import Retrained

        return lambda: Retrained(train, policy, minutes)
    if name == "nextclick":
        return lambda: Nextclick(train, policy)
    return lambda: _MAKERS[name](train, policy)
