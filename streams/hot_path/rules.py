"""The rules that lists obey: scenarios as they are in force, made ready for the hot path.

Owns what a scenario's record comes to beside the system's settings, and the masks and item fields that rules
and filters read. Knows no topic: `streams.worker.scenarios` brings the records. How a list is drawn up by
rules is `ruled`'s business.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue
from learner.data.times import DAY_MS
from learner.filters.language import Filter, FilterError, parse
from learner.filters.masks import Masks
from learner.filters.matching import matching
from learner.search.reader import read
from learner.search.reading import Reading, unread
from learner.search.texts import Texts
from streams.hot_path.fallen import Bar, least_bar
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.wire.steering import DEFAULT, Cap, Rules, ShownCap

_MOST_UNHEARD = 1000  # names of scenarios that are counted


@dataclass(frozen=True, slots=True)
class Tilt:
    """What is added to the scores of the items that a filter takes: the logarithm of a factor of odds."""

    filter: Filter
    weight: float


@dataclass(frozen=True, slots=True)
class Ruleset:
    """One scenario's rules. Made without any it is what the settings say.

    offset: of the record on `scenarios`, or None
    policy: order, length and label of its lists
    pins: place (from 1) and item id, in their order: of two that want the same the first that may stand wins
    acts: whether scores or places are other ones for the rules
    keeps_out: whether rules keep out items that are no matter of a filter
    """

    policy: Policy
    offset: int | None = None
    filter: Filter | None = None
    tilts: tuple[Tilt, ...] = ()
    caps: tuple[Cap, ...] = ()
    pins: tuple[tuple[int, str], ...] = ()
    block: tuple[str, ...] = ()
    shown_cap: ShownCap | None = None
    consumed: Literal["out", "back", "settings"] = "settings"
    back_after_ms: float = 30 * DAY_MS
    fill: tuple[str, ...] = ()
    acts: bool = False
    keeps_out: bool = False

    def bars(self, live: Live, now_ms: int) -> tuple[Bar, int | None]:
        """From which bar on items stay out, and the time before which consumed ones come back, or None."""
        if self.consumed == "settings":
            return live.least_bar, None
        least = least_bar(consumed=True, views=live.release.manifest.views_consume)
        return least, int(now_ms - self.back_after_ms) if self.consumed == "back" else None

    @property
    def fields(self) -> tuple[str, ...]:
        """The item fields that tilts and caps read, each once."""
        tilted = (name for tilt in self.tilts for name in tilt.filter.fields)
        return tuple(dict.fromkeys((*tilted, *(cap.field for cap in self.caps))))


def ruleset(rules: Rules, usual: Policy, offset: int | None) -> Ruleset:
    """Rules made ready; `usual` is what the settings say. Raises `FilterError` for a filter that is none."""
    tilts = tuple(
        Tilt(parse(each.filter, f"{name}[{n}].filter"), math.log(each.factor))
        for name, given in (("boost", rules.boost), ("bury", rules.bury))
        for n, each in enumerate(given)
        if each.factor != 1
    )
    policy = replace(
        usual,
        name=usual.name if rules.policy is None else rules.policy,
        k=usual.k if rules.k is None else rules.k,
        diversity=usual.diversity if rules.diversity is None else rules.diversity,
        exploration=usual.exploration if rules.exploration is None else rules.exploration,
    )
    return Ruleset(
        policy, offset,
        filter=None if rules.filter is None else parse(rules.filter),
        tilts=tilts,
        caps=tuple(rules.caps),
        pins=tuple((pin.position, pin.item_id) for pin in rules.pin),
        block=tuple(rules.block),
        shown_cap=rules.shown_cap,
        consumed=rules.consumed,
        back_after_ms=rules.back_after_days * DAY_MS,
        fill=tuple(dict.fromkeys(rules.fill)),
        acts=bool(tilts or rules.caps or rules.pin or rules.shown_cap),
        keeps_out=bool(rules.block) or rules.consumed != "settings",
    )  # fmt: skip


class _Titled(msgspec.Struct):
    """Of an item's record nothing but its title: the rest is passed over."""

    title: str | None = None


_title_of = msgspec.msgpack.Decoder(_Titled).decode


