"""Freshness of a running system, measured from outside: how soon an effect shows in lists.

What is timed is what a producer and a consumer see, from sending a record to holding the list that shows its
effect. Knows the contract and nothing else of the system.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any

from streams.operate.bench import copy_of_live, quantiles, recent
from streams.operate.probe import Answer, Probe, probing
from streams.operate.releases import add
from streams.settings import Settings
from streams.wire.contract import Recommendation


def freshness(settings: Settings, samples: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Times how soon an effect shows; each figure in milliseconds, over `samples` trials one after another.

    own_click_ms: a click, to the list that it triggers. others_click_ms: a click by A, to a list of B's whose
    scores have changed. new_item_ms, withdrawn_item_ms: an `items` record, to a list with or without the
    item. new_release_ms: a copy of the live release announced, to its first list (a tenth of the trials).
    Without other traffic: others' clicks would be taken for A's.
    """
    users, items, now = recent(settings)
    found: dict[str, list[float]] = {}
    with probing(settings) as probe:
        now = max(now, probe.ask(users[0], now).made.trigger.timestamp)
        for trial in range(samples):
            tick(f"clicks and items, {trial + 1} of {samples}")
            times = _trial(probe, users[trial % len(users)], items[trial % len(items)], now)
            for name, took in times.items():
                found.setdefault(name, []).append(took)
        for trial in range(max(samples // 10, 2)):
            tick(f"releases, {trial + 1} of {max(samples // 10, 2)}")
            found.setdefault("new_release_ms", []).append(_release_trial(probe, users[0], now))
    return {name: quantiles(times) for name, times in found.items()}


def _trial(probe: Probe, other: str, item: str, now: int) -> dict[str, float]:
    """One click by a new user, whose effect on `other` is awaited, and one item that comes and goes."""
    user, name = f"bench-{uuid.uuid4().hex[:8]}", f"bench-item-{uuid.uuid4().hex[:8]}"
    found = {}
    event_id, at = probe.click(user, item, now)
    found["own_click_ms"] = (probe.wait(event_id).at - at) * 1000

    before = probe.ask(other, now).made
    listed = before.items[0].item_id
    _, at = probe.click(user, listed, now)
    found["others_click_ms"] = probe.until(
        at, lambda: _changed(probe.ask(other, now), before, listed), "a click's effect on others"
    )
    at = probe.send(probe.names.items, name, {"item_id": name, "title": "measured", "published_at": now})
    found["new_item_ms"] = probe.until(
        at, lambda: _with(probe.ask(other, now), name, there=True), "a new item in a list"
    )
    at = probe.send(probe.names.items, name, {"item_id": name, "available": False})
    found["withdrawn_item_ms"] = probe.until(
        at, lambda: _with(probe.ask(other, now), name, there=False), "a list without a withdrawn item"
    )
    probe.send(probe.names.items, name, None)
    return found


def _release_trial(probe: Probe, user: str, now: int) -> float:
    """A copy of the live release, from its announcement to its first list."""
    with copy_of_live(probe.settings) as (folder, name):
        at = time.perf_counter()
        add(probe.settings, folder, "live", "measuring")
        return probe.until(at, lambda: _made_by(probe.ask(user, now, 10), name), "a list by a new release")


def _changed(answer: Answer, before: Recommendation, item: str) -> Answer | None:
    def score(made: Recommendation) -> float | None:
        return next((listed.score for listed in made.items if listed.item_id == item), None)

    return answer if score(answer.made) != score(before) else None


def _with(answer: Answer, item: str, *, there: bool) -> Answer | None:
    return answer if any(listed.item_id == item for listed in answer.made.items) == there else None


def _made_by(answer: Answer, release: str) -> Answer | None:
    return answer if answer.made.release == release else None
