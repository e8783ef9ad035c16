"""The rare stage of the periodic training: the encoder learns from the catalogue's texts and its clicks.

Owns when that is due, its folders, and that it goes on after a kill and stands in no training's way. What it
makes is tried by the full training that follows, whose release passes the gate as any other. How an encoder
learns is `learner.text.adaptation`'s.

encoder/state.json   `State`
encoder/inputs       what the adaptation under way was begun with
encoder/work         its checkpoint, then the encoder
adapted/NAME         finished encoders: one that waits for its training, and those that releases have
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.times import DAY_MS
from learner.text.card import EncoderCard, EncoderChoice
from learner.text.pretrained import ADAPTED, find
from streams.settings import Settings
from streams.training.encoders import base_of
from streams.training.figures import Measured
from streams.training.stage_inputs import before_lists, in_common, keep_inputs, kept_inputs, sketch_of
from streams.training.stage_state import State, either_clock, read, write
from streams.training.tracking import name_of_run, tracked_or_not

if TYPE_CHECKING:
    from learner.text.adaptation.adapt import Adapted

log = structlog.get_logger()

ATTEMPTS = 3  # that may be cut short without a checkpoint, and trainings that one encoder may be given to
LEAST_IN_COMMON = (
    1 / 3
)  # of all texts, those of the last adaptation and those of now: else it is another catalogue
CUT_SHORT_DAYS = 3  # that one which was cut short may be gone on with: its inputs are clicks, which are to go


class EncoderStage:
    """`folder` is the trainer's; it may be killed at any moment."""

    def __init__(
        self, settings: Settings, folder: Path, wall_ms: Callable[[], int], measured: Measured | None = None,
        *, processor_s: Callable[[], float] = time.process_time,
        passed_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings, self._wall_ms = settings, wall_ms
        self._processor_s, self._passed_s = processor_s, passed_s
        self._measured = measured or Measured()
        self._place, self._adapted = folder.resolve() / "encoder", folder.resolve() / "adapted"
        self._file = self._place / "state.json"

    def encoder(self, data: Interactions, items: Sequence[Item], live: EncoderCard) -> Path | None:
        """The folder of the encoder that this training is to try; None: it goes on with the one it has.

        Adapts one first where that is due, within `adapt_minutes` of processor time, four times that in all.
        Of `data`, in order of time, it knows what comes before the training's first lists.
        """
        base: EncoderChoice | None = None
        try:
            base = base_of(self._settings, live) if self._settings.adapt_every_days else None
            if base is None:
                return None
            self._forget()
            state = read(self._file)
            if (waiting := self._waiting(state, base)) is not None:
                return waiting
            sketch = sketch_of(items)
            if not (reason := self._reason(state, base, sketch)):
                return None
            return self._made(state, base, reason, items, before_lists(data), sketch)
        except Exception as error:  # no peft, no memory, a full disk: none is a reason not to train
            what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            log.warning("no encoder was adapted; the training goes on with the one it has", error=what)
            if base is not None:
                self._end(base, sketch_of(items))
            return None

    def tried(self) -> None:
        """The training that was given an encoder has come to its end, with a release."""
        self._let_go(read(self._file))

    def tidy(self, used: Callable[[], Set[str]]) -> None:
        """Removes adapted encoders that are not `used`, names of models, and that wait for no training.

        The inputs of an adaptation that was cut short go too, where that is long ago.
        """
        if not self._settings.adapt_every_days:
            shutil.rmtree(self._place, ignore_errors=True)
        self._forget()
        if not self._adapted.is_dir() or not any(self._adapted.iterdir()):
            return
        kept = {Path(model).name for model in used()} | {read(self._file).pending}
        for folder in self._adapted.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
                log.info("an adapted encoder that no release has is removed", encoder=folder.name)

    def _forget(self) -> None:
        """Gives up an adaptation that was cut short too long ago: clicks must not outlive `history_days`."""
        state = read(self._file)
        days = min(CUT_SHORT_DAYS, self._settings.history_days)
        if state.began_ms and abs(self._wall_ms() - state.began_ms) > days * DAY_MS:  # a clock may go back
            for folder in (self._place / "inputs", self._place / "work"):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # then it is tried again
                write(self._file, State(ended_ms=state.ended_ms))
            log.info("an adaptation that was cut short is given up", days=days)

    def _waiting(self, state: State, base: EncoderChoice) -> Path | None:
        folder = self._adapted / state.pending
        if not state.pending:
            return None
        if state.base != base.model or state.handed >= ATTEMPTS or not folder.is_dir():
            self._let_go(state)
            return None
        write(self._file, msgspec.structs.replace(state, handed=state.handed + 1))
        return folder

    def _let_go(self, state: State) -> None:
        if state.pending:
            state.pending, state.handed = "", 0
            write(self._file, state)

    def _reason(self, state: State, base: EncoderChoice, sketch: Sequence[int]) -> str:
        """Why an adaptation is due; "" where it is not."""
        if state.began_ms and state.base == base.model:
            return "it was cut short"
        if not state.ended_ms:
            return "there was none yet"
        if not state.base:
            return "the one that was cut short was given up"
        if state.base != base.model:
            return f"the encoder is {base.model} now"
        days = (self._wall_ms() - state.ended_ms) / DAY_MS
        if days >= self._settings.adapt_every_days:
            return f"{days:.1f} days since the last one"
        if in_common(state.sketch, sketch) < LEAST_IN_COMMON:
            return "most texts are others than at the last one"
        return ""

    def _made(
        self, state: State, base: EncoderChoice, reason: str, items: Sequence[Item], data: Interactions,
        sketch: list[int],
    ) -> Path | None:  # fmt: skip
        inputs, work = self._place / "inputs", self._place / "work"
        kept = kept_inputs(inputs) if state.began_ms and state.base == base.model else None
        if kept is None:
            keep_inputs(inputs, items, data)
            shutil.rmtree(work, ignore_errors=True)
            state = State(began_ms=self._wall_ms(), base=base.model, sketch=sketch, ended_ms=state.ended_ms)
            kept = list(items), data
        saved_ns = max((path.stat().st_mtime_ns for path in work.glob("*.safetensors")), default=0)
        state.attempts = 1 if saved_ns > state.saved_ns else state.attempts + 1
        state.saved_ns = saved_ns
        if state.attempts > ATTEMPTS:
            raise RuntimeError(f"cut short {ATTEMPTS} times before it came to a checkpoint; is there memory?")
        write(self._file, state)
        log.info(
            "an encoder is adapted", base=base.model, reason=reason, items=len(kept[0]), clicks=len(kept[1])
        )
        with self._measured.training("encoder"):
            adapted = self._adapt(base, *kept, work, name_of_run("encoder", state.began_ms))
        figures = adapted.figures
        log.info("an encoder was adapted", **{name: round(value, 4) for name, value in figures.items()})
        if figures.get("first_6_after", 0.0) <= figures.get("first_6_before", 0.0):
            what = "tells next items no better"
            if "first_6_after" not in figures:
                what = "has too few clicks to be judged by"
            log.info(f"the adapted encoder {what}; the training goes on with the one it has")
            self._end(base, sketch)
            return None
        stamp = name_of_run("adapted", state.began_ms)
        name = f"{find(base).card.name}-{stamp}".replace("/", "-")
        self._adapted.mkdir(exist_ok=True)
        shutil.rmtree(self._adapted / name, ignore_errors=True)
        work.rename(self._adapted / name)
        self._end(base, sketch, pending=name)
        return self._adapted / name

    def _adapt(
        self, base: EncoderChoice, items: Sequence[Item], clicks: Interactions, work: Path, run: str
    ) -> "Adapted":
        import torch

        from learner.text.adaptation.adapt import adapt
        from learner.text.adaptation.options import AdaptationOptions
        from learner.text.cache import TextCache
        from learner.training.crew import trim

        torch.set_num_threads(1)  # the cores are the workers'
        cache = TextCache(self._settings.data_dir / "trainer" / "texts")
        told = 0.0

        def tell(step: int, figures: Mapping[str, float]) -> None:
            nonlocal told
            tracker.log(step, {name: value for name, value in figures.items() if "/" in name})
            if figures.get("share", 0.0) >= told + 0.25:
                told = figures["share"]
                log.info("adapting", step=step, share=round(told, 2))

        options = AdaptationOptions(minutes=self._settings.adapt_minutes)
        clock = either_clock(self._processor_s, self._passed_s)
        try:
            with closing(tracked_or_not(self._settings, run)) as tracker:
                return adapt(base, items, clicks, work, options, tell=tell, cache=cache, clock=clock)
        finally:
            trim()

    def _end(self, base: EncoderChoice, sketch: list[int], pending: str = "") -> None:
        """The adaptation has ended, good or bad: the next one is due in time."""
        ended = State(
            ended_ms=self._wall_ms(),
            base=base.model,
            sketch=sketch,
            pending=pending,
            handed=int(bool(pending)),
        )
        with contextlib.suppress(OSError):  # then it is tried again
            write(self._file, ended)
        for folder in (self._place / "inputs", self._place / "work"):
            shutil.rmtree(folder, ignore_errors=True)


def figures_of(folder: Path) -> dict[str, float]:
    """What the adaptation of a finished encoder found out; nothing where its file cannot be read."""
    try:
        told = msgspec.json.decode((folder / ADAPTED).read_bytes())
        return {str(name): round(float(value), 4) for name, value in told["figures"].items()}
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return {}