class Titles:
    """Titles of items that lists speak of, read once for each record."""

    def __init__(self, catalogue: Catalogue, most: int = 20_000) -> None:
        self._catalogue = catalogue
        self._most = most
        self._read: dict[int, tuple[bytes | None, str]] = {}

    def of(self, number: int) -> str:
        """The item's title, or its id where it has none."""
        packed = self._catalogue.records.kept(number)
        known = self._read.get(number)
        if known is not None and known[0] is packed:
            return known[1]
        title = None if packed is None else _title_of(packed).title
        if len(self._read) >= self._most:
            self._read.clear()
        said = title or self._catalogue.ids[number]
        self._read[number] = packed, said
        return said


class Steering:
    """The rules in force, with the masks, fields and texts that lists are read from; one for all releases.

    `usual`: what the settings say of lists. `unheard` counts lists of scenarios that nobody has defined.
    """

    def __init__(self, catalogue: Catalogue, usual: Policy) -> None:
        self.catalogue = catalogue
        self.masks = Masks(catalogue)
        self.fields = self.masks.fields
        self.titles = Titles(catalogue)
        self.texts = Texts(catalogue)
        self.unheard: dict[str, int] = {}
        self._usual = Ruleset(usual)
        self._sets: dict[str, Ruleset] = {}
        self._given: dict[str, Rules] = {}

    @property
    def given(self) -> Mapping[str, Rules]:
        """The records in force, by name."""
        return self._given

    def usual(self, policy: Policy) -> Ruleset:
        """The rules of the scenario `default`; by `policy` alone where it has none."""
        found = self._sets.get(DEFAULT)
        if found is not None:
            return found
        if self._usual.policy is not policy:
            self._usual = Ruleset(policy)
        return self._usual

    def put(self, name: str, rules: Rules, offset: int | None) -> Ruleset:
        """A scenario's rules from the next list on. Raises `FilterError`; then the old ones stay."""
        made = ruleset(rules, self._usual.policy, offset)
        self._sets[name], self._given[name] = made, rules
        self.unheard.pop(name, None)
        return made

    def drop(self, name: str) -> None:
        """A scenario is defined no longer."""
        self._sets.pop(name, None)
        self._given.pop(name, None)

    def of(self, scenario: str | None, policy: Policy) -> Ruleset:
        """The rules of a scenario's lists: those of `default` where nobody has defined it.

        `policy`: what holds where there are no rules at all.
        """
        if scenario is None or not self._sets:
            return self.usual(policy)
        found = self._sets.get(scenario)
        if found is None:
            if scenario != DEFAULT and (scenario in self.unheard or len(self.unheard) < _MOST_UNHEARD):
                self.unheard[scenario] = self.unheard.get(scenario, 0) + 1
            return self.usual(policy)
        return found

    def inline(self, rules: Rules) -> Ruleset:
        """Rules that a request brings along. Raises `FilterError`."""
        return ruleset(rules, self._usual.policy, None)

    def tilt(self, items: NDArray[np.int32], tilts: tuple[Tilt, ...]) -> NDArray[np.float32]:
        """What rules add to the scores of items (n,), which may be listed.

        Looks at these items alone: masks over the catalogue would be built for every filter that anybody
        sends. Fields that nobody has read yet are read here, all in one go.
        """
        added = np.zeros(len(items), np.float32)
        self.fields.read(tuple(dict.fromkeys(name for tilt in tilts for name in tilt.filter.fields)))
        numbers = items.astype(np.int64)
        for tilt in tilts:
            added += np.float32(tilt.weight) * matching(tilt.filter, self.fields, numbers)
        return added

    def reading(self, query: str) -> Reading:
        """What a query in plain words says; all of it words while the catalogue's texts are being read."""
        if not self.texts.follow():
            return unread(query)
        try:
            return read(query, self.texts, self.catalogue)
        except FilterError:  # nothing that somebody types may end a round
            return unread(query)

    def mask(self, filter_: Filter) -> NDArray[np.bool_]:
        """Items by number (capacity,) that the filter takes and that may be listed, until the next round."""
        slot = self.masks.row(filter_)
        mask: NDArray[np.bool_] = self.masks.pool[slot]
        return mask
