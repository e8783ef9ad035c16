"""Numbers and years in a query that bound what is looked for: "under 20", "before 1990", "from the 80s".

Owns the grammar, over plain text, by language. Knows no fields: what a limit is of, `reading` decides.
"""

import datetime
import re
from dataclasses import dataclass
from functools import lru_cache

from learner.search import lexicon

_NUMBER = r"\d{1,3}(?:[ ,.]\d{3})+(?!\d)|\d+(?:[.,]\d{1,2})?"
_SIGN = r"[$€£¥]"
_CURRENCY = (
    r"(?:euros?|eur|dollars?|usd|bucks|pounds?|gbp|quid|yen|jpy|francs?|franken|chf|kronor|kroner|sek|nok|dkk|pesos?|"
    r"rupees?|reais|zloty|yuan|cents?)\b"
)
# Where a currency follows, also behind "to 2050", it is an amount.
_YEAR = rf"(?:1[89]|20)\d\d(?!(?:\s?(?:to|and|-|–)\s?\d+)?\s?(?:{_SIGN}|{_CURRENCY}))"
_WORDED = {"twenties": 20, "thirties": 30, "forties": 40, "fifties": 50, "sixties": 60, "seventies": 70,
           "eighties": 80, "nineties": 90}  # fmt: skip
_UNIT = r"[a-z]+"


@dataclass(frozen=True)
class Limit:
    """What stands in a span of the text: bounds of a number, or of years.

    begin, end: characters; low, high: the bounds, and whether each is in; money: a currency is named;
    years: the bounds are years, low in and high out; word: the one behind the number, "" for none, and where
    it ends
    """

    begin: int
    end: int
    low: float | None = None
    high: float | None = None
    low_in: bool = True
    high_in: bool = True
    money: bool = False
    years: bool = False
    word: str = ""
    word_end: int = 0

    def operators(self) -> dict[str, float]:
        """As a filter's leaf has them."""
        found: dict[str, float] = {}
        if self.low is not None:
            found["gte" if self.low_in else "gt"] = self.low
        if self.high is not None:
            found["lte" if self.high_in else "lt"] = self.high
        return found


def limits_in(text: str, language: str) -> list[Limit]:
    """The limits in a plain text, in order and apart from each other: of years where both could be."""
    found: list[Limit] = []
    for pattern, of in _patterns(language):
        for match in pattern.finditer(text):
            limit = of(match)
            if limit is not None and all(limit.end <= o.begin or limit.begin >= o.end for o in found):
                found.append(limit)
    return sorted(found, key=lambda limit: limit.begin)


def moment_ms(year: float) -> int:
    """Unix ms at which a year begins."""
    return int(datetime.datetime(int(year), 1, 1, tzinfo=datetime.UTC).timestamp() * 1000)


