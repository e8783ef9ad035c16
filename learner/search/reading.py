"""What a query in plain words was read as: filters, years, words that are not wanted, and what is looked for.

Owns these and how a filter that turns out to leave nothing is given up: the least certain first, and its
words are looked for again. How a query is read is `reader`'s affair. Knows no items and no lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from learner.filters.language import Filter, parse
from learner.search.words import words_of

MOST_CHARACTERS = 1_000  # of a query that are read


@dataclass(frozen=True)
class Part:
    """A thing that is asked of items. said: in the query's words; sure: it can hardly mean anything else."""

    said: str
    filter: dict[str, Any]
    sure: bool = True


@dataclass(frozen=True)
class Reading:
    """What a query says.

    whole: the query as it was written
    text: what is looked for, as it was written; words: the same, plain; also: words that mean the same
    parts: filters that must all hold; `filter` is made of them
    years: first and last year, None for open, where only titles say when items came out
    without: groups of words, of which no item may say all
    dropped: what was taken for a filter and could not be one
    """

    whole: str
    text: str
    words: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    years: tuple[int | None, int | None] | None = None
    without: tuple[tuple[str, ...], ...] = ()
    dropped: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    filter: Filter | None = field(default=None, compare=False)

    @classmethod
    def of(cls, whole: str, text: str, words: Sequence[str], parts: Sequence[Part], **more: Any) -> "Reading":
        """With the filter that the parts make."""
        made = None
        if parts:
            made = parse(parts[0].filter if len(parts) == 1 else {"all": [part.filter for part in parts]})
        return cls(whole, text, tuple(words), tuple(parts), filter=made, **more)

    @property
    def narrows(self) -> bool:
        """Whether it leaves items out."""
        return bool(self.parts or self.years or self.without)

    @property
    def unwanted(self) -> list[str]:
        """Plain words of what no listed item is to be or say."""
        leaves = [leaf for part in self.parts for leaf in part.filter.get("all", [part.filter])]
        values = [leaf["ne"] for leaf in leaves if isinstance(leaf.get("ne"), str)]
        return [word for group in self.without for word in group] + [
            word for value in values for word in words_of(value)
        ]

    def fewer(self) -> "Reading":
        """Without its least certain filter, whose words are looked for again."""
        if not self.parts:  # what is left are words and years
            return Reading.of(
                self.whole, self.whole, words_of(self.whole), (), dropped=(*self.dropped, self.whole)
            )
        unsure = [n for n, part in enumerate(self.parts) if not part.sure]
        gone = unsure[-1] if unsure else len(self.parts) - 1
        left = [part for n, part in enumerate(self.parts) if n != gone]
        said = self.parts[gone].said
        return Reading.of(
            self.whole, f"{self.text} {said}".strip(), [*self.words, *words_of(said)], left, years=self.years,
            without=self.without, dropped=(*self.dropped, said), also=self.also,
        )  # fmt: skip


def unread(query: str) -> Reading:
    """A query of which nothing can be told yet but its words."""
    query = " ".join(query[:MOST_CHARACTERS].split())
    return Reading.of(query, query, words_of(query), ())
