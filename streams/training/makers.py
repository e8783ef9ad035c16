"""What makes a candidate: a full training, or a refresh of the live release's ranker.

Owns what a new release keeps of the live one. That is the text encoder (its content vectors stay
comparable), whether items repeat, and the settings of the signals, which run on while releases change.
Torch is imported when the first candidate is made. The trainer decides when; it knows no models.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.release.bundle import ReleaseError
from learner.release.files import read_release
from learner.text.card import EncoderError
from streams.settings import Settings
from streams.training import encoders

if TYPE_CHECKING:
    from learner.models.run import Note
    from learner.release.bundle import Bundle
    from learner.text.cache import TextCache
    from learner.text.content import ContentEncoder
    from learner.text.encoder import Encoder

log = structlog.get_logger()

Kind = Literal["full", "ranker"]
QUICK = "quick"  # in a manifest's `training`: made in haste, to begin with


class Make(Protocol):
    """Makes a bundle."""

    def __call__(
        self, settings: Settings, data: Interactions, items: Sequence[Item], live: Path | None, out: Path,
        noted: "Note | None",
    ) -> str:  # fmt: skip
        """Writes a release to `out` and returns its id; `live` is the folder of the live release.

        `data` in order of time, `items` those that the release shall hold; `noted` is told of curves. Raises
        ReleaseError where it cannot be made from this live release.
        """


def training(
    settings: Settings, data: Interactions, items: Sequence[Item], live: Path | None, out: Path,
    noted: "Note | None" = None,
) -> str:  # fmt: skip
    """Trains everything anew within the time budget."""
    from learner.signals.settings import SignalSettings
    from learner.training.options import TrainingOptions
    from learner.training.train import train_release
    from streams.recorded.collecting import collect

    cache = _texts(settings)
    choice, reader = encoders.chosen(settings), encoders.text_server(settings)
    encoder, repeats = None, {"yes": True, "no": False}.get(settings.repeat_consumption)
    signals = SignalSettings()  # a learner without a release counts by these, and goes on so with the first
    if live is not None:
        bundle = read_release(live)
        manifest = bundle.manifest
        if encoders.keeps(manifest.encoder, choice, reader, adapts=settings.adapt_every_days > 0):
            encoder = _encoder(bundle, cache, reader)
        signals = SignalSettings.from_dict(manifest.signals)
        repeats = manifest.repeat_consumption if repeats is None else repeats
    done: dict[str, Any] = {}

    def progress(step: str, share: float, text: str) -> None:
        if share == 1.0 and step not in done:
            done[step] = text
            log.info("training", step=step, result=text)

    options = TrainingOptions(
        budget_minutes=settings.train_minutes, repeat_consumption=repeats, encoder=encoder,
        choice=choice, reader=reader, cache=cache,
        signals=signals, event_weights=settings.event_weights, noted=noted,
        # At the lowest priority the wall clock says little about what training has had.
        clock=time.process_time,
    )  # fmt: skip
    release = train_release(data, items, out, collect, options, progress)
    if reader is not None:
        log.info("texts read at an address", url=settings.encoder_url, spent=str(reader.spent))
    return release


def refreshing(
    settings: Settings, data: Interactions, items: Sequence[Item], live: Path | None, out: Path,
    noted: "Note | None" = None,  # noqa: ARG001 (it takes seconds)
) -> str:  # fmt: skip
    """Lets the live release's ranker learn from lists that were answered since its student was trained."""
    from learner.training.refresh import refresh_release
    from streams.recorded.collecting import collect

    if live is None:
        raise ReleaseError("nothing is live, so there is no ranker to refresh")
    bundle = read_release(live)
    try:
        reader = encoders.text_server(settings)
    except EncoderError as error:  # only new items need it, and they can be glanced at
        log.warning("texts of new items are read word by word", error=str(error))
        reader = None
    encoder = _encoder(bundle, _texts(settings), reader)
    return refresh_release(
        bundle, data, items, out, collect, encoder=encoder, event_weights=settings.event_weights
    )


MAKERS: Mapping[Kind, Make] = {"full": training, "ranker": refreshing}


def _encoder(bundle: "Bundle", cache: "TextCache", reader: "Encoder | None") -> "ContentEncoder":
    from learner.text.content import ContentEncoder

    return ContentEncoder.load(
        bundle.manifest.encoder, bundle.arrays.encoder, cache=cache, reader=reader,
        folder=bundle.query_encoder,
    )  # fmt: skip


def _texts(settings: Settings) -> "TextCache":
    from learner.text.cache import TextCache

    return TextCache(settings.data_dir / "trainer" / "texts")