@lru_cache(maxsize=32)
def _patterns(language: str) -> list[tuple[re.Pattern[str], "_Of"]]:
    says = lexicon.phrases(language)
    english = lexicon.phrases("english")

    def either(name: str) -> str:
        own, usual = getattr(says, name), getattr(english, name)
        return own if own == usual else f"{own}|{usual}"

    amount = (
        rf"(?P<sign>{_SIGN})?\s?(?P<number>{_NUMBER})(?:\s?(?P<cur>{_SIGN}|{_CURRENCY}))?"
        rf"(?:\s+(?P<word>{_UNIT}))?"
    )
    second = amount.replace("<sign>", "<sign2>").replace("<number>", "<number2>").replace("<cur>", "<cur2>")
    second = second.replace("<word>", "<word2>")
    decade = r"(?:(?P<century>1[89]|20)?(?P<tens>\d)0(?:'?s|ern?)|(?P<worded>" + "|".join(_WORDED) + r"))\b"
    no_article = r"(?:the\s+year\s+|the\s+)?"
    kinds: list[tuple[str, _Of]] = [
        (rf"\b(?:{either('before')})\s+(?:the\s+)?{decade}", _decades("before")),
        (rf"\b(?:{either('after')})\s+(?:the\s+)?{decade}", _decades("after")),
        (rf"(?:\b(?:{either('decade')})\s+)?(?<![\w'.,]){decade}", _decades("in")),
        (
            rf"\b(?:{either('between')})\s+(?P<a>{_YEAR})\s*(?:{either('to')})\s*(?P<b>{_YEAR})\b",
            _years("between"),
        ),
        (rf"\b(?:from\s+)?(?P<a>{_YEAR})\s*(?:to|-|–|until|bis)\s*(?P<b>{_YEAR})\b", _years("between")),
        (rf"\b(?:{either('before')})\s+{no_article}(?P<a>{_YEAR})\b", _years("before")),
        (rf"\b(?:{either('after')})\s+{no_article}(?P<a>{_YEAR})\b", _years("after")),
        (rf"\bsince\s+{no_article}(?P<a>{_YEAR})\b", _years("since")),
        (rf"\b(?:{says.since})\s+{no_article}(?P<a>{_YEAR})\s+(?:on|onwards?)\b", _years("since")),
        (rf"\b(?:{either('in_year')})\s+{no_article}(?P<a>{_YEAR})\b", _years("in")),
        (rf"\b(?:{either('between')})\s+{amount}\s*(?:{either('to')})\s*{second}", _amounts("between")),
        (rf"\b(?:{either('at_most')})\s+{amount}", _amounts("at_most")),
        (rf"(?:\b(?:{either('below')})\s+|<\s?){amount}", _amounts("below")),
        (rf"(?:\b(?:{either('above')})\s+|>\s?){amount}", _amounts("above")),
        (rf"\b(?:{either('at_least')})\s+{amount}", _amounts("at_least")),
    ]
    if says.decade != english.decade:  # "années 80", "aus den 80"
        bare = rf"\b(?:{says.decade})\s+(?P<tens>\d)0\b(?!\s*(?:{_SIGN}|{_CURRENCY}))"
        kinds.append((bare, _decades("in")))
    if says.since != english.since:
        kinds.append((rf"\b(?:{says.since})\s+(?P<a>{_YEAR})\b", _years("since")))
    return [(re.compile(pattern), of) for pattern, of in kinds]


class _Of:
    """Makes a limit of a match, or none."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, match: re.Match[str]) -> Limit | None:
        raise NotImplementedError


class _decades(_Of):  # noqa: N801 (reads as what it makes)
    def __call__(self, match: re.Match[str]) -> Limit | None:
        said = match.groupdict()
        tens = _WORDED[said["worded"]] if said.get("worded") else 10 * int(said["tens"])
        if said.get("century"):
            first = 100 * int(said["century"]) + tens
        else:
            first = (2000 if tens < 20 else 1900) + tens
        low, high = {"before": (None, first), "after": (first + 10, None)}.get(self.kind, (first, first + 10))
        return Limit(*match.span(), low, high, high_in=False, years=True)


class _years(_Of):  # noqa: N801
    def __call__(self, match: re.Match[str]) -> Limit | None:
        first = int(match["a"])
        low, high = {
            "before": (None, first), "after": (first + 1, None), "since": (first, None),
            "in": (first, first + 1),
        }.get(self.kind, (first, None))  # fmt: skip
        if self.kind == "between":
            low, high = sorted((first, int(match["b"])))
            high += 1
        return Limit(*match.span(), low, high, high_in=False, years=True)


class _amounts(_Of):  # noqa: N801
    def __call__(self, match: re.Match[str]) -> Limit | None:
        said = match.groupdict()
        amount = _number(said["number"])
        money = any(said.get(name) for name in ("sign", "cur", "sign2", "cur2"))
        last = "2" if self.kind == "between" else ""
        word, number_end = said.get(f"word{last}") or "", match.end(f"cur{last}")
        end = number_end if number_end >= 0 else match.end(f"number{last}")
        word_end = match.end(f"word{last}") if word else end
        low, high = (None, amount) if self.kind in ("below", "at_most") else (amount, None)
        if self.kind == "between":
            low, high = sorted((amount, _number(said["number2"])))
        return Limit(
            match.start(),
            end,
            low,
            high,
            self.kind != "above",
            self.kind != "below",
            money,
            False,
            word,
            word_end,
        )


def _number(text: str) -> float:
    if re.fullmatch(r"\d{1,3}(?:[ ,.]\d{3})+", text):
        return float(re.sub(r"[ ,.]", "", text))
    return float(text.replace(",", "."))
