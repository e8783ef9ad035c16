"""`nextclick encoder`: which encoders there are, texts to vectors, and several encoders on one data set.

Owns what these commands find out; their words on the screen are `streams.cli.encoder`'s.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learner.data.dataset import Interactions
from learner.data.pair import read_pair
from learner.judging.next_by_text import NextByText, Pairs, neighbours_in_common, next_by_text, pairs_of
from learner.text.cache import FILE, TextCache
from learner.text.card import DEFAULT_MODEL, EncoderCard, EncoderChoice, EncoderError
from learner.text.content import HASHED, HASHED_CARD, ContentEncoder, text_of
from learner.text.encoder import Encoder, open_encoder
from learner.text.pretrained import ADAPTED, find
from learner.text.query_encoder import GRAPH, QueryEncoder, card_in
from streams.releases.store import ReleaseStore
from streams.settings import Settings
from streams.training.encoders import chosen, text_server

_TIMED = 200  # texts that are read one at a time
_LEAST_PAIRS = 100  # that an adapted encoder has not learned from; fewer say nothing
_UNKNOWN_MS = 2**62  # how far its clicks reach is not said


@dataclass(frozen=True)
class Listed:
    """An encoder that can be used, or is in use. `where`: how to name it; `state`: what is known of it."""

    name: str
    where: str
    state: str
    card: EncoderCard | None = None

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        card = None if self.card is None else {name: getattr(self.card, name) for name in _SHOWN}
        return asdict(self) | {"card": card}


_SHOWN = (
    "name", "licence", "source", "model", "identity", "width", "pooling", "item_prompt", "query_prompt",
    "adapted_from",
)  # fmt: skip


def listed(settings: Settings) -> Iterator[Listed]:
    """The encoders that settings, packages, the hub's cache and releases have. No network is asked."""
    wish = chosen(settings)
    if settings.encoder_url is not None:
        yield Listed(settings.encoder_model or "", settings.encoder_url, "chosen by the settings, an address")
    for choice in dict.fromkeys((wish or EncoderChoice(), EncoderChoice())):
        why = "chosen by the settings" if choice == wish else "the default"
        try:
            card = HASHED_CARD if choice.model == HASHED else find(choice, offline=True).card
        except EncoderError as error:
            yield Listed(choice.model, choice.model, f"{why}, cannot be used: {error}")
        else:
            yield Listed(card.name, choice.model, why + _origin(card), card)
    for name in _in_hub_cache():
        yield Listed(name, name, "in the hub's cache")
    yield Listed(HASHED, HASHED, "always there: no model")
    for folder in _exported(settings):
        if (written := card_in(folder)) is not None:
            yield Listed(written.name, str(folder), "exported for workers" + _origin(written), written)
    store = ReleaseStore(settings.store_url)
    for release in store.releases():
        manifest = store.manifest(release)
        carried = "carries" if GRAPH in manifest.files else "was made with"
        card = manifest.encoder
        yield Listed(card.name, release, f"a release that {carried} it{_origin(card)}", card)


def _origin(card: EncoderCard) -> str:
    return f", adapted from {card.adapted_from}" if card.adapted_from else ""


def kept(settings: Settings) -> list[tuple[Path, int]]:
    """Files of texts that were read, and how many rows each has."""
    found = [(folder / FILE, TextCache(folder).count()) for folder in _caches(settings)]
    return [(path, rows) for path, rows in found if rows]


def opened(settings: Settings, model: str | None) -> Encoder:
    """An encoder by its name, by a folder that was exported, or by the settings. Raises EncoderError."""
    if model is not None and card_in(Path(model)) is not None:
        return QueryEncoder.open(Path(model))
    if model is None:
        if (reader := text_server(settings)) is not None:
            return reader
        return open_encoder(chosen(settings) or EncoderChoice())
    return open_encoder(EncoderChoice(model))


