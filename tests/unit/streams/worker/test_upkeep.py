"""Beside the rounds and not in their way: indexes are rebuilt, items expire, idle users make room."""

import asyncio
import contextlib
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streams.hot_path.serving import Serving
from streams.worker import upkeep
from streams.worker.suspicion import Suspicion
from tests.worlds.rounds import world


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPACT_SECONDS", "_RECALL_SECONDS", "_EXPIRE_SECONDS", "_RECALL_REST", "_TRIMMED_EVERY_S"):
        monkeypatch.setattr(upkeep, name, 0)


@pytest.fixture
def models() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def run(work: Coroutine[Any, Any, None], turns: int = 50) -> None:
    """Lets `work` have its turns, and cancels it; raises what it raises."""

    async def some() -> None:
        running = asyncio.create_task(work)
        for _ in range(turns):
            await asyncio.sleep(0.001)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(some())


def serving() -> Serving:
    return Serving(world()[0], lambda *_: None)


def test_an_index_is_rebuilt_when_churn_asks_for_it(models: ThreadPoolExecutor) -> None:
    served = serving()
    index = served.world.live.index
    run(upkeep.compact(served, models))
    rebuilt: list[bool] = []
    index.compact = lambda *_: rebuilt.append(True) or True  # type: ignore[method-assign, func-returns-value]
    run(upkeep.compact(served, models))
    assert rebuilt == []
    kind = type(index)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, "wants_compaction", property(lambda _: not rebuilt))
        run(upkeep.compact(served, models))
    assert rebuilt == [True]


def test_recall_is_measured_of_what_was_asked(models: ThreadPoolExecutor) -> None:
    served = serving()
    live = served.world.live
    live.nearest(np.ones((3, live.release.vector_size), np.float32), 5)
    run(upkeep.watch_recall(served, models))
    assert (live.recall.measured, live.recall.recall) == (1, 1.0)  # a flat index finds all


def test_items_expire_between_rounds(models: ThreadPoolExecutor) -> None:
    lock, held = asyncio.Lock(), []
    followed: Any = SimpleNamespace(expire=lambda: held.append(lock.locked()))
    run(upkeep.expire(followed, lock))
    assert held
    assert all(held)


class Tidying:
    """What `tidy` works on, and what it did."""

    def __init__(self, stragglers: int = 0, idle: int = 0) -> None:
        self.pending = 0
        self.crowded = False
        self.stragglers, self.left_idle = stragglers, idle
        self.states = object()
        self.steps: list[str] = []
        self.world = SimpleNamespace(live=SimpleNamespace(release=SimpleNamespace(id="r-1")))
        self.error: Exception | None = None

    def idle(self, states: object, users: int) -> int:
        assert states is self.states
        if self.error is not None:
            raise self.error
        done, self.stragglers = min(users, self.stragglers), max(self.stragglers - users, 0)
        self.steps += ["re-encoded"] * bool(done)
        return done

    def spill_idle(self, _: object) -> int:
        done, self.left_idle = self.left_idle, 0
        self.steps += ["spilled"] * bool(done)
        return done

    def run(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upkeep, "trim_heap", lambda: self.steps.append("trimmed"))
        me: Any = self
        run(upkeep.tidy(me, me, me, asyncio.Lock(), Suspicion(folder / "suspect")), turns=100)


def test_states_are_re_encoded_before_others_are_spilled_and_memory_goes_back_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidying = Tidying(stragglers=12, idle=3)
    tidying.run(tmp_path, monkeypatch)
    assert tidying.steps == ["re-encoded", "re-encoded", "spilled", "trimmed"]


def test_while_somebody_waits_nothing_is_tidied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tidying = Tidying(stragglers=1, idle=1)
    tidying.pending = 1
    tidying.run(tmp_path, monkeypatch)
    assert set(tidying.steps) <= {"trimmed"}


def test_too_many_users_are_spilled_while_somebody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidying = Tidying(stragglers=1, idle=1)
    tidying.pending, tidying.crowded = 1, True
    tidying.run(tmp_path, monkeypatch)
    assert "spilled" in tidying.steps
    assert "re-encoded" not in tidying.steps


def test_a_release_that_fails_meanwhile_is_under_suspicion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidying = Tidying()
    tidying.error = ValueError("not finite")
    with pytest.raises(ValueError, match="not finite"):
        tidying.run(tmp_path, monkeypatch)
    assert (tmp_path / "suspect").read_text() == "r-1"
