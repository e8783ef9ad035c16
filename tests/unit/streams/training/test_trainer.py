"""The trainer step by step, on a fake wire: what becomes of clicks, and what a kill at each stage leaves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.history import Clicks, History
from learner.models.run import Note
from learner.release.bundle import ReleaseError, Window
from learner.release.files import bundle_sha256, read_manifest, write_release
from learner.text.content import HASHED_CARD
from streams.releases.roles import Roles, changed, enter, take_back
from streams.releases.store import ReleaseStore, StoreUnreachable
from streams.settings import Settings, load_settings
from streams.training import gatekeeper
from streams.training.gate import LONGEST_WAIT_MS, LOST_MS
from streams.training.kept import KEPT_FROM
from streams.training.makers import QUICK, Kind, Make
from streams.training.publishing import Outbox
from streams.training.tracking import TRACKED
from streams.training.trainer import LEAST_NEW, Trainer
from streams.training.wire import Announced
from streams.wire.contract import ReleaseRecord
from tests.worlds.boards import board_of
from tests.worlds.served import POPULAR, served_bundle
from tests.worlds.tribes import small_bert

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
ITEMS, USERS, GROUPS = 40, 40, 5
RECORDS = [Item(item_id=f"i{n}") for n in range(ITEMS)]


class FakeWire:
    """Topics as lists. Clicks of users of five groups on items of their group."""

    def __init__(self) -> None:
        self.records: list[ReleaseRecord] = []
        self.clicks = 0
        self.catalogue: dict[str, Item] = {}
        self.announced_ms: dict[str, int] = {}

    def roles(self) -> Roles:
        return Roles(self.records)

    def announce(self, records: Sequence[ReleaseRecord]) -> None:
        self.records += records

    def unread(self, history: History) -> int:
        return self.clicks - history.next.get(0, 0)

    def keep(self, history: History) -> int:
        batch = Clicks()
        for n in range(history.next.get(0, 0), self.clicks):
            rng = np.random.default_rng(n)
            user = int(rng.integers(USERS))
            item = user % GROUPS + GROUPS * int(rng.integers(ITEMS // GROUPS))
            batch.add(
                partition=0, offset=n, arrived_ms=START_MS + n, event_id=f"e{n}", user_id=f"u{user}",
                item_id=f"i{item}", kind=1, time_ms=START_MS + 1000 * n, value=None, scenario=None,
            )  # fmt: skip
        if len(batch):
            history.append(batch, {0: self.clicks})
        return len(batch)

    def items(self) -> dict[str, Announced]:
        return {
            name: Announced(item, self.announced_ms.get(name, 0)) for name, item in self.catalogue.items()
        }


class FakeTrain:
    """Makes a linear release; notes what it was given."""

    def __init__(self, weights: dict[str, float] = POPULAR) -> None:
        self.weights = weights
        self.runs: list[tuple[Interactions, Sequence[Item], Path | None]] = []
        self.models: list[str | None] = []

    def __call__(
        self, settings: Settings, data: Interactions, items: Sequence[Item], live: Path | None, out: Path,
        noted: Note | None = None,
    ) -> str:  # fmt: skip
        self.runs.append((data, items, live))
        self.models.append(settings.encoder_model)
        if noted is not None:
            noted("student/loss", 0.5, 20)
        name = f"r-{len(self.runs)}-{len(data)}"
        last_ms = int(data.time_ms[-1])
        card = msgspec.structs.replace(HASHED_CARD, model=settings.encoder_model or "")
        make(out, name, self.weights, items, last_ms=last_ms, events=len(data), encoder=card)
        return name


def make(
    folder: Path, name: str, weights: dict[str, float], items: Sequence[Item] = RECORDS, last_ms: int = 0,
    events: int = 0, **manifest: object,
) -> Path:  # fmt: skip
    window = Window(first_ms=0, last_ms=last_ms, events=events, users=1)
    bundle = served_bundle(
        name, items, weights, repeat_consumption=True, data=window, created_at=START_MS, **manifest
    )
    return write_release(folder, bundle)


@pytest.fixture(autouse=True)
def _few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "BATCHES", 10)


@pytest.fixture
def _no_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that throws away what has just come: the clock of these tests is another one."""
    monkeypatch.setattr("streams.releases.store.SPARED_SECONDS", 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        data_dir=tmp_path / "data",
        train_after_clicks=2000,
        gate_clicks=400,
        canary_share=0.5,
        keep_releases=1,
    )


