"""What a query in plain words does to its list: which items it leaves, and which of these it is about.

Owns the way from a query that is read to items with their relevance: what it takes for a filter is given up,
part by part, where it leaves nothing; words and meaning are searched and joined. Knows no messages; how
relevance is mixed with what the ranker says is `queries`' business. One list at a time.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from learner.search.joining import DEEP, Found, best_of, joined
from learner.search.reading import Reading, unread
from streams.hot_path.meaning import Meant
from streams.hot_path.wanted import Wanted
from streams.hot_path.world import World

_AGREEING = 100  # of the items that the words are about, of which a filter that was meant leaves some
_ALSO = 0.5  # of a word that means the same as one that was written
_BESIDE = 100_000  # places in texts of words beside a query's own: 1 ms
_NEAR = 0.6  # of the best answer's relevance, from which on others answer as well
_QUICK = 20_000  # items of a catalogue up to which the mask of any filter is made within a round


def mask_of(want: Wanted, world: World) -> NDArray[np.bool_]:
    """Items by number (capacity,) that a list's filters and its query leave, and that may be listed.

    Changes what the query is read as where that leaves nothing and the other filters do.
    """
    assert want.reading is not None
    mask = _mask(want, world)
    while want.reading.narrows and not _leaves_some(mask, want, world):
        want.read_as(want.reading.fewer())
        if (
            world.catalogue.size > _QUICK
            and want.filter is not None
            and not world.steering.masks.ready(want.filter)
        ):
            while want.reading.parts:
                want.read_as(want.reading.fewer())
        mask = _mask(want, world)
    return mask


def _leaves_some(mask: NDArray[np.bool_], want: Wanted, world: World) -> bool:
    """Whether there is something left, and of what the words are about at least one of the best."""
    base = _base(want, world)
    if not mask.any():
        return not base.any()  # it is not the query that leaves nothing
    reading, texts = want.reading, world.steering.texts
    if reading is None or not reading.words or not texts.known:
        return True
    scores = _by_words(reading, world)
    about = best_of(np.flatnonzero((scores > 0) & base[: len(scores)]).astype(np.int32), scores, _AGREEING)
    return not len(about.items) or bool(mask[about.items].any())


def found(want: Wanted, open_: NDArray[np.bool_], world: World) -> Found:
    """The items that a query is about, of those that are open (V,), with their relevance, the best first."""
    assert want.reading is not None
    return search(want.reading, open_, world)


def search(reading: Reading, open_: NDArray[np.bool_], world: World) -> Found:
    """The open items (V,) that a reading is about; none where all of it was a filter."""
    texts = world.steering.texts
    searches: list[Found] = []
    meaning = world.live.meaning
    meant = meaning.read(reading.text) if reading.text else None
    if reading.words and texts.known:
        scores = _by_words(reading, world, {} if meant is None else _near(reading, meant, world))
        items = np.flatnonzero((scores > 0) & open_[: len(scores)]).astype(np.int32)
        searches.append(best_of(items, scores))
        whole = items[texts.saying_all(reading.words)[items]]
        if len(whole):  # counts twice: whatever the others say, here is what was asked for
            searches.append(best_of(whole, scores))
    if meant is not None:
        searches.append(meaning.search(meant, open_, DEEP))
    return joined(searches)


def _near(reading: Reading, meant: Meant, world: World) -> dict[str, float]:
    """Words near to what is looked for, with how near: beside its own, and none of what is not wanted."""
    stems = world.steering.texts.stems
    assert stems is not None
    own = {stems.stem(word) for word in (*reading.words, *reading.also, *reading.unwanted)}
    return world.live.meaning.words(meant, lambda word: stems.stem(word) in own)


def _by_words(
    reading: Reading, world: World, beside: Mapping[str, float] | None = None
) -> NDArray[np.float32]:
    """How much each of the catalogue's items (size,) says of what is looked for, and of words `beside` it."""
    texts = world.steering.texts
    words = texts.numbers_beside(beside or {}, _BESIDE)
    words |= dict.fromkeys(texts.numbers(reading.also), _ALSO)
    return texts.scores(words | texts.numbers(reading.words))


def standing_for(interest: str, open_: NDArray[np.bool_], count: int, world: World) -> NDArray[np.int32]:
    """Up to `count` of the open items (V,) that stand for an interest in words: of the nearest the known.

    The best comes last.
    """
    steering = world.steering
    reading = steering.reading(interest)
    large = world.catalogue.size > _QUICK
    if large and reading.filter is not None and not steering.masks.ready(reading.filter):
        reading = unread(interest)  # nobody waits for a mask of what is only meant to help
    if not reading.text:  # a category, say: any of its items
        steering.masks.follow()
        want = Wanted(steering.usual(world.policy), world.policy, count, count)
        want.read_as(reading)
        open_ = open_ & mask_of(want, world)[: len(open_)]
        reading = want.reading or reading
    known = world.signals.popularity[:, world.live.release.model.popular].astype(np.float32)
    if reading.text:
        about = search(reading, open_, world)
        near = about.items[about.relevance >= _NEAR * about.relevance.max(initial=0.0)]
    else:
        near = np.flatnonzero(open_).astype(np.int32)
    return best_of(near, known, count).items[::-1]


def _mask(want: Wanted, world: World) -> NDArray[np.bool_]:
    reading = want.reading
    assert reading is not None
    mask = _base(want, world) if want.filter is want.given else world.steering.mask(want.filter)  # type: ignore[arg-type]
    if not (reading.years or reading.without):
        return mask
    mask = mask.copy()
    if reading.years:
        first, last = reading.years
        published = world.catalogue.published
        with np.errstate(invalid="ignore"):  # nan where nobody knows
            mask &= published >= (0 if first is None else first)
            if last is not None:
                mask &= published < last + 1
    for words in reading.without:
        mask[world.steering.texts.saying(words)] = False
    return mask


def _base(want: Wanted, world: World) -> NDArray[np.bool_]:
    return world.catalogue.available if want.given is None else world.steering.mask(want.given)
