"""Times of a column, whatever they are written as: Unix seconds or milliseconds, years, or ISO 8601.

Owns the guess of the unit and the ISO texts. Knows no files: what is wrong is returned, with its row.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

# Timestamps below are seconds (the year 5138), above milliseconds (March 1973).
_SECONDS_BELOW = 1e11
# Median timestamps from here on are micro- or nanoseconds (milliseconds of the year 5138).
_FINER_FROM = 1e14
END_MS = 4_102_444_800_000.0  # 2100-01-01: what is later is a mistake, or a stand-in for "never"
ADVICE = "write Unix seconds or milliseconds, for instance 1763856000, or ISO 8601: 2025-11-23T00:00:00Z"


@dataclass
class Wrong(Exception):  # noqa: N818 (a finding, which its catcher gives a place)
    """A row that holds no usable time."""

    row: int
    expected: str
    mend: str


def of_numbers(values: NDArray[np.float64], *, strict: bool) -> NDArray[np.float64]:
    """Times (n,) float64 in Unix milliseconds from Unix seconds or milliseconds; nan stays nan.

    The median decides. `strict` also refuses single seconds within milliseconds (for events, that could
    hardly be from 1970) and takes no years. Raises Wrong.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return values
    if not strict and ((known >= 1000) & (known <= 2100) & (known == np.rint(known))).all():
        return np.array(
            [np.nan if year != year else _milliseconds(datetime(int(year), 1, 1)) for year in values]
        )
    if days := _day_numbers(known):
        row = int(np.argmax(~np.isnan(values)))
        raise Wrong(row, f"Unix {days}", "write days as 2024-05-31")
    middle = float(np.median(known))
    seconds = middle < _SECONDS_BELOW
    unit, other = ("seconds", "milliseconds") if seconds else ("milliseconds", "seconds")
    stray = values >= _SECONDS_BELOW if seconds else (values >= 1e8) & (values < _SECONDS_BELOW) & strict
    for bad, expected, mend in (
        ((values < 0) & strict, "a time from 1970 on", "times before 1970 are not taken: leave the row out"),
        (values >= _FINER_FROM, "Unix seconds or milliseconds", "divide micro- or nanoseconds down"),
        (stray, f"Unix {unit} as in most rows", f"the file mixes {unit} and {other}: use one of them"),
    ):
        if bad.any():
            raise Wrong(int(np.argmax(bad)), expected, mend)
    return np.rint(values * 1000.0 if seconds else values)


def of_texts(codes: NDArray[np.int32], texts: list[str]) -> NDArray[np.float64]:
    """Times (n,) float64 in Unix milliseconds from ISO 8601; nan where the text is empty.

    `codes` number the distinct `texts`. A time without a zone is UTC. Raises Wrong.
    """
    values = np.full(len(texts) + 1, np.nan)
    for number, text in enumerate(texts):
        if not text:
            continue
        try:
            values[number] = _milliseconds(datetime.fromisoformat(text.removesuffix(" UTC")))
        except (ValueError, OverflowError):
            raise Wrong(
                int(np.argmax(codes == number)), "a time in ISO 8601 like the first ones", ADVICE
            ) from None
    return values[codes]


def _milliseconds(moment: datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return float(round(moment.timestamp() * 1000))


def _day_numbers(known: NDArray[np.float64]) -> str:
    """A word where all numbers are days like 20240531, else nothing."""
    if not ((known >= 19000101) & (known <= 21001231) & (known == np.rint(known))).all():
        return ""
    for number in np.unique(known).astype(np.int64).tolist():
        try:
            date(number // 10000, number // 100 % 100, number % 100)
        except ValueError:
            return ""
    return "seconds or milliseconds"
