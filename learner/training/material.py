"""What all models of a release are trained from.

Owns the numbering of items for one training (rows) and the settings chosen from the data. Does not know how
long anything takes. Free of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.event_weights import weights_by_kind
from learner.data.inputs import INTEREST_KINDS
from learner.models.item_content import ItemContent
from learner.release.text_vectors import TextVectors
from learner.release.word_vectors import WordVectors, most_words
from learner.search.vocabulary import words_most_said
from learner.signals.settings import SignalSettings
from learner.text.cache import TextCache
from learner.text.card import ADDRESS
from learner.text.content import DIMENSIONS, HASHED, READ_AT_MOST, ContentEncoder, card_for, text_of
from learner.text.reading import within
from learner.training.options import TrainingOptions
from learner.training.tuning import Tuning, tune

FOREVER_MS = 1e15  # 30,000 years: pairs that do not fade, as a number that JSON has


@dataclass(frozen=True)
class Material:
    """Clicks in order, content and settings; items are rows, the same as numbers in `catalogue`."""

    data: Interactions
    catalogue: Catalogue
    records: list[Item]
    content: ItemContent
    texts: TextVectors
    words: WordVectors
    encoder: ContentEncoder
    scale: dict[str, tuple[float, float]]
    repeats: bool
    signals: SignalSettings
    tuning: Tuning

    @property
    def event_weights(self) -> tuple[float, ...]:
        """How much events count (K,), by the code of their kind."""
        return tuple(weights_by_kind(self.signals.event_weights).tolist())


def prepare(
    data: Interactions, items: Sequence[Item], options: TrainingOptions, read: int | None = None
) -> Material:
    """Order the clicks, number the items as they come, encode their content and choose settings.

    Texts of the `read` most clicked items are read in full, and more where the cache has them, and an encoder
    is fitted to them where none is given (None: as many as it likes); the others' are only glanced at. Where
    signals run already, they are what the models will see; else it is chosen how fast pairs fade.
    """
    seed, encoder, signals = options.seed, options.encoder, options.signals
    in_order = bool((np.diff(data.time_ms) >= 0).all())  # then ties have been broken already
    ordered = _clicked_only(data if in_order else data.in_order(seed))
    catalogue = Catalogue()
    for item_id in ordered.item_ids:
        catalogue.intern(item_id)
    for item in items:
        catalogue.admit(item)
    size = catalogue.size
    known = [catalogue.records.get(number) or Item(item_id=catalogue.ids[number]) for number in range(size)]
    order = _most_clicked_first(ordered, size)
    in_full = read
    if read is not None:
        card = encoder.card if encoder is not None else card_for(options.choice, options.reader)
        texts = [text_of(known[number]) for number in order[: max(read, READ_AT_MOST)]]
        in_full = within(card, texts, read, options.cache)
    first, rest = order[:in_full], order[in_full:]
    if encoder is None:
        encoder = ContentEncoder.fit(
            [known[number] for number in first],
            cache=options.cache,
            choice=options.choice,
            reader=options.reader,
        )
    text = np.zeros((size, DIMENSIONS), np.float32)
    text[first] = encoder.encode([known[number] for number in first])
    said = TextVectors.of(first.astype(np.int32), encoder.said([known[number] for number in first]))
    words = _words([known[number] for number in first], encoder, read, options.cache)
    text[rest] = encoder.glance([text_of(known[number]) for number in rest])
    content = ItemContent(text, catalogue.categories[:size].copy())
    repeats = options.repeat_consumption
    repeats = ordered.repeats() if repeats is None else repeats
    running = signals or SignalSettings()
    if options.event_weights is not None:
        running = replace(running, event_weights=options.event_weights)
    weights = weights_by_kind(running.event_weights).tolist()
    tuning = tune(ordered, len(ordered), size, running.half_lives_ms, repeats=repeats, weights=weights)
    if signals is None:
        running = replace(running, pair_half_life_ms=min(tuning.pair_half_life_ms, FOREVER_MS))
    scale = ordered.value_scale()
    return Material(ordered, catalogue, known, content, said, words, encoder, scale, repeats, running, tuning)


def _words(
    items: Sequence[Item], encoder: ContentEncoder, read: int | None, cache: TextCache | None
) -> WordVectors:
    """What the encoder makes of the words that items say most, for queries that mean one of these.

    Where `read` texts may be read anew, as many words may: they are short, and take a fourth of the time.
    None where no worker will read a query with this encoder.
    """
    if encoder.name == HASHED or encoder.card.source.startswith(ADDRESS) or not encoder.can_read():
        return WordVectors.of([], np.zeros((0, encoder.card.width), np.float32))
    words = words_most_said(items, most_words(encoder.card.width))
    if read is not None:
        words = words[: within(encoder.card, words, read, cache)]
    return WordVectors.of(words, encoder.rows(words))


def _most_clicked_first(data: Interactions, items: int) -> NDArray[np.int64]:
    """Item rows (items,), most clicked first, ties in their order."""
    clicks = np.bincount(data.item[INTEREST_KINDS[data.kind]], minlength=items)
    return np.argsort(-clicks, kind="stable")


def _clicked_only(data: Interactions) -> Interactions:
    """The same events, items numbered by first appearance; ids that only later events bring are dropped.

    A part of a longer stream still carries the ids of all of it, and an item that nobody has clicked or
    announced yet must not be in the release.
    """
    numbers, first = np.unique(data.item, return_index=True)
    order = numbers[np.argsort(first, kind="stable")]
    renumbered = np.zeros(len(data.item_ids), np.int32)
    renumbered[order] = np.arange(len(order), dtype=np.int32)
    return replace(data, item=renumbered[data.item], item_ids=[data.item_ids[number] for number in order])