@dataclass(frozen=True)
class Compared:
    """One encoder on one data set.

    megabytes: of its weights; ms: of a text, one at a time, the median; seconds: for all texts that were not
    kept; agreement: share of each item's nearest ten that the first encoder sees too; taught: it is judged by
    clicks that it learned from
    """

    name: str
    width: int
    megabytes: float
    ms: float
    seconds: float
    judged: NextByText
    agreement: float
    taught: bool = False
    spent: str = ""

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(
    settings: Settings, models: Sequence[str], interactions: Path, items: Path, columns: str | None, *,
    seed: int = 0, told: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Compared]:  # fmt: skip
    """Each of `models`, or the settings' where there are none, by how well texts tell the next item.

    All by the same pairs: of clicks that none of them has learned from, where these are enough.
    Raises EncoderError where one cannot be had.
    """
    events, records = read_pair(interactions, items, columns)
    texts = _texts(events, {item.item_id: text_of(item) for item in records})
    cache = TextCache(settings.cache_dir / "texts")
    first: NDArray[np.float32] | None = None
    names: Sequence[str | None] = models or [None]
    taught_ms = {name: _taught_ms(settings, name) for name in names}
    pairs, unseen = _pairs(events, seed, max(taught_ms.values()), told)
    for model in names:
        told(f"{model or 'the settings'}: {len(texts):,} texts")
        reader = None if model == HASHED else opened(settings, model)
        card = HASHED_CARD if reader is None else reader.card
        unprojected = np.zeros(card.width, np.float32), np.zeros((0, 0), np.float32)
        encoder = ContentEncoder(card, *unprojected, cache=cache, reader=reader)
        begun = clock()
        rows = np.zeros((len(texts), card.width), np.float32)
        said = [place for place, text in enumerate(texts) if text]
        rows[said] = encoder.rows([texts[place] for place in said])
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        seconds = clock() - begun
        first = rows if first is None else first
        yield Compared(
            model or card.name, card.width, _megabytes(model, card), _one_at_a_time(reader, texts, clock),
            seconds, next_by_text(rows, pairs), neighbours_in_common(first, rows, seed),
            taught_ms[model] > 0 and not unseen, str(getattr(reader, "spent", "")),
        )  # fmt: skip


def _pairs(
    events: Interactions, seed: int, taught_ms: int, told: Callable[[str], None]
) -> tuple[Pairs, bool]:
    """Pairs to judge by, and whether none of the encoders has learned from them."""
    if not taught_ms:
        return pairs_of(events, seed), True
    pairs = pairs_of(events, seed, after_ms=taught_ms)
    if len(pairs.last) >= _LEAST_PAIRS:
        told(f"judged by the {len(pairs.last):,} pairs after the clicks that an encoder here was adapted to")
        return pairs, True
    told(
        f"{len(pairs.last):,} pairs came after the clicks that an encoder here was adapted to, too few: "
        "its figure is one of its own training; keep newer clicks back, with `encoder adapt --to 0.25`"
    )
    return pairs_of(events, seed), False


def _taught_ms(settings: Settings, model: str | None) -> int:
    """When the newest click came that an encoder was adapted to; 0 where it was not adapted."""
    name = model or (chosen(settings) or EncoderChoice()).model
    folder = Path(name).expanduser()
    try:
        return int(json.loads((folder / ADAPTED).read_bytes()).get("last_ms") or _UNKNOWN_MS)
    except FileNotFoundError:
        written = card_in(folder)
        return _UNKNOWN_MS if written is not None and written.adapted_from else 0
    except (OSError, ValueError, TypeError, AttributeError):
        return _UNKNOWN_MS


def _texts(events: Interactions, said: dict[str, str]) -> list[str]:
    """By the numbers of the events' items."""
    return [said.get(name, "") for name in events.item_ids]


def _one_at_a_time(reader: Encoder | None, texts: Sequence[str], clock: Callable[[], float]) -> float:
    if reader is None:
        return 0.0
    took = []
    for text in [text for text in texts if text][:_TIMED]:
        begun = clock()
        reader.read([text], query=True)
        took.append(clock() - begun)
    return 1000 * float(np.median(took)) if took else 0.0


def _megabytes(model: str | None, card: EncoderCard) -> float:
    if model is not None and card_in(Path(model)) is not None:
        return (Path(model) / GRAPH).stat().st_size / 1e6
    if card.name == HASHED or card.source.startswith("address"):
        return 0.0
    found = find(EncoderChoice(card.model or DEFAULT_MODEL))
    return sum(path.stat().st_size for path in found.weight_files()) / 1e6


def _in_hub_cache() -> list[str]:
    """Names of models in the hub's cache that have weights which are read."""
    try:
        from huggingface_hub import scan_cache_dir

        return sorted(
            repo.repo_id for repo in scan_cache_dir().repos
            if repo.repo_type == "model"
            and any(f.file_name.endswith(".safetensors") for r in repo.revisions for f in r.files)
        )  # fmt: skip
    except Exception:  # not installed, no cache, one that cannot be read
        return []


def _exported(settings: Settings) -> list[Path]:
    places = [folder / "encoders" for folder in _caches(settings)]
    return sorted({path.resolve() for folder in places if folder.is_dir() for path in folder.iterdir()})


def _caches(settings: Settings) -> tuple[Path, ...]:
    """Folders in which trainings keep what they have read."""
    return settings.cache_dir / "texts", settings.data_dir / "trainer" / "texts"
