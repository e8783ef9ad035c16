"""Reads a query in plain words against a catalogue: which of it is a filter, and which words are looked for.

Owns what is taken for a filter, and the care about it: only where the catalogue has the field; never within
an item's title; a category only where the query says nothing else or says "for". Numbers and years are
`limits`' grammar. Knows no lists.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from learner.data.catalogue import Catalogue
from learner.filters.language import FilterError
from learner.search.facets import MOST_WORDS, Facets
from learner.search.lexicon import alike, is_article, is_kind, phrases
from learner.search.limits import Limit, limits_in, moment_ms
from learner.search.reading import MOST_CHARACTERS, Part, Reading
from learner.search.texts import Texts
from learner.search.words import Stems, plain, words_of

_MOST_PARTS = 16  # filters that a query is taken for
_FEWEST = 10  # items that a filter must leave which nobody asked for in so many words
_YEARS = ("year", "release_year", "released", "publication_year", "year_published", "model_year", "vintage")
_BRANDS = ("brand", "manufacturer", "maker", "vendor", "label", "publisher", "author", "artist", "director")
_DATED = 0.1  # share of items that must say when they came out
# Of the items that say a brand's words, those of the brand: where fewer are, they mean something else, too.
_OWN_WORD = 0.8
_UNITS = {
    "minute": ("runtime", "duration", "minutes"), "minutes": ("runtime", "duration", "minutes"),
    "min": ("runtime", "duration", "minutes"), "star": ("rating", "stars"), "stars": ("rating", "stars"),
}  # fmt: skip
_SEPARATORS = frozenset(("and", "or", "nor", "und", "oder", "et", "ou", "y", "o"))


def read(query: str, texts: Texts, catalogue: Catalogue) -> Reading:
    """Reads a query against what the catalogue says; `texts.follow()` must have been True."""
    query = " ".join(query[:MOST_CHARACTERS].split())
    assert texts.stems is not None
    assert texts.facets is not None
    return _Reader(query, texts, texts.stems, texts.facets, catalogue).read()


class _Token:
    """A word of the query: as written, plain, its stem, where it stands, and what has become of it."""

    __slots__ = ("begin", "end", "plain", "stem", "used")

    def __init__(self, plain_: str, stem: str, begin: int, end: int) -> None:
        self.plain, self.stem, self.begin, self.end = plain_, stem, begin, end
        self.used = False


class _Reader:
    def __init__(self, query: str, texts: Texts, stems: Stems, facets: Facets, catalogue: Catalogue) -> None:
        self._query, self._plain = query, plain(query)
        self._texts, self._stems, self._facets, self._catalogue = texts, stems, facets, catalogue
        self._tokens = list(self._split())
        self._parts: list[Part] = []
        self._years: tuple[int | None, int | None] | None = None
        self._without: list[tuple[str, ...]] = []
        self._dropped: list[str] = []

    def read(self) -> Reading:
        limits = limits_in(self._plain, self._stems.language) if len(self._plain) == len(self._query) else []
        titled = self._titled()
        for limit in limits:
            if not any(begin < limit.end and limit.begin < end for begin, end in titled):
                self._limit(limit)
        self._unwanted(titled)
        self._intended(titled)
        self._brands(titled)
        self._categories(titled)
        left = [token for token in self._tokens if not token.used]
        words = self._stems.telling(token.plain for token in left)
        if len(left) < len(self._tokens):
            said = list(left)
            for end in (0, -1):
                while said and self._stems.is_function(said[end].plain):
                    said.pop(end)
            if all(is_kind(word) or self._stems.is_function(word) for word in words):
                said, words = [], []
            text = " ".join(self._query[token.begin : token.end] for token in said)
        else:
            text, words = self._query, words or words_of(self._query)
        return Reading.of(
            self._query, text, words, self._parts, years=self._years, without=tuple(self._without),
            dropped=tuple(self._dropped), also=tuple(self._others(words)),
        )  # fmt: skip

    def _split(self) -> Iterator[_Token]:
        at = 0
        for word in words_of(self._query):
            found = self._plain.find(word, at)
            begin = at if found < 0 else found
            at = begin + len(word)
            yield _Token(word, self._stems.stem(word), begin, at)

    def _titled(self) -> list[tuple[int, int]]:
        """Spans of the query that are an item's title: what they say is no filter."""
        words = [token for token in self._tokens if not is_article(token.plain)]
        said = [token.plain for token in words]
        telling = self._stems.telling(said) or said
        if len(said) < 2:
            return []
        scores = self._texts.scores(self._texts.numbers(telling))
        best = np.argsort(-scores, kind="stable")[:30]
        spans: list[tuple[int, int]] = []
        for item in best[scores[best] > 0].tolist():
            title = [word for word in words_of(_undated(self._texts.title(item))) if not is_article(word)]
            if len(title) < 2:
                continue
            for at in range(len(said) - len(title) + 1):
                if said[at : at + len(title)] == title:
                    spans.append((words[at].begin, words[at + len(title) - 1].end))
        return spans

    def _limit(self, limit: Limit) -> None:
        """Takes a limit where the catalogue has a field for it; the other side of it behind a "not"."""
        if (negation := self._negation_before(limit)) is not None:
            if limit.years or (limit.low is not None and limit.high is not None):
                return  # what is left is no one interval
            limit = replace(
                limit, begin=negation.begin, low=limit.high, high=limit.low, low_in=not limit.high_in,
                high_in=not limit.low_in,
            )  # fmt: skip
        end, said = limit.end, self._query[limit.begin : limit.end]
        if limit.years:
            low, high = limit.low, limit.high
            years = self._field_of_years()
            if years == "":
                self._years = (None if low is None else int(low), None if high is None else int(high) - 1)
            elif years is None:
                return
            else:
                of = moment_ms if years == "published_at" else float
                bounds = {"gte": None if low is None else of(low), "lt": None if high is None else of(high)}
                self._take(said, {"field": years} | {k: v for k, v in bounds.items() if v is not None})
        else:
            name = self._field_of_amounts(limit)
            if name is None and not limit.money:
                return
            if name is None:
                self._dropped.append(said)
            if limit.word and name is not None and name != "price":
                end = limit.word_end
            if name is not None:
                self._take(self._query[limit.begin : end], {"field": name} | limit.operators())
        for token in self._tokens:
            token.used |= limit.begin <= token.begin and token.end <= end

    def _negation_before(self, limit: Limit) -> "_Token | None":
        before = next((token for token in reversed(self._tokens) if token.end <= limit.begin), None)
        if before is None or self._query[before.end : limit.begin].strip():
            return None
        known = _split_phrases(phrases(self._stems.language).without, phrases("english").without)
        return before if before.plain in known else None

    def _field_of_years(self) -> str | None:
        """The field that says when items came out; "" where titles do, None where nothing does."""
        size = self._catalogue.size
        if self._facets.published >= _DATED * size:
            return "published_at"
        for name in _YEARS:
            if self._facets.numbers[name] >= _DATED * size:
                return name
        dated = int(np.count_nonzero(~np.isnan(self._catalogue.published[:size])))
        return "" if dated and dated >= _DATED * size else "published_at" if self._facets.published else None

    def _field_of_amounts(self, limit: Limit) -> str | None:
        """The field that an amount bounds: the one named behind it, else the price."""
        numbers = self._facets.numbers
        if not limit.money and limit.word:
            stem = self._stems.stem(limit.word)
            for name in numbers:
                if stem in (self._stems.stem(part) for part in words_of(name.replace("_", " "))):
                    return name
            for name in _UNITS.get(limit.word, ()):
                if numbers[name]:
                    return name
            if limit.word in _UNITS or (limit.word_end == len(self._plain) and not self._meant([limit.word])):
                return None  # "under 20 kilos" is no price
        return "price" if numbers["price"] else None

    def _unwanted(self, titled: Sequence[tuple[int, int]]) -> None:
        """What follows "not" or "without": values that items must not have, else words not to be said."""
        negations = _split_phrases(phrases(self._stems.language).without, phrases("english").without)
        at = 0
        while at < len(self._tokens):
            width = next((n for n in (2, 1) if self._said(at, n) in negations), 0)
            if not width or self._within(titled, at, at + width):
                at += 1
                continue
            begin = at
            at += width
            taken = 0
            while at < len(self._tokens):
                while at < len(self._tokens) and is_article(self._tokens[at].plain):
                    at += 1
                count = self._value_at(at)
                if count:
                    values = self._meant_at(at, count)
                    parts = [{"field": name, "ne": value} for name, value in values]
                    if all(name != "categories" for name, _ in values):  # its title may say it as well
                        self._without.append(tuple(token.plain for token in self._tokens[at : at + count]))
                    self._take(
                        self._between(begin, at + count), parts[0] if len(parts) == 1 else {"all": parts}
                    )
                elif not taken:
                    count = self._unsaid(at)
                if not count:
                    break
                taken += count
                for token in self._tokens[begin : at + count]:
                    token.used = True
                at = begin = at + count
                if (
                    at < len(self._tokens)
                    and self._tokens[at].plain in _SEPARATORS
                    and self._value_at(at + 1)
                ):
                    at += 1
                else:
                    break
            at = max(at, begin + 1)

    def _unsaid(self, at: int) -> int:
        """Words that no item may say: up to a pause, at most three. Returns how many."""
        count = 0
        while at + count < len(self._tokens) and count < 3:
            token = self._tokens[at + count]
            pause = (
                "," in self._query[self._tokens[at + count - 1].end : token.begin] if at + count else False
            )
            if token.used or self._stems.is_function(token.plain) or (count and pause):
                break
            count += 1
        words = tuple(token.plain for token in self._tokens[at : at + count])
        if not words or self._texts.says_next(words[0], "free"):
            return 0  # "without sulfate": items say "sulfate free"
        if len(self._texts.saying(words)):
            self._without.append(words)
        return count

    def _intended(self, titled: Sequence[tuple[int, int]]) -> None:
        """ "for children": a value that says whom items are for."""
        before = _split_phrases(phrases(self._stems.language).intended, phrases("english").intended)
        for at in range(len(self._tokens)):
            width = next((n for n in (2, 1) if self._said(at, n) in before), 0)
            if not width or self._within(titled, at, at + width):
                continue
            value = at + width
            while value < len(self._tokens) and self._tokens[value].plain in (
                "the",
                "my",
                "whole",
                "all",
                "young",
            ):
                value += 1
            count = self._value_at(value)
            values = self._meant_at(value, count)
            if count and self._many(values):
                self._take(self._between(at, value + count), _any(values))
                for token in self._tokens[at : value + count]:
                    token.used = True

    def _brands(self, titled: Sequence[tuple[int, int]]) -> None:
        """Brands and the like by name, where their words mean nothing else."""
        at = 0
        while at < len(self._tokens):
            for count in range(min(MOST_WORDS, len(self._tokens) - at), 0, -1):
                values = [each for each in self._meant_at(at, count) if each[0].lower() in _BRANDS]
                if not values or any(token.used for token in self._tokens[at : at + count]):
                    continue
                words = [token.plain for token in self._tokens[at : at + count]]
                having = max(self._facets.items(*each) for each in values)
                saying = len(self._texts.saying(words))
                whole = all(each.used for n, each in enumerate(self._tokens) if not at <= n < at + count)
                if having >= _OWN_WORD * saying and not self._within(titled, at, at + count, whole=whole):
                    self._take(self._between(at, at + count), _any(values), sure=False)
                    for token in self._tokens[at : at + count]:
                        token.used = True
                    at += count - 1
                    break
            at += 1

    def _categories(self, titled: Sequence[tuple[int, int]]) -> None:
        """Categories, where nothing else is said: else their words only count among the others."""
        found: list[tuple[int, int, list[tuple[str, str]]]] = []
        at = 0
        while at < len(self._tokens):
            token = self._tokens[at]
            count = next(
                (n for n in range(MOST_WORDS, 0, -1) if self._categories_at(at, n) and not self._used(at, n)),
                0,
            )
            if count:
                if self._within(titled, at, at + count):
                    return
                found.append((at, count, self._categories_at(at, count)))
                at += count
                continue
            if not (token.used or self._stems.is_function(token.plain) or is_kind(token.plain)):
                return
            at += 1
        for begin, count, values in found:
            self._take(self._between(begin, begin + count), _any(values), sure=False)
            for token in self._tokens[begin : begin + count]:
                token.used = True

    def _categories_at(self, at: int, count: int) -> list[tuple[str, str]]:
        return [each for each in self._meant_at(at, count) if each[0] == "categories" and self._many([each])]

    def _many(self, values: Sequence[tuple[str, str]]) -> bool:
        """Whether enough items have one of the values for a list of them alone."""
        return sum(self._facets.items(*each) for each in values) >= min(_FEWEST, self._catalogue.size // 10)

    def _value_at(self, at: int) -> int:
        """How many words from one on name a value; the most that do."""
        return next((n for n in range(MOST_WORDS, 0, -1) if self._meant_at(at, n)), 0)

    def _meant_at(self, at: int, count: int) -> list[tuple[str, str]]:
        if at + count > len(self._tokens):
            return []
        return self._meant([token.plain for token in self._tokens[at : at + count]])

    def _meant(self, words: Sequence[str]) -> list[tuple[str, str]]:
        """Fields and values that words name: of several with the same stems those spelt most alike."""
        found: list[tuple[str, str]] = []
        for form in alike(" ".join(words)):
            some = self._facets.meant(" ".join(map(self._stems.stem, form.split())))
            apart = {each: abs(len(" ".join(words_of(each[1]))) - len(form)) for each in some}
            found += [each for each in some if apart[each] == min(apart.values())]
        return list(dict.fromkeys(found))

    def _others(self, words: Sequence[str]) -> list[str]:
        """Words that mean the same as some of those that are looked for."""
        found: list[str] = []
        for count in (2, 1):
            for at in range(len(words) - count + 1):
                for form in alike(" ".join(words[at : at + count]))[1:]:
                    found += [word for word in form.split() if word not in words]
        return list(dict.fromkeys(found))

    def _said(self, at: int, count: int) -> str:
        return " ".join(token.plain for token in self._tokens[at : at + count])

    def _between(self, begin: int, end: int) -> str:
        return self._query[self._tokens[begin].begin : self._tokens[end - 1].end]

    def _used(self, at: int, count: int) -> bool:
        return any(token.used for token in self._tokens[at : at + count])

    def _within(self, spans: Sequence[tuple[int, int]], at: int, end: int, *, whole: bool = False) -> bool:
        if whole:
            return False
        begin, last = self._tokens[at].begin, self._tokens[min(end, len(self._tokens)) - 1].end
        return any(begin < stop and start < last for start, stop in spans)

    def _take(self, said: str, leaf: dict[str, Any], *, sure: bool = True) -> None:
        part = Part(said, leaf, sure)
        try:
            if len(self._parts) >= _MOST_PARTS:
                raise FilterError("more than anybody asks for")
            Reading.of("", "", (), (*self._parts, part))
        except FilterError:  # endless numbers, a field without a name, too many comparisons
            self._dropped.append(said)
        else:
            self._parts.append(part)


def _any(values: Sequence[tuple[str, str]]) -> dict[str, Any]:
    leaves = [{"field": name, "eq": value} for name, value in values]
    return leaves[0] if len(leaves) == 1 else {"any": leaves}


def _undated(title: str) -> str:
    """A title without the year in brackets and what follows it."""
    return title.split(" (")[0]


@lru_cache(maxsize=32)
def _split_phrases(*patterns: str) -> frozenset[str]:
    return frozenset(phrase for pattern in patterns for phrase in pattern.split("|"))
