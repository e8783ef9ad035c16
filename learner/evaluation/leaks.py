"""Does a system see what it should not? A stream with another future must give the same answer.

Owns the altered futures and the comparison. A test over any system: `leak` must return None.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from learner.data.times import DAY_MS
from learner.evaluation.plan import Plan, plan
from learner.evaluation.replay import enter
from learner.evaluation.system import Ask, Ranking, Stream, System, Training


def altered_future(stream: Stream, number: int, seed: int) -> Stream:
    """The stream with item, kind and value of the events from `number` on permuted, and later times moved.

    The time and the user of event `number` stay: the ask carries them.
    """
    rng = np.random.default_rng(seed)
    order = np.r_[np.arange(number), number + rng.permutation(stream.size - number)]
    time_ms = stream.time_ms.copy()
    later = stream.size - number - 1
    time_ms[number + 1 :] = time_ms[number] + np.sort(rng.integers(0, 30 * DAY_MS, later))
    return replace(
        stream,
        item=stream.item[order],
        kind=stream.kind[order],
        value=stream.value[order],
        time_ms=time_ms,
    )


def ranking_at(system: System, made: Plan, number: int) -> Ranking:
    """What `system` answers just before event `number`, at or after the split."""
    system.fit(made.first_part())
    for earlier in range(number):
        event = made.stream.event(earlier)
        enter(system, made, made.entries_before.get(earlier, ()), event.time_ms)
        if earlier >= made.split and made.scored[earlier]:
            system.rank(Ask(event.user, event.time_ms, event.scenario))
        enter(system, made, made.entries_after.get(earlier, ()), event.time_ms)
        system.learn(event, bool(made.lists[earlier]))
        if isinstance(system, Training) and earlier >= made.split:
            system.train()
    event = made.stream.event(number)
    enter(system, made, made.entries_before.get(number, ()), event.time_ms)
    return system.rank(Ask(event.user, event.time_ms, event.scenario))


def leak(make: Callable[[], System], made: Plan, number: int, seed: int = 0) -> str | None:
    """What differs at event `number` when the future does: None, or where a leak shows.

    `made` must not be cut into sessions: an altered future has other sessions.
    """
    other = plan(
        altered_future(made.stream, number, seed),
        split=(made.split + 0.5) / made.stream.size,
        announce=made.announce,
        repeats=made.repeats,
        seed=made.seed,
    )
    truth, changed = ranking_at(make(), made, number), ranking_at(make(), other, number)
    if not np.array_equal(truth.items, changed.items):
        return f"candidates at event {number} depend on what comes after it"
    if not np.array_equal(truth.scores, changed.scores, equal_nan=True):
        return f"scores at event {number} depend on what comes after it"
    if not np.array_equal(_ties(truth), _ties(changed)):
        return f"the order of equal scores at event {number} depends on what comes after it"
    return None


def _ties(ranking: Ranking) -> npt.NDArray[np.float64]:
    return np.zeros(0) if ranking.ties is None else np.asarray(ranking.ties, np.float64)
