"""`nextclick encoder adapt`: files in, an encoder out that has learned from them, with progress.

Owns the command's words on the screen. The adaptation itself is `learner.text.adaptation.adapt`.
"""

from collections.abc import Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from learner.text.adaptation.options import AdaptationOptions, Task
from learner.text.cache import TextCache
from learner.text.card import EncoderChoice, EncoderError, NotInstalled
from learner.text.content import HASHED
from streams.runtime.progress import Tell, bars
from streams.settings import Settings
from streams.training import encoders
from streams.training.tracking import tracked
from streams.training.train import Recorded

if TYPE_CHECKING:
    from learner.text.adaptation.adapt import Adapted


def run(
    settings: Settings,
    recorded: Recorded,
    model: str | None,
    out: Path,
    options: AdaptationOptions,
    seed: int,
) -> "Adapted":
    """Adapts `model`, or the settings' encoder, and writes the folder `out`.

    Raises EncoderError where there is nothing to adapt, or to learn from, or `out` is something else's.
    """
    if missing := [name for name in ("torch", "peft") if find_spec(name) is None]:
        raise NotInstalled(
            f"adapting needs the extra `learner` ({missing[0]} is missing): pip install 'nextclick[learner]'"
        )
    if recorded.items is None:
        raise EncoderError("adapting needs the items' texts: name their file with --items")
    if model is None and settings.encoder_url is not None:
        raise EncoderError("encoder_url: what others run cannot be adapted; name a model to adapt")
    base = EncoderChoice(model) if model is not None else encoders.chosen(settings) or EncoderChoice()
    if base.model == HASHED:
        raise EncoderError(f"{HASHED}: no model, which could be adapted; name one")
    own = ("adapted.json", "checkpoint.safetensors", ".checkpoint.safetensors.new", ".partial")
    if out.exists() and any(out.iterdir()) and not any((out / name).exists() for name in own):
        raise EncoderError(f"{out} holds something that was not adapted here; name a new folder with --out")
    from learner.text.adaptation.adapt import adapt

    console = Console(stderr=True)
    part, records = recorded.read(seed)
    console.print(f"{len(part):,} events, {len(records):,} items")
    tracker = tracked(settings, f"adapt-{out.resolve().name}")
    with closing(tracker), bars(console) as tell:

        def told(step: int, figures: Mapping[str, float]) -> None:
            _show(tell, step, figures)
            if kept := {name: value for name, value in figures.items() if "/" in name}:
                tracker.log(step, kept)

        adapted = adapt(
            base,
            records,
            part,
            out,
            options,
            seed=seed,
            tell=told,
            cache=TextCache(settings.cache_dir / "texts"),
        )
        tell("adapt", 1.0, f"{adapted.figures['steps']:,.0f} steps")
    return adapted


def options_of(
    given: Mapping[str, Any], tasks: str | None, layers: str | None, passes: str | None
) -> AdaptationOptions:
    """Options from what was typed: those of `given` that are not None, `next=1,category=0.2`, `0,2`, `10,1`.

    Raises EncoderError, which says what was expected.
    """
    wished = {name: value for name, value in given.items() if value is not None}
    if tasks is not None:
        pairs = [each.partition("=") for each in tasks.split(",")]
        try:
            wished["tasks"] = {cast(Task, name.strip()): float(weight or 1) for name, _, weight in pairs}
        except ValueError:
            raise EncoderError(
                f"--tasks: expected NAME=WEIGHT, such as next=1,category=0.2, got {tasks}"
            ) from None
    try:
        if layers is not None:
            wished["layers"] = tuple(int(each) for each in layers.split(","))
        if passes is not None:
            wished["passes"] = tuple(float(each) for each in passes.split(","))
    except ValueError:
        raise EncoderError(
            f"--layers, --passes: expected numbers such as 0,2 and 10,1, got {layers or passes}"
        ) from None
    return AdaptationOptions(**wished)


def _show(tell: Tell, step: int, figures: Mapping[str, float]) -> None:
    """A step on the screen: how far it is, the losses, and the last judgement."""
    if "read" in figures:
        tell("read", figures["read"], "")
        return
    said = [f"{name.removeprefix('loss/')} {value:.3f}" for name, value in figures.items() if "loss/" in name]
    if "valid/first_6" in figures:
        said.append(f"first 6: {figures['valid/first_6']:.3f}")
    tell("adapt", min(figures.get("share", 0.0), 0.999), ", ".join((f"step {step}", *said)))
