"""What is taught: which texts go together, what is held back, what may not be seen."""

from dataclasses import replace

import numpy as np
import pytest

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.text.adaptation.lessons import lessons_of, together
from learner.text.adaptation.options import AdaptationOptions
from learner.text.adaptation.ratings import Ratings
from learner.text.card import EncoderError

OPTIONS = AdaptationOptions()


def clicks(
    user: list[int], item: list[int], names: list[str], value: list[float] | None = None
) -> Interactions:
    n = len(user)
    return Interactions(
        np.array(user, np.int32), np.array(item, np.int32), np.arange(n, dtype=np.int64),
        np.full(n, Kind.CLICK, np.uint8), np.array(value or [np.nan] * n, np.float32), np.zeros(n, np.int32),
        np.zeros(n, np.int32), [f"u{u}" for u in range(max(user) + 1)], names, [None],
    )  # fmt: skip


def drawn(count: int = 3000, users: int = 20, items: int = 30) -> tuple[Interactions, list[Item]]:
    rng = np.random.default_rng(0)
    names = [f"i{n}" for n in range(items)]
    made = clicks(rng.integers(0, users, count).tolist(), rng.integers(0, items, count).tolist(), names)
    kinds = [["odd" if n % 2 else "even", "all"] for n in range(items)]
    return made, [Item(item_id=name, title=f"title {n}", categories=kinds[n]) for n, name in enumerate(names)]


def test_pairs_count_by_the_inverse_of_their_distance_both_ways() -> None:
    # One user: 0 1 2; another: 1 0. Pairs: 0-1 (1), 1-2 (1), 0-2 (1/2), 1-0 (1).
    found = together(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 1, 0]), 4, window=2)
    weights = {
        (t, int(found.other[at])): float(found.weight[at])
        for t in range(4) for at in range(found.begin[t], found.begin[t + 1])
    }  # fmt: skip
    assert weights == pytest.approx(
        {(0, 1): 0.8, (0, 2): 0.2, (1, 0): 2 / 3, (1, 2): 1 / 3, (2, 1): 2 / 3, (2, 0): 1 / 3}
    )
    assert found.share.tolist() == pytest.approx([2.5 / 7, 3 / 7, 1.5 / 7, 0.0])


def test_what_is_held_back_teaches_nothing() -> None:
    made, items = drawn()
    before = lessons_of(items, made, OPTIONS, 0)
    later = made.time_ms >= 2700
    other = np.where(later, (made.item + 7) % 30, made.item).astype(np.int32)
    after = lessons_of(items, replace(made, item=other), OPTIONS, 0)
    assert before.judge is not None
    assert after.judge is not None
    assert not np.array_equal(before.judge.next, after.judge.next)
    text = [before.texts[number] for number in before.text]
    assert text == [after.texts[number] for number in after.text]
    assert len(text) == 2700
    assert before.texts[: before.clicked] == after.texts[: after.clicked]


def test_items_of_one_text_are_one_and_those_without_are_none() -> None:
    made, items = drawn()
    items[1] = Item(item_id="i1", title="title 0", categories=["even", "all"])
    del items[5]
    found = lessons_of([*items, Item(item_id="new", title="nobody's")], made, OPTIONS, 0)
    assert len(found.texts) == 29
    assert found.clicked == 28
    assert found.texts[-1] == "nobody's"
    assert found.categories.shape[1] == 3  # "all" is not of the new one
    assert sum(each.startswith("title 0.") for each in found.texts) == 1


def test_the_texts_clicked_most_are_taken() -> None:
    made, items = drawn()
    found = lessons_of(items, made, replace(OPTIONS, texts=20), 0)
    count = np.bincount(made.item[:2700], minlength=30)
    assert len(found.texts) == 20
    assert found.texts[0].startswith(f"title {int(count.argmax())}.")
    assert found.text.max() < 20


def test_too_little_is_refused() -> None:
    made, items = drawn(40)
    with pytest.raises(EncoderError, match="at least 50 clicks on items with a text, got 36"):
        lessons_of(items, made, OPTIONS, 0)
    made, _ = drawn()
    with pytest.raises(EncoderError, match="got 0"):
        lessons_of([], made, OPTIONS, 0)


def test_ratings_are_seen_from_their_users_mean() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 50)
    text = rng.integers(0, 25, 2000)
    value = (user % 5 + (text % 2) * 2).astype(np.float32)  # who is generous says nothing of a text
    found = Ratings.of(user, text, value, 25)
    assert found is not None
    which, rated, other, weight = found.drawn(np.arange(25), rng)
    assert which.tolist() == list(range(25))
    assert (rated[1::2] > 0).all()
    assert (rated[::2] < 0).all()
    assert other.shape == weight.shape == (25, 12)
    assert not weight[other == which[:, None]].any()
    assert Ratings.of(user, text, np.full(2000, 3.0, np.float32), 25) is None
    assert Ratings.of(user, text, np.full(2000, np.nan, np.float32), 25) is None


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong, said in (
        ({"layers": ()}, "layers"), ({"tasks": {"nxt": 1.0}}, "got nxt"), ({"minutes": 0}, "minutes"),
        ({"dropout": 1.0}, "dropout: expected at most 0.9"), ({"tasks": {"next": -1.0}}, "next=-1"),
        ({"passes": (0,)}, "nothing"), ({"layers": (0,), "passes": (1, 2)}, "for each of layers"),
    ):  # fmt: skip
        with pytest.raises(EncoderError, match=said):
            AdaptationOptions(**wrong)  # type: ignore[arg-type]