class Bench:
    """A trainer that can be killed and started again, with a live release trained on the first clicks."""

    def __init__(self, settings: Settings, tmp_path: Path, live: dict[str, float] | None = None) -> None:
        self.settings, self.wire, self.train = settings, FakeWire(), FakeTrain()
        self.makers: dict[Kind, Make] = {"full": self.train, "ranker": self.train}
        self.now_ms = START_MS
        self.wire.catalogue = {item.item_id: item for item in RECORDS}
        if live is not None:
            self.enter(make(tmp_path / "made" / "r-0", "r-0", live, events=0), "live")
        self.trainer = self.start()

    def start(self) -> Trainer:
        self.trainer = Trainer(
            self.settings, self.wire, makers=self.makers, wall_ms=lambda: self.now_ms
        )  # fmt: skip
        return self.trainer

    def enter(self, folder: Path, role: str) -> None:
        url = ReleaseStore(self.settings.store_url).put(folder)
        self.wire.announce(
            [
                ReleaseRecord(
                    release=read_manifest(folder).release, url=url, sha256=bundle_sha256(folder), role=role,  # type: ignore[arg-type]
                    at=self.now_ms, decision="added",
                )
            ]
        )  # fmt: skip

    def steps(self, count: int = 10) -> list[str]:
        said = []
        for _ in range(count):
            self.now_ms += 1000
            if not (done := self.trainer.step()):
                break
            said.append(done)
        return said

    def role(self, release: str) -> str:
        return self.wire.roles().of(release).role

    def reasons(self) -> list[str]:
        """Why each release was trained, in order."""
        return [record.reason for record in self.wire.records if record.decision == "trained"]


def test_a_release_made_in_haste_is_followed_by_a_better_one_at_once_and_only_once(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"train_after_clicks": 10**9, "train_every_minutes": 10.0**9})
    bench = Bench(settings, tmp_path)
    hasty = make(
        tmp_path / "hasty", "r-hasty", {"popularity_4": 1.0}, training={QUICK: True}, events=3000,
        last_ms=START_MS + 1000 * 2999,
    )  # fmt: skip
    bench.enter(hasty, "live")
    bench.wire.clicks = 3000 + LEAST_NEW - 1
    assert bench.steps() == []
    bench.wire.clicks = 3000 + LEAST_NEW
    assert [said.split()[0] for said in bench.steps()] == ["trained", "published", "passed"]
    assert bench.reasons() == ["the live release was made in haste and lacks 1,000 clicks"]
    canary = bench.wire.roles().canary
    assert canary is not None
    assert canary.evidence["users"] >= USERS / 2  # judged by what the hasty one had held back
    bench.wire.announce(take_back(bench.wire.roles(), canary.release, at=bench.now_ms, reason="worse"))
    bench.wire.clicks += 5000
    assert bench.steps() == []


