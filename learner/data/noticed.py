"""What is odd about ids and times that can be read all the same: said once, with a count and an example.

Owns the comparison of interactions with items, and what looks like a missing value or a machine. Ids stay
what they are: nothing here changes them.
"""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from learner.data.catalogue import Item
from learner.data.cells import NOTHING
from learner.data.dataset import Interactions

log = logging.getLogger(__name__)

# What programs write into columns of ids where they have nothing.
_NOBODY = NOTHING | {"undefined", "unknown", "-1", "0", "anonymous", "guest", "(not set)"}
_FORMAT = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"  # characters that are not seen
_UNSEEN = re.compile(f"[{_FORMAT}]")
_ROUNDED = re.compile(r"\d\.\d+[eE]\+\d+")
_MUCH = 1 / 3  # of all events: no person, but a machine, a shop's own account or a missing id
_FEW_MATCH = 0.9  # less of the clicked items in the catalogue is said
_YOUNG_MS = 3 * 365 * 86_400_000  # all times in the first three years of Unix time are other counts


def in_files(
    events: Interactions, file: Path, items: Sequence[Item] = (), items_file: Path | None = None
) -> None:
    """Logs a warning for each thing that is odd about the interactions, and beside the items."""
    _missing_values("user", events.user_ids, np.bincount(events.user), file)
    _missing_values("item", events.item_ids, np.bincount(events.item), file)
    _alike("user", events.user_ids, file)
    _alike("item", events.item_ids, file)
    _busiest(events, file)
    _young(events, file)
    if items_file is not None:
        _alike("item", [item.item_id for item in items], items_file)
        _compare(events.item_ids, [item.item_id for item in items], file, items_file)


def plain(identifier: str) -> str:
    """An id without what often differs between two files: white space, case, quotes, zeros in front, `.0`."""
    text = unicodedata.normalize("NFKC", identifier).casefold()
    text = "".join(letter for letter in text if letter.isprintable() and not letter.isspace())
    text = text.strip("'\"[]()\ufeff\u200b\u200e\u200f")
    whole, point, rest = text.partition(".")
    if point and whole.removeprefix("-").isdigit() and not rest.strip("0"):
        text = whole
    return text.lstrip("0") or text[:1] if text.isdigit() else text


def _missing_values(what: str, ids: list[str], counts: np.ndarray, file: Path) -> None:  # type: ignore[type-arg]
    total = int(counts.sum())
    for number, identifier in enumerate(ids):
        spelt = identifier.strip().casefold()
        # A 0 or -1 of a file that numbers its users from there is one of many.
        if spelt == "0" and counts[number] * 10 < total:
            continue
        if spelt in _NOBODY or not spelt:
            log.warning(
                "%s: %s %r has %s of %s events (%.1f %%): if it stands for a missing value, take those "
                "rows out",
                file, what, identifier, f"{counts[number]:,}", f"{total:,}", 100 * counts[number] / total,
            )  # fmt: skip


def _alike(what: str, ids: Iterable[str], file: Path) -> None:
    """Ids with white space around them, and ids of one file that differ in spelling alone."""
    first: dict[str, str] = {}
    pairs, pair = 0, ("", "")
    spaced: list[str] = []
    rounded: list[str] = []
    for identifier in dict.fromkeys(ids):
        if identifier != identifier.strip() or identifier != identifier.strip(_FORMAT):
            spaced.append(identifier)
        if _ROUNDED.fullmatch(identifier):
            rounded.append(identifier)
        other = first.setdefault(_spaceless(identifier), identifier)
        if other != identifier:
            pairs, pair = pairs + 1, pair if pairs else (other, identifier)
    if spaced:
        log.warning(
            "%s: %d %s ids have white space or invisible characters around them, such as %r: they are kept "
            "as they are",
            file, len(spaced), what, spaced[0],
        )  # fmt: skip
    if rounded:
        log.warning(
            "%s: %d %s ids look as if a spreadsheet had rounded them, such as %r: different ids may have "
            "become one; export them as text",
            file, len(rounded), what, rounded[0],
        )  # fmt: skip
    if pairs:
        log.warning(
            "%s: %d %s ids differ from another one in white space, .0 or how letters are encoded alone, such "
            "as %s and %s: they count as two",
            file, pairs, what, *_told_apart(*pair),
        )  # fmt: skip


def _spaceless(identifier: str) -> str:
    """Only `.0` and what cannot be seen go: case and zeros may well tell ids of one file apart."""
    if identifier.isascii():
        text = identifier.strip()
    else:
        text = _UNSEEN.sub("", unicodedata.normalize("NFC", identifier)).strip()
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text


def _told_apart(one: str, other: str) -> tuple[str, str]:
    """Two ids as messages show them: by their characters' numbers where they would look the same."""
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return ascii(one), ascii(other)
    return repr(one), repr(other)


def _busiest(events: Interactions, file: Path) -> None:
    counts = np.bincount(events.user, minlength=len(events.user_ids))
    total, top = len(events), int(np.argmax(counts))
    most = int(counts[top])
    others = int(np.partition(counts, -2)[-2]) if len(counts) > 1 else 0
    enough = (most >= 2 and len(counts) >= 3) or most >= 100
    if enough and most >= _MUCH * total and most > others:
        log.warning(
            "%s: user %r has %s of all %s events (%.0f %%): a person hardly does; if it is a machine or "
            "stands for many, take its rows out",
            file, events.user_ids[top], f"{most:,}", f"{total:,}", 100 * most / total,
        )  # fmt: skip


def _young(events: Interactions, file: Path) -> None:
    if len(events) >= 2 and int(events.time_ms.max()) < _YOUNG_MS:
        log.warning(
            "%s: all times lie before 1973: if the column counts days, or seconds from another beginning, "
            "write Unix seconds",
            file,
        )


def _compare(clicked: list[str], announced: list[str], file: Path, items_file: Path) -> None:
    """Says how many clicked items stand in the items file, and which would if they were spelt alike."""
    known = set(announced)
    strangers = [identifier for identifier in clicked if identifier not in known]
    if not clicked or not strangers:
        return
    by_plain: dict[str, str] = {}
    for identifier in announced:
        by_plain.setdefault(plain(identifier), identifier)
    near = [(each, by_plain[plain(each)]) for each in strangers if plain(each) in by_plain]
    matching = len(clicked) - len(strangers)
    share = matching / len(clicked)
    if not near and share >= _FEW_MATCH:
        return
    said = f"{matching:,} of {len(clicked):,} clicked items ({100 * share:.0f} %) stand in {items_file.name}"
    if near:
        kinds = Counter(_difference(*pair) for pair in near)
        said += (
            f"; {len(near):,} more would match if both files spelt them alike: {near[0][0]!r} here is "
            f"{near[0][1]!r} there ({', '.join(kind for kind, _ in kinds.most_common(3))})"
        )
    else:
        said += f"; {strangers[0]!r}, for instance, does not: such items are recommended without content"
    log.warning("%s: %s", file, said)


def _difference(one: str, other: str) -> str:
    """What two ids that are alike when plain differ in."""
    if one.strip() == other.strip():
        return "white space"
    if one.removesuffix(".0") == other.removesuffix(".0"):
        return ".0"
    if one.casefold() == other.casefold():
        return "capitals"
    if one.lstrip("0") == other.lstrip("0"):
        return "zeros in front"
    return "spelling"
