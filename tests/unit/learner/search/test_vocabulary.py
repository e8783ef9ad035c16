"""The words that a catalogue says: one for each stem, in its usual form, those of the most items first."""

from learner.data.catalogue import Item
from learner.search.vocabulary import words_most_said


def item(number: int, title: str, **more: object) -> Item:
    return Item(item_id=f"i{number}", title=title, **more)  # type: ignore[arg-type]


def test_each_stem_has_its_usual_form_and_the_most_said_come_first() -> None:
    titles = ["Robots at war", "Robots and robots", "A robot, Wärme and war"]
    items = [item(number, title) for number, title in enumerate(titles)]
    assert words_most_said(items, 10) == ["robots", "war", "warme"]
    assert words_most_said(items, 1) == ["robots"]


def test_words_without_a_subject_numbers_and_scraps_are_left_out() -> None:
    assert words_most_said([item(0, "The 1984 of B2B and us")], 10) == []
    assert words_most_said([], 10) == []
    assert words_most_said([item(0, "A good movie, 映画館")], 10) == []


def test_every_field_that_is_searched_has_words() -> None:
    attributes = {"brand": "Lipton", "ml": 200}
    some = item(0, "Tea", categories=["Drinks"], description="green", attributes=attributes)
    assert sorted(words_most_said([some], 10)) == ["drinks", "green", "lipton", "tea"]