def test_from_clicks_to_a_canary(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    assert bench.steps() == []
    bench.wire.clicks = 2000
    assert [said.split()[0] for said in bench.steps()] == ["trained", "published", "passed"]
    data, items, live = bench.train.runs[0]
    assert len(data) == 1600  # the newest 400 are the gate's
    assert {item.item_id for item in items} == {item.item_id for item in RECORDS}
    assert live == settings.data_dir / "releases" / "r-0"
    record = bench.wire.roles().canary
    assert record is not None
    assert record.release == "r-1-1600"
    assert record.decision == "passed"
    assert record.evidence["ratio_low"] > 1
    assert record.evidence["answers"] == 400
    assert bench.wire.roles().share(0.1) == settings.canary_share
    manifest = read_manifest(Path(record.url))
    assert manifest.parents == ["r-0"]
    assert manifest.training["why"] == "2,000 new clicks"
    assert manifest.training["kind"] == "ranker"
    assert bench.steps() == []  # nothing while a canary runs
    assert not list((settings.data_dir / "trainer" / "outbox").iterdir())


def test_curves_and_the_gate_s_figures_are_kept_where_somebody_wants_them(
    settings: Settings, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="needs: pip install 'nextclick[tensorboard]'")
    bench = Bench(
        settings.model_copy(update={"tracker": "tensorboard"}), tmp_path, live={"popularity_4": 1.0}
    )
    bench.wire.clicks = 2000
    bench.steps()
    candidate = bench.wire.roles().canary
    assert candidate is not None
    run = read_manifest(Path(candidate.url)).training[TRACKED]
    assert run.startswith("ranker-2023")
    curves = board_of(settings.data_dir / "tracked" / "tensorboard" / run)
    assert curves["student/loss"] == [(20, 0.5)]
    assert curves["gate/ratio_low"][0][1] == pytest.approx(candidate.evidence["ratio_low"])


def test_a_worse_release_is_refused_and_training_waits(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live=dict(POPULAR))
    bench.train.weights = {"knn_10": -1.0}
    bench.wire.clicks = 2000
    assert bench.steps()[-1] == "refused r-1-1600"
    refused = bench.wire.roles().of("r-1-1600")
    assert (refused.role, refused.decision) == ("retired", "refused")
    assert "as good as the live release" in refused.reason
    assert bench.wire.roles().live.release == "r-0"  # type: ignore[union-attr]
    bench.wire.clicks = 2000 + 1500
    assert bench.steps() == []
    bench.now_ms += 3_600_000  # an hour later time itself is a reason
    assert bench.steps(1) == ["trained r-2-3100"]


def test_the_first_release_of_all_goes_live(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path)
    bench.wire.clicks = LEAST_NEW - 1
    assert bench.steps() == []
    bench.wire.clicks = LEAST_NEW
    assert [said.split()[0] for said in bench.steps(3)] == ["trained", "published", "passed"]
    live = bench.wire.roles().live
    assert live is not None
    assert live.decision == "first"


def test_without_a_canary_a_release_goes_live_at_once(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings.model_copy(update={"canary_share": 0.0}), tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000
    bench.steps(3)
    assert bench.role("r-1-1600") == "live"
    assert bench.role("r-0") == "retired"


def test_drift_is_a_reason(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 1200
    assert bench.steps() == []
    live = bench.wire.roles().of("r-0")
    bench.now_ms += 5
    bench.wire.announce([changed(live, "live", bench.now_ms, "drifted", "hit rate fell")])
    assert bench.steps()[0].startswith("trained")
    assert len(bench.train.runs) == 1


def test_full_training_comes_in_time_however_often_the_ranker_is_refreshed(
    settings: Settings, tmp_path: Path
) -> None:
    bench = Bench(settings.model_copy(update={"canary_share": 0.0}), tmp_path, live={"popularity_4": 1.0})
    for n in range(1, 7):  # 6,000 clicks an hour, of which 2,000 are enough for the ranker
        bench.wire.clicks = 2000 * n
        bench.now_ms = START_MS + 20 * MINUTE_MS * n
        bench.steps()
    kinds = ["full" if "minutes" in reason else "ranker" for reason in bench.reasons()]
    assert kinds == ["ranker", "ranker", "full"] * 2


def test_the_gate_s_word_waits_for_no_tracker(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"canary_share": 0.0, "tracker": "tensorboard"}
    bench = Bench(settings.model_copy(update=changes), tmp_path, live={"popularity_4": 1.0})
    decided: list[str] = []
    monkeypatch.setattr(
        "streams.training.gate.track_judged",
        lambda *_: decided.extend(record.decision for record in bench.wire.records),
    )
    bench.wire.clicks = 2000
    bench.steps()
    assert "promoted" in decided


@pytest.mark.learner
def test_a_training_that_is_due_by_time_tries_an_adapted_encoder(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    bert = small_bert(tmp_path / "bert")
    changes = {
        "canary_share": 0.0,
        "encoder_model": str(bert),
        "adapt_every_days": 30.0,
        "adapt_minutes": 5.0,
    }
    bench = Bench(settings.model_copy(update=changes), tmp_path, live={"popularity_4": 1.0})
    for n in range(ITEMS):
        title = f"a{n % GROUPS} b{n % 7} c{n % 8} d{n // 5}"
        bench.wire.catalogue[f"i{n}"] = Item(item_id=f"i{n}", title=title)
    for hours in range(3):
        bench.wire.clicks = 6000 * (hours + 1)  # enough to judge an encoder by
        bench.now_ms = START_MS + 60 * MINUTE_MS * hours
        if hours == 2:
            live = bench.wire.roles().live
            assert live is not None
            bench.wire.announce([changed(live, "live", bench.now_ms, "drifted", "hit rate fell")])
        bench.steps()
    kinds = ["drift" if "drift" in reason else reason.split()[1] for reason in bench.reasons()]
    assert kinds == ["new", "minutes", "drift"]
    (folder,) = (settings.data_dir / "trainer" / "adapted").iterdir()
    assert bench.train.models == [str(bert), str(folder), str(bert)]
    trained = [record.url for record in bench.wire.records if record.decision == "trained"]
    told = [read_manifest(Path(url)).training.get("adapted") for url in trained]
    assert (told[0], told[2]) == (None, None)
    assert told[1]["first_6_after"] > told[1]["first_6_before"]


def test_a_ranker_that_became_a_full_training_is_one(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings.model_copy(update={"canary_share": 0.0}), tmp_path, live={"popularity_4": 1.0})

    def cannot(*_: Any) -> str:
        raise ReleaseError("another kind of ranker")

    bench.makers["ranker"] = cannot
    bench.now_ms += 60 * MINUTE_MS
    bench.wire.clicks = 2000
    bench.steps()
    bench.now_ms += 50 * MINUTE_MS
    bench.wire.clicks = 4000
    bench.steps()
    bench.now_ms += 20 * MINUTE_MS  # 70 minutes after the first full training, 20 after the second
    bench.wire.clicks = 4000 + LEAST_NEW
    assert bench.steps() == []
    assert bench.reasons() == ["60 minutes and 2,000 clicks since the last training", "2,000 new clicks"]
    bench.now_ms += 40 * MINUTE_MS
    assert bench.steps(1) == ["trained r-3-4600"]


def test_an_alarm_during_a_training_leads_to_another_one(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live=dict(POPULAR))
    bench.train.weights = {"knn_10": -1.0}  # refused: the release that drifts stays live

    def train(*arguments: Any) -> str:
        bench.now_ms += 10_000
        live = bench.wire.roles().of("r-0")
        if not bench.train.runs:
            bench.wire.announce([changed(live, "live", bench.now_ms, "drifted", "hit rate fell")])
        bench.now_ms += 10_000
        return bench.train(*arguments)

    bench.makers = {"full": train, "ranker": train}
    bench.start()
    bench.wire.clicks = 2000
    assert bench.steps()[-1] == "refused r-1-1600"
    bench.wire.clicks = 2000 + LEAST_NEW
    bench.steps()
    assert bench.reasons() == ["2,000 new clicks", "drift: hit rate fell"]


def test_clicks_are_kept_while_nothing_is_trained(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings.model_copy(update={"learn": "none"}), tmp_path, live={"popularity_4": 1.0})
    history = bench.trainer.kept.history
    bench.wire.clicks = 100
    bench.now_ms += 30 * MINUTE_MS
    assert bench.steps() == []
    assert history.clicks == 0
    bench.now_ms += 30 * MINUTE_MS
    assert bench.steps() == []
    assert history.clicks == 100
    bench.wire.clicks = 300
    bench.now_ms += MINUTE_MS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.training.kept.KEPT_FROM", 200)
        assert bench.steps() == []
    assert history.clicks == 300
    assert KEPT_FROM > 300


DAY_MS = 24 * 60 * MINUTE_MS


@pytest.mark.parametrize("trouble", ["told not to learn", "pinned", "no new clicks", "broker away"])
def test_clicks_that_are_too_old_go_whatever_happens(
    settings: Settings, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"history_days": 30} | ({"learn": "none"} if trouble == "told not to learn" else {})
    bench = Bench(settings.model_copy(update=changes), tmp_path, live={"popularity_4": 1.0})
    history = bench.trainer.kept.history
    bench.wire.clicks = LEAST_NEW - 1
    bench.trainer.kept.keep()
    if trouble == "pinned":
        bench.wire.announce([changed(bench.wire.roles().of("r-0"), "live", 1, "pinned", "by hand")])
    assert bench.steps() == []
    assert history.clicks == LEAST_NEW - 1
    bench.now_ms += 31 * DAY_MS
    if trouble == "broker away":
        monkeypatch.setattr(bench.wire, "roles", _raises(ConnectionError("no brokers available")))
        with pytest.raises(ConnectionError):
            bench.steps()
    else:
        assert bench.steps() == []
    assert history.clicks == 0
    assert not list((settings.data_dir / "history").rglob("*.parquet"))


def _raises(error: Exception) -> Callable[..., Any]:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


@pytest.mark.usefixtures("_no_newcomers")
def test_old_releases_go_also_while_nothing_is_trained(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings.model_copy(update={"learn": "none"}), tmp_path, live=dict(POPULAR))
    store = ReleaseStore(settings.store_url)
    for name in ("r-0a", "r-0b"):  # nobody announces them
        store.put(make(tmp_path / "made" / name, name, POPULAR))
    assert bench.steps() == []
    bench.now_ms += DAY_MS
    assert bench.steps() == []
    assert store.releases() == ["r-0", "r-0b"]


def test_what_the_topic_has_forgotten_is_not_new(settings: Settings, tmp_path: Path) -> None:
    """A trainer without a history joins a topic that has existed for long."""
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})

    def keep(history: History) -> int:
        history.append(Clicks(), {0: 1_000_000})
        return 0

    bench.wire.keep = keep  # type: ignore[method-assign]
    bench.wire.clicks = 1_000_000
    bench.trainer.kept.keep()
    assert bench.trainer.due(bench.wire.roles()) is None


def test_nothing_automatic_while_pinned_or_told_not_to(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2500
    live = bench.wire.roles().of("r-0")
    bench.wire.announce(
        [ReleaseRecord(release="r-0", url=live.url, sha256=live.sha256, role="live", at=1, decision="pinned")]
    )
    assert bench.steps() == []
    idle = Bench(
        settings.model_copy(update={"learn": "none"}), tmp_path / "other", live={"popularity_4": 1.0}
    )
    idle.wire.clicks = 2500
    assert idle.steps() == []


def test_withdrawn_items_leave_unless_histories_name_them(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000
    for name in ("i0", "never-clicked"):
        bench.wire.catalogue[name] = Item(item_id=name, available=False)
    bench.wire.catalogue["new"] = Item(item_id="new", title="New")
    bench.steps(1)
    items = {item.item_id: item for item in bench.train.runs[0][1]}
    assert "new" in items
    assert "never-clicked" not in items
    assert not items["i0"].available


def test_idle_items_that_nobody_announced_leave(settings: Settings, tmp_path: Path) -> None:
    second = 1 / 86_400
    items = {}
    for days in (1000 * second, 10_000 * second):  # clicks come one a second and reach back 2,000 of them
        bench = Bench(
            settings.model_copy(update={"item_idle_days": days, "data_dir": tmp_path / str(days)}), tmp_path
        )
        known = [*RECORDS, Item(item_id="idle"), Item(item_id="announced")]
        bench.enter(make(tmp_path / "made" / f"r-{days}", "r-0", POPULAR, known), "live")
        bench.wire.catalogue = {"announced": Item(item_id="announced")}
        bench.wire.clicks = 2100
        bench.steps(1)
        items[days] = {item.item_id for item in bench.train.runs[0][1]}
    shorter, longer = items.values()
    assert longer == {item.item_id for item in known}  # nobody knows how long "idle" has been idle
    assert shorter == longer - {"idle"}


class Killed(BaseException):
    """kill -9, as far as Python can tell."""


def dies(*_: Any, **__: Any) -> Any:
    raise Killed


STAGES: dict[str, Callable[[pytest.MonkeyPatch, Bench], None]] = {
    "keeping clicks": lambda patch, bench: patch.setattr(History, "append", dies),
    "training": lambda patch, bench: patch.setitem(bench.makers, "ranker", dies),
    "moving the bundle": lambda patch, bench: patch.setattr(Path, "rename", dies),
    "noting the training": lambda patch, bench: patch.setattr(
        History, "note", lambda self, **notes: dies() if "trained_at" in notes else None
    ),
    "storing": lambda patch, bench: patch.setattr(ReleaseStore, "put", dies),
    "announcing": lambda patch, bench: patch.setattr(bench.wire, "announce", dies),
    "clearing the outbox": lambda patch, bench: patch.setattr(Outbox, "clear", dies),
    "the gate": lambda patch, bench: patch.setattr("streams.training.gate.try_out", dies),
    "pruning": lambda patch, bench: patch.setattr(ReleaseStore, "prune", dies),
}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage_it_goes_on(
    settings: Settings, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000
    with monkeypatch.context() as patch:
        STAGES[stage](patch, bench)
        with pytest.raises(Killed):
            bench.steps()
    before = list(bench.wire.records)
    bench.start()
    bench.steps()
    roles = bench.wire.roles()
    assert roles.canary is not None
    assert bench.wire.records[: len(before)] == before
    assert [record.decision for record in bench.wire.records] == ["added", "trained", "passed"]
    assert len(bench.train.runs) == 1 + (stage == "moving the bundle")
    assert sorted(ReleaseStore(settings.store_url).releases()) == sorted(roles.records)
    assert bench.trainer.kept.history.clicks == 2000


def test_a_bundle_that_was_made_counts_its_clicks(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back = {"gate_clicks": 1000, "train_after_clicks": 1000, "canary_share": 0.0}
    bench = Bench(settings.model_copy(update=held_back), tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 5000
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", _renames_and_dies)
        with pytest.raises(Killed):
            bench.steps()
    bench.start()
    assert [said.split()[0] for said in bench.steps()] == ["published", "passed"]
    assert len(bench.train.runs) == 1


def _renames_and_dies(self: Path, target: Path) -> Path:
    self.replace(target)
    if target.parent.name == "outbox":
        raise Killed
    return target


def test_training_that_is_always_cut_short_waits_for_its_time(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000
    bench.makers["ranker"] = dies
    for _ in range(3):
        with pytest.raises(Killed):
            bench.steps()
        bench.start()
    assert bench.steps() == []
    bench.now_ms += 3_600_000
    assert bench.steps(1) == ["trained r-1-1600"]
    assert read_manifest(next(bench.trainer.outbox.folder.iterdir())).training["kind"] == "full"


def test_a_ranker_that_cannot_be_refreshed_is_trained_with_all_else(
    settings: Settings, tmp_path: Path
) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000

    def cannot(*_: Any) -> str:
        raise ReleaseError("another kind of ranker")

    bench.makers["ranker"] = cannot
    bench.steps(2)
    canary = bench.wire.roles().candidates[0]
    assert read_manifest(Path(canary.url)).training["kind"] == "full"


def test_training_that_fails_is_not_tried_again_at_once(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000

    def fails(*_: Any) -> str:
        raise RuntimeError("out of memory")

    bench.makers["ranker"] = fails
    with pytest.raises(RuntimeError):
        bench.steps()
    bench.start()
    assert bench.steps() == []
    assert not list(settings.data_dir.glob("trainer/.*"))


def test_an_unreachable_store_keeps_the_bundle_until_it_answers(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000

    def down(*_: Any) -> str:
        raise StoreUnreachable("s3://releases: does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(ReleaseStore, "put", down)
        assert bench.steps() == ["trained r-1-1600"]
        assert bench.steps() == []  # and it trains nothing else meanwhile
    assert [said.split()[0] for said in bench.steps()] == ["published", "passed"]


def test_an_operators_candidates_go_through_the_same_gate(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings.model_copy(update={"learn": "periodic"}), tmp_path, live=dict(POPULAR))
    bench.wire.clicks = 1500
    folder = make(tmp_path / "made" / "r-bad", "r-bad", {"popularity_4": -1.0})
    bench.enter(folder, "candidate")
    damaged = make(tmp_path / "made" / "r-damaged", "r-damaged", POPULAR)
    (damaged / "student.onnx").write_bytes(b"?")
    bench.enter(damaged, "candidate")
    future = make(tmp_path / "made" / "r-future", "r-future", POPULAR, last_ms=START_MS + 10**9)
    bench.enter(future, "candidate")
    assert bench.steps() == ["refused r-bad", "refused r-damaged"]
    assert bench.role("r-bad") == "retired"
    assert bench.role("r-damaged") == "quarantined"
    assert "student.onnx" in bench.wire.roles().of("r-damaged").reason
    assert bench.role("r-future") == "candidate"  # it may have trained on all there is: it waits


def test_an_operators_candidate_that_waits_keeps_nothing_from_being_trained(
    settings: Settings, tmp_path: Path
) -> None:
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 1500
    future = make(tmp_path / "made" / "r-future", "r-future", POPULAR, last_ms=START_MS + 10**9)
    bench.enter(future, "candidate")
    assert bench.steps() == []
    bench.wire.clicks = 2000
    assert bench.steps(3) == ["trained r-1-1600", "published r-1-1600", "passed r-1-1600"]
    assert bench.role("r-future") == "candidate"
    bench.wire.announce(
        enter(bench.wire.roles(), changed(bench.wire.roles().of("r-1-1600"), "live", 2, "", ""))
    )
    bench.now_ms += LONGEST_WAIT_MS
    bench.wire.clicks += 200
    assert "refused r-future" in bench.steps()
    reason = bench.wire.roles().of("r-future").reason
    assert "its time is up" in reason
    assert "nextclick releases promote r-future" in reason


def test_neither_release_is_asked_about_clicks_that_it_knows(settings: Settings, tmp_path: Path) -> None:
    """An operator's candidate is older than the live release, which has learned the newest clicks."""
    said = {}
    for last in (1000, 1900):  # clicks that the live release was trained on
        bench = Bench(
            settings.model_copy(update={"data_dir": tmp_path / str(last)}), tmp_path / f"made-{last}"
        )
        live_ms = START_MS + 1000 * (last - 1)
        bench.enter(make(tmp_path / f"made-{last}" / "r-0", "r-0", POPULAR, last_ms=live_ms), "live")
        bench.wire.clicks = 2000
        bench.trainer.kept.history.note(trained_at=START_MS, trained_clicks=2000)
        bench.enter(
            make(tmp_path / f"made-{last}" / "r-old", "r-old", POPULAR, last_ms=START_MS), "candidate"
        )
        bench.steps(1)
        said[last] = bench.role("r-old")
    assert said == {1000: "canary", 1900: "candidate"}  # of 100 answers nobody can judge


def test_a_candidate_that_nobody_comes_to_judge_makes_room(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.judging.gate.MIN_ANSWERS", 10_000)
    bench = Bench(settings, tmp_path, live={"popularity_4": 1.0})
    bench.wire.clicks = 2000
    assert [said.split()[0] for said in bench.steps()] == ["trained", "published"]
    bench.wire.clicks = 2300
    bench.now_ms += 3_600_000
    assert bench.steps(1) == ["refused r-1-1600"]
    assert "its time is up" in bench.wire.roles().of("r-1-1600").reason


def spoil(bench: Bench, release: str) -> Path:
    """Damages a stored release; returns the file as it was, to put it back."""
    path = Path(bench.wire.roles().of(release).url) / "student.onnx"
    whole = path.with_name("whole")
    whole.write_bytes(path.read_bytes())
    path.write_bytes(b"?")
    return whole


@pytest.mark.parametrize("gone", ["damaged", "moved"])
def test_a_live_release_that_nobody_can_read_is_replaced_by_a_full_training(
    settings: Settings, tmp_path: Path, gone: str
) -> None:
    bench = Bench(settings, tmp_path, live=dict(POPULAR))
    if gone == "damaged":
        spoil(bench, "r-0")
    else:
        Path(bench.wire.roles().of("r-0").url).rename(tmp_path / "elsewhere")
    bench.wire.clicks = 2000
    assert bench.steps() == ["trained r-1-2000", "published r-1-2000"]  # the gate has nothing to ask about
    _, items, live = bench.train.runs[0]
    assert live is None
    assert {item.item_id for item in items} == {item.item_id for item in RECORDS}
    manifest = read_manifest(Path(bench.wire.roles().of("r-1-2000").url))
    assert manifest.training["kind"] == "full"
    bench.now_ms += LOST_MS
    assert bench.steps(1) == ["passed r-1-2000"]
    replaced = bench.wire.roles().live
    assert replaced is not None
    assert (replaced.release, replaced.decision) == ("r-1-2000", "promoted")
    assert "r-0 cannot be read" in replaced.reason
    assert bench.wire.roles().pinned is False


def test_a_live_release_that_can_be_read_again_is_compared_with(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings, tmp_path, live=dict(POPULAR))
    whole = spoil(bench, "r-0")
    bench.wire.clicks = 1000
    bench.enter(make(tmp_path / "made" / "r-bad", "r-bad", {"popularity_4": -1.0}), "candidate")
    assert bench.steps() == []
    bench.now_ms += LOST_MS // 2
    whole.replace(whole.with_name("student.onnx"))
    assert bench.steps(1) == ["refused r-bad"]
    assert "as good as the live release" in bench.wire.roles().of("r-bad").reason


def test_a_training_waits_for_a_store_that_does_not_answer(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads no history meanwhile, and it has not failed."""
    bench = Bench(settings, tmp_path, live=dict(POPULAR))
    bench.wire.clicks = 2000

    def down(*_: Any) -> Path:
        raise StoreUnreachable("s3://releases: does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("streams.training.making.fetch", down)
        patch.setattr(History, "interactions", dies)
        assert bench.steps() == []
    assert bench.trainer.kept.attempts == 0
    assert bench.steps(1) == ["trained r-1-1600"]


def test_a_store_that_does_not_answer_is_no_reason_to_refuse(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(settings, tmp_path, live=dict(POPULAR))
    bench.enter(make(tmp_path / "made" / "r-next", "r-next", POPULAR), "candidate")

    def down(*_: Any) -> Path:
        raise StoreUnreachable("s3://releases: does not answer")

    monkeypatch.setattr("streams.training.gate.fetch", down)
    bench.now_ms += 120 * MINUTE_MS
    assert bench.steps() == []
    assert bench.role("r-next") == "candidate"


def test_items_announced_after_the_training_may_be_missing(settings: Settings, tmp_path: Path) -> None:
    """Whenever they were published: a catalogue is loaded in bulk, news come late."""
    said = {}
    for late in (False, True):
        bench = Bench(
            settings.model_copy(update={"data_dir": tmp_path / str(late)}), tmp_path / f"made-{late}",
            live=dict(POPULAR),
        )  # fmt: skip
        bench.wire.clicks = 2000
        bench.enter(
            make(tmp_path / f"made-{late}" / "r-next", "r-next", POPULAR, last_ms=START_MS + 1_599_000),
            "candidate",
        )
        for n in range(ITEMS):
            bench.wire.catalogue[f"new-{n}"] = Item(item_id=f"new-{n}", title="New", published_at=5)
            bench.wire.announced_ms[f"new-{n}"] = START_MS + (1 if late else -1)
        said[late] = bench.steps(1)
    assert said == {False: ["refused r-next"], True: ["passed r-next"]}


@pytest.mark.usefixtures("_no_newcomers")
def test_old_releases_are_thrown_away(settings: Settings, tmp_path: Path) -> None:
    bench = Bench(settings.model_copy(update={"canary_share": 0.0}), tmp_path, live={"popularity_4": 1.0})
    for n in range(1, 4):
        bench.wire.clicks = 2000 * n
        assert len(bench.steps()) == 3
    live = bench.wire.roles().live
    assert live is not None
    assert ReleaseStore(settings.store_url).releases() == ["r-2-3600", live.release]
