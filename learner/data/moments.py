"""Times of a column, whatever they are written as: Unix seconds or milliseconds, years, or ISO 8601.

Owns the guess of the unit and the ISO texts. Knows no files: what is wrong is returned, with its row.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

# Timestamps below are seconds (the year 5138), above milliseconds (March 1973).
_SECONDS_BELOW = 1e11
# Median timestamps from here on are micro- or nanoseconds (milliseconds of the year 5138).
_FINER_FROM = 1e14
_1973_MS, _1980_MS = 94_694_400_000.0, 315_532_800_000.0
_LIFETIME_DAYS = 40 * 365
_PART_OF_A_DATE = re.compile(r"[12]\d{3}(-\d\d)?")
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
    said = known[(known != 0) & (known != -1)]  # what stands for an unknown year
    if not strict and said.size and _within(said, 1000, 2100, whole=True):
        return np.array([_milliseconds(datetime(int(year), 1, 1)) if year > 0 else np.nan for year in values])
    if _are_days(known, strict=strict):
        row = int(np.argmax(~np.isnan(values)))
        mend = "write days as 2024-05-31; if these are counts from a beginning, add its Unix time to each"
        raise Wrong(row, "Unix seconds or milliseconds", mend)
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


def of_texts(codes: NDArray[np.int32], texts: list[str], *, strict: bool) -> NDArray[np.float64]:
    """Times (n,) float64 in Unix milliseconds from ISO 8601; nan where the text is empty.

    `codes` number the distinct `texts`. A time without a zone is UTC. Where not `strict`, years and months
    are taken as their first days. Raises Wrong.
    """
    values = np.full(len(texts) + 1, np.nan)
    for number, text in enumerate(texts):
        if not text:
            continue
        if not strict and _PART_OF_A_DATE.fullmatch(text):
            text = f"{text}-01-01"[:10]
        try:
            values[number] = _milliseconds(datetime.fromisoformat(text.removesuffix(" UTC")))
        except (ValueError, OverflowError):
            raise Wrong(
                int(np.argmax(codes == number)), "a time in ISO 8601 like the first ones", ADVICE
            ) from None
    return values[codes]


def outside(values: NDArray[np.float64], *, strict: bool) -> NDArray[np.bool_]:
    """Which times (n,) are before 1970 or from 2100 on. `strict` raises Wrong for the first of them.

    And for times before 1973 where most are of 1980 or later: a 0 that stands for nothing, a number cut off.
    """
    found: NDArray[np.bool_] = (values < 0) | (values >= END_MS)
    if strict and found.any():
        row = int(np.argmax(found))
        early = bool(values[row] < 0)
        expected = "a time from 1970 on" if early else "a time before the year 2100"
        raise Wrong(row, expected, "leave the row out, or give it its time")
    if strict and not np.isnan(values).all() and float(np.nanmedian(values)) >= _1980_MS:
        early_rows = values < _1973_MS
        if early_rows.any():
            mend = "a 0 for none, or a number cut off? leave the row out, or give it its time"
            raise Wrong(
                int(np.argmax(early_rows)), "a time like most rows', which are of 1980 or later", mend
            )
    return found


def oddities(numbers: NDArray[np.float64], values: NDArray[np.float64], kind: object) -> str:
    """What is to be said of times (n,) that were read from numbers (n,) of an Arrow type; "" for nothing."""
    said = []
    if str(kind) in ("float", "halffloat") and float(np.nanmax(np.abs(numbers), initial=0)) > 2**24:
        said.append("floats of 32 bits hold times to some two minutes only: store them as integers")
    if lost := int((np.isnan(values) & ~np.isnan(numbers)).sum()):
        said.append(f"{lost} of {len(values)} values among years are 0 or -1 and are left out")
    seconds = (values >= 315_532_800) & (values < 1e10) & (values % 900_000 != 0)
    if seconds.any() and float(np.nanmedian(values)) >= _1980_MS:
        said.append(
            f"{int(seconds.sum())} of {len(values)} times lie in the first months of 1970: seconds among "
            "milliseconds?"
        )
    return "; ".join(said)


def _milliseconds(moment: datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return float(round(moment.timestamp() * 1000))


def _within(known: NDArray[np.float64], first: float, last: float, *, whole: bool) -> bool:
    return bool(((known >= first) & (known <= last) & ((known == np.rint(known)) | (not whole))).all())


def _are_days(known: NDArray[np.float64], *, strict: bool) -> bool:
    """Whether all numbers are days: 20240531, a spreadsheet's 45443.5 (of 1970 to 2099), or years.

    `strict` (events) takes seconds of a day, and counters, for what they are: of days and years most have a
    fraction or come again, and they span no lifetime.
    """
    if _within(known, 25_569, 73_050, whole=False) or _within(known, 1970, 2100, whole=True):
        broken = 2 * int(np.count_nonzero(known != np.rint(known))) >= known.size
        again = 2 * np.unique(known).size <= known.size
        return not strict or ((broken or again) and float(np.ptp(known)) < _LIFETIME_DAYS)
    if not _within(known, 19000101, 21001231, whole=True):
        return False
    for number in np.unique(known).astype(np.int64).tolist():
        try:
            date(number // 10000, number // 100 % 100, number % 100)
        except ValueError:
            return False
    return True
