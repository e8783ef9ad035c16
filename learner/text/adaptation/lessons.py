"""What clicks teach an encoder: which texts are clicked together, how they are rated, of which kind they are.

Owns the numbering of the different texts, the pairs, and the clicks held back to judge by. Nothing after the
last click is seen, and of the clicks held back nothing is taught. Free of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.inputs import INTEREST_KINDS
from learner.judging.next_by_text import Pairs
from learner.text.adaptation.options import AdaptationOptions
from learner.text.card import EncoderError
from learner.text.content import text_of

LEAST_CLICKS = 50  # to learn from; fewer say nothing that a text does not
_JUDGED_PAIRS, _LEAST_PAIRS = 2_000, 100
_OTHERS = 100
_LEAST_OF_CATEGORY, _MOST_CATEGORIES = 5, 500


@dataclass(frozen=True, eq=False)
class Together:
    """What is clicked together, T texts: of text t the others `other[begin[t]:begin[t + 1]]`.

    begin (T + 1,) int64; other (n,) int64; weight (n,) float32, those of a text add up to 1;
    share (T,) float32: of all pairs that a text has
    """

    begin: NDArray[np.int64]
    other: NDArray[np.int64]
    weight: NDArray[np.float32]
    share: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Lessons:
    """T texts, those clicked most first, and what is taught of them.

    clicked: so many of them were, the others are texts alone
    user, text (n,) int64: clicks that teach, in order of time; value (n,) float32, nan where there is none
    categories (T, C) bool: without a column where items have none
    judge: pairs of texts in the clicks held back; None where they are too few
    """

    texts: list[str]
    clicked: int
    user: NDArray[np.int64]
    text: NDArray[np.int64]
    value: NDArray[np.float32]
    together: Together
    categories: NDArray[np.bool_]
    judge: Pairs | None


def lessons_of(items: Sequence[Item], clicks: Interactions, options: AdaptationOptions, seed: int) -> Lessons:
    """Raises EncoderError where there are no texts, or too few clicks on items that have one."""
    said = {item.item_id: item for item in items}
    names = list(dict.fromkeys([*clicks.item_ids, *said]))
    words = [text_of(said[name]) if name in said else "" for name in names]
    ordered = clicks.in_order(seed)
    ordered = ordered.at(np.flatnonzero(INTEREST_KINDS[ordered.kind]))
    numbers = {text: number for number, text in enumerate(dict.fromkeys(filter(None, words)))}
    of_item = np.array([numbers.get(text, -1) for text in words], np.int64)
    ordered = ordered.at(np.flatnonzero(of_item[ordered.item] >= 0))
    teaching, held = ordered.split(1 - options.held_back)
    if len(teaching) < LEAST_CLICKS:
        raise EncoderError(
            f"expected at least {LEAST_CLICKS} clicks on items with a text, got {len(teaching)}: "
            "give the items' texts, or more clicks"
        )
    count = np.bincount(of_item[teaching.item], minlength=len(numbers)).astype(np.float64)
    count[of_item[held.item]] += 0.5  # behind all that teach, before those that nobody clicked
    kept = np.argsort(-count, kind="stable")[: options.texts]
    place = np.full(len(numbers), -1, np.int64)
    place[kept] = np.arange(len(kept))
    by_number = list(numbers)
    of_item = np.where(of_item >= 0, place[of_item], -1)
    teaching = teaching.at(np.flatnonzero(of_item[teaching.item] >= 0))
    user, text = teaching.user.astype(np.int64), of_item[teaching.item]
    return Lessons(
        [by_number[number] for number in kept], int((count[kept] > 0).sum()), user, text, teaching.value,
        together(user, text, len(kept), options.window),
        _categories([said.get(name) for name in names], of_item, len(kept)),
        _judge(held.user, of_item[held.item], seed),
    )  # fmt: skip


def together(user: NDArray[np.int64], text: NDArray[np.int64], texts: int, window: int) -> Together:
    """Pairs of a user's clicks up to `window` apart, both ways, weighted by the inverse of their distance."""
    by_user = np.argsort(user, kind="stable")
    user, text = user[by_user], text[by_user]
    keys, weights = [], []
    for gap in range(1, window + 1):
        first, second = text[:-gap], text[gap:]
        same = np.flatnonzero((user[gap:] == user[:-gap]) & (first != second))
        first, second = first[same], second[same]
        keys += [first * texts + second, second * texts + first]
        weights += [np.full(len(same), 1 / gap)] * 2
    pair, place = np.unique(np.concatenate(keys), return_inverse=True)
    weight = np.bincount(place, np.concatenate(weights), minlength=len(pair))
    of, other = np.divmod(pair, texts)
    begin = np.searchsorted(of, np.arange(texts + 1))
    total = np.bincount(of, weight, minlength=texts)
    share = np.bincount(other, weight, minlength=texts) / max(weight.sum(), 1e-9)
    return Together(begin, other, (weight / total[of]).astype(np.float32), share.astype(np.float32))


def _judge(user: NDArray[np.int32], text: NDArray[np.int64], seed: int) -> Pairs | None:
    """Pairs of consecutive clicks; the others are drawn among the next ones, so that few texts are read."""
    user, text = user[text >= 0], text[text >= 0]
    by_user = np.argsort(user, kind="stable")
    user, text = user[by_user], text[by_user].astype(np.int32)
    follows = np.flatnonzero((user[1:] == user[:-1]) & (text[1:] != text[:-1]))
    if len(follows) < _LEAST_PAIRS:
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(follows)[:_JUDGED_PAIRS])
    following = text[chosen + 1]
    others = rng.choice(following, (len(chosen), _OTHERS))
    return Pairs(text[chosen], following, user[chosen], others)


def _categories(items: Sequence[Item | None], of_item: NDArray[np.int64], texts: int) -> NDArray[np.bool_]:
    """(T, C): the categories that enough texts have, and not all; the commonest ones."""
    own = [(text, item.categories) for text, item in zip(of_item.tolist(), items, strict=True) if item]
    pairs = {(text, name) for text, names in own if text >= 0 for name in names}
    count: dict[str, int] = {}
    for _, name in pairs:
        count[name] = count.get(name, 0) + 1
    common = sorted(
        (name for name, n in count.items() if n >= _LEAST_OF_CATEGORY), key=lambda n: (-count[n], n)
    )
    column = {name: place for place, name in enumerate(common[:_MOST_CATEGORIES])}
    found = np.zeros((texts, len(column)), np.bool_)
    for text, name in pairs:
        if name in column:
            found[text, column[name]] = True
    return found[:, ~found.all(axis=0)]
