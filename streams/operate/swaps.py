"""Swaps of a running system's live release under load, measured from outside: whether anyone notices.

Owns the swapping and the figures. Knows the contract and nothing else of the system.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.operate.bench import copy_of_live, quantiles, recent
from streams.operate.probe import WAIT_SECONDS, Answer, Traffic, probing
from streams.operate.processes import rss_mb
from streams.operate.releases import add
from streams.releases.topic import roles_now
from streams.settings import Settings

_SWAP_WINDOW = 1.0  # seconds on either side of a swap in which lists count as made around it


@dataclass(frozen=True)
class Seen:
    """What went on. Times are Unix ms; `sent` is in the order of sending, by event id as `answers` is."""

    sent: Mapping[str, int]
    answers: Mapping[str, Answer]  # the first list of each click that got one, in the order of sending
    known: set[str]  # releases that were announced
    moments: Sequence[int]  # at which a release was
    rss_mb: tuple[float | None, float | None]  # of the workers, before the first and after the last swap

    def changes(self) -> list[int]:
        """CreateTime of the first list of each release but the first."""
        first: dict[str, int] = {}
        for answer in self.answers.values():
            release = answer.made.release
            first[release] = min(answer.created_ms, first.get(release, answer.created_ms))
        return sorted(first.values())[1:]

    def mixed(self) -> int:
        """Lists that name a release which was not announced, or an older one than its user had got."""
        releases = dict.fromkeys(answer.made.release for answer in self.answers.values())
        order = {name: place for place, name in enumerate(releases)}
        mixed, latest = 0, dict[str, int]()
        for answer in self.answers.values():
            made = answer.made
            mixed += made.release not in self.known or order[made.release] < latest.get(made.user, 0)
            latest[made.user] = max(order[made.release], latest.get(made.user, 0))
        return mixed


def swaps(
    settings: Settings, rate: float, count: int, every: float, workers: list[int], tick: Callable[[str], None]
) -> dict[str, Any]:
    """Swaps the live release `count` times under `rate` clicks/s, once in `every` seconds.

    lost: clicks without a list. mixed: lists that name a release which was not announced, or another than
    lists of a later click of the same user had named already. longest_batch_delay_ms: the longest freshness
    of lists made within a second of a swap, over the longest of as many made elsewhere. rss_mb: memory of
    the processes `workers` (process ids on this machine) before the first and after the last swap, null
    without any.
    """
    users, items, now = recent(settings)
    with probing(settings) as probe:
        now = max(now, probe.ask(users[0], now).made.trigger.timestamp)
        traffic = Traffic(probe, users, items, now, rate)
        known = {record.release for record in [roles_now(settings).live] if record is not None}
        first = rss_mb(workers)
        moments = []
        with traffic.going_on():
            for number in range(count):
                time.sleep(every)
                tick(f"swap {number + 1} of {count}")
                with copy_of_live(settings) as (folder, name):
                    known.add(name)
                    add(settings, folder, "live", "measuring")
                moments.append(int(time.time() * 1000))
            time.sleep(every)
        end = time.perf_counter() + WAIT_SECONDS
        while traffic.sent.keys() - probe.answers.keys() and time.perf_counter() < end:
            time.sleep(0.1)
        answers = {
            event_id: probe.answers[event_id] for event_id in traffic.sent if event_id in probe.answers
        }
        return figures(Seen(traffic.sent, answers, known, moments, (first, rss_mb(workers))))


def figures(seen: Seen) -> dict[str, Any]:
    """What `swaps` tells of."""
    waited = np.array(
        [[answer.created_ms, answer.created_ms - seen.sent[e]] for e, answer in seen.answers.items()]
    ).reshape(-1, 2)  # also where no click got a list
    changes = seen.changes()
    near = (np.abs(waited[:, :1] - np.array(changes)[None]) < _SWAP_WINDOW * 1000).any(1)
    beside = float(np.percentile(waited[~near, 1], 99.9)) if (~near).any() else 0.0
    longest = float(waited[near, 1].max(initial=0))
    return {
        "lost": len(seen.sent) - len(seen.answers),
        "mixed": seen.mixed(),
        "empty": sum(not answer.made.items for answer in seen.answers.values()),
        "longest_batch_delay_ms": round(max(longest - beside, 0.0), 1),
        "rss_mb": list(seen.rss_mb),
        "clicks": len(seen.sent),
        "swaps": len(changes),
        "freshness_ms": {
            "around_swaps": quantiles(waited[near, 1]),
            "elsewhere": quantiles(waited[~near, 1]),
        },
        "swap_ms": quantiles([min([c - m for c in changes if c >= m], default=np.nan) for m in seen.moments]),
    }
