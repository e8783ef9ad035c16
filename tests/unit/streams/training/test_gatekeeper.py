"""Bad candidates beside a good live release, through the hot path: each is refused for what is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.judging.gate import Decision, Limits
from learner.release.bundle import Bundle
from learner.release.files import write_release
from learner.release.live import LiveRelease
from streams.training import gatekeeper
from streams.training.contender import Contender
from streams.training.gatekeeper import Case, look_over, try_out
from tests.worlds.served import POPULAR, poisoned, served_bundle

ITEMS, USERS, GROUPS = 60, 40, 6
CLICKS, START = 1200, 900


def world(seed: int = 0) -> Interactions:
    """Users of six groups click the items of their group, each item mostly once."""
    rng = np.random.default_rng(seed)
    user = rng.integers(USERS, size=CLICKS).astype(np.int32)
    own = rng.random(CLICKS) < 0.9
    item = np.where(own, user % GROUPS + GROUPS * rng.integers(ITEMS // GROUPS, size=CLICKS), 0)
    item = np.where(own, item, rng.integers(ITEMS, size=CLICKS)).astype(np.int32)
    return Interactions(
        user=user, item=item, time_ms=1_700_000_000_000 + np.arange(CLICKS, dtype=np.int64) * 60_000,
        kind=np.full(CLICKS, Kind.CLICK, np.uint8), value=np.full(CLICKS, np.nan, np.float32),
        place=np.zeros(CLICKS, np.int32), occurrence=np.zeros(CLICKS, np.int32),
        user_ids=[f"u{n}" for n in range(USERS)], item_ids=[f"i{n}" for n in range(ITEMS)], scenarios=[None],
    )  # fmt: skip


RECORDS = [Item(item_id=f"i{n}") for n in range(ITEMS)]


def bundle(name: str, items: Sequence[Item] = RECORDS, weights: dict[str, float] = POPULAR) -> Bundle:
    return served_bundle(name, items, weights, repeat_consumption=True)


@pytest.fixture(autouse=True)
def _few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "BATCHES", 20)


def gate(tmp_path: Path, candidate: Bundle | Path, items: Sequence[Item] = (), **options: object) -> Decision:
    live = write_release(tmp_path / "live", bundle("r-live"))
    folder = candidate if isinstance(candidate, Path) else write_release(tmp_path / "new", candidate)
    return try_out(live, folder, Case(world(), START, items), **options)  # type: ignore[arg-type]


def test_an_equal_candidate_passes(tmp_path: Path) -> None:
    decision = gate(tmp_path, bundle("r-new"))
    assert decision.outcome == "passed", decision
    assert decision.evidence["ratio"] == 1
    assert decision.evidence["answers"] == CLICKS - START
    assert decision.evidence["ndcg@10"][0] > 0.3
    assert decision.evidence["listed"][0] <= ITEMS


def test_a_worse_ranker_is_refused(tmp_path: Path) -> None:
    decision = gate(tmp_path, bundle("r-new", weights={"knn_10": -1.0}))
    assert decision.outcome == "refused"
    assert "as good as the live release" in decision.reason


def test_a_better_candidate_passes(tmp_path: Path) -> None:
    live = write_release(tmp_path / "weak", bundle("r-weak", weights={"popularity_4": 1.0}))
    decision = try_out(live, write_release(tmp_path / "new", bundle("r-new")), Case(world(), START, ()))
    assert decision.outcome == "passed", decision
    assert decision.evidence["ratio_low"] > 1.2


@pytest.mark.parametrize("part", ["ranker", "student"])
def test_nan_weights_are_refused(tmp_path: Path, part: str) -> None:
    candidate = bundle("r-new", weights=POPULAR | {"student": 1.0})
    decision = gate(tmp_path, poisoned(candidate, part))
    assert decision.outcome == "refused"
    assert "not numbers" in decision.reason


def test_a_lost_scale_is_refused(tmp_path: Path) -> None:
    decision = gate(tmp_path, bundle("r-new", weights={"popularity_4": 1e9}))
    assert decision.outcome == "refused"
    assert "are sane" in decision.reason


def test_a_tenth_of_the_catalogue_missing_is_refused(tmp_path: Path) -> None:
    decision = gate(tmp_path, bundle("r-new", RECORDS[: ITEMS * 9 // 10]))
    assert decision.outcome == "refused"
    assert "lacks 10.0% of the available items" in decision.reason


def test_items_that_are_gone_may_be_missing(tmp_path: Path) -> None:
    gone = [Item(item_id=f"i{n}", available=False) for n in range(ITEMS // 2)]
    decision = gate(tmp_path, bundle("r-new", RECORDS[ITEMS // 2 :]), gone)
    assert decision.evidence["missing"] == 0
    assert decision.outcome == "passed", decision


def test_idle_items_that_nobody_announced_may_be_missing(tmp_path: Path) -> None:
    live, new = (Path(tmp_path / name) for name in ("live", "new"))
    more = [Item(item_id=f"idle-{n}") for n in range(ITEMS)]
    write_release(live, bundle("r-live", RECORDS + more))
    write_release(new, bundle("r-new"))
    sides = Contender(live), Contender(new)
    idle = {item.item_id for item in more}
    assert gatekeeper.missing(*sides, Case(world(), START, ()))[0] == 0.5
    assert gatekeeper.missing(*sides, Case(world(), START, (), lambda names: names & idle))[0] == 0
    assert gatekeeper.missing(*sides, Case(world(), START, more[:8], lambda names: names & idle))[0] > 0


def test_twice_as_slow_is_refused(tmp_path: Path) -> None:
    """By a clock that the ranker moves: real time is not for tests."""
    ticks = iter(np.cumsum(np.random.default_rng(0).random(10_000)).tolist())
    now = [0.0]

    def clock() -> float:
        return now[0]

    batch = Contender.batch

    def timed(self: Contender, slots: object, now_ms: int) -> None:
        batch(self, slots, now_ms)  # type: ignore[arg-type]
        slowness = 2.0 if self.offline.world.live.release.id == "r-new" else 1.0
        now[0] += slowness * (1e-3 + 1e-5 * next(ticks) % 1e-4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Contender, "batch", timed)
        decision = gate(tmp_path, bundle("r-new"), clock=clock)
    assert decision.outcome == "refused"
    assert "slower" in decision.reason
    assert "20 interleaved batches" in decision.reason


def test_the_rankers_time_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that nothing else moves."""
    now, rank = [0.0], LiveRelease.rank

    def timed(self: LiveRelease, *columns: Any) -> Any:
        now[0] += 2e-3 if self.id == "r-new" else 1e-3
        return rank(self, *columns)

    monkeypatch.setattr(LiveRelease, "rank", timed)
    decision = gate(tmp_path, bundle("r-new"), clock=lambda: now[0])
    ours, theirs = decision.evidence["p50_ms"]
    assert ours == 2 * theirs > 0
    assert decision.evidence["ratio"] == 1
    assert "slower" in decision.reason


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = write_release(tmp_path / "new", bundle("r-new"))
    (folder / "vectors.safetensors").write_bytes(b"?")
    decision = gate(tmp_path, folder)
    assert decision.outcome == "refused"
    assert "vectors.safetensors" in decision.reason


def test_a_model_that_fails_at_work_is_refused(tmp_path: Path) -> None:
    """Loading asks for one row; this one cannot take two."""
    candidate = bundle("r-new")
    graph = onnx.load_from_string(candidate.student)
    for port in (*graph.graph.input, *graph.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    candidate.student = graph.SerializeToString()
    decision = gate(tmp_path, candidate)
    assert decision.outcome == "refused"
    assert "it fails" in decision.reason


def test_where_nothing_is_live_a_release_must_be_sound(tmp_path: Path) -> None:
    assert look_over(write_release(tmp_path / "good", bundle("r-1"))).outcome == "passed"
    decision = look_over(write_release(tmp_path / "bad", poisoned(bundle("r-2"), "student")))
    assert (decision.outcome, decision.broken) == ("refused", True)


def test_too_few_clicks_wait(tmp_path: Path) -> None:
    live = write_release(tmp_path / "live", bundle("r-live"))
    new = write_release(tmp_path / "new", bundle("r-new"))
    decision = try_out(live, new, Case(world(), CLICKS - 50, ()), Limits())
    assert decision.outcome == "waits"
    assert "answers" in decision.reason
