"""Records that were deleted before a consumer could read them: found by the gaps that it meets, and said.

Owns the difference between a gap that deletion left and one of transactions or compaction: behind the former
there is no older record any more. Knows no consumer.
"""

from collections.abc import Mapping
from typing import NamedTuple

import structlog
from faust.types.tuples import TP

log = structlog.get_logger()


class _Gap(NamedTuple):
    tp: TP
    start: int  # the offset that was to be read next
    end: int  # the one that came


class Lost:
    """Told of what is fetched, and now and then where the partitions begin.

    records: lost so far
    """

    def __init__(self) -> None:
        self.records = 0
        self._next: dict[TP, int] = {}
        self._gaps: list[_Gap] = []

    def begin(self, places: Mapping[TP, int]) -> None:
        """Reading goes on from these offsets, and what is not among them from wherever."""
        self._next = dict(places)

    def fetched(self, tp: TP, first: int, last: int) -> None:
        """Records from offset `first` to `last` have come."""
        expected = self._next.get(tp, first)
        if first > expected:
            self._gaps.append(_Gap(tp, expected, first))
        self._next[tp] = last + 1

    @property
    def suspects(self) -> bool:
        """Whether gaps have been met since the last look."""
        return bool(self._gaps)

    def look(self, beginnings: Mapping[TP, int]) -> None:
        """`beginnings`: of the partitions that are read, the first offset there is now."""
        gaps, self._gaps = self._gaps, []
        for tp, start in beginnings.items():
            expected = self._next.get(tp, start)
            if start > expected:  # nothing has come since: there may be nothing
                gaps.append(_Gap(tp, expected, start))
                self._next[tp] = start
        for gap in gaps:
            lost = min(gap.end, beginnings.get(gap.tp, 0)) - gap.start
            if lost > 0:
                self.records += lost
                log.error(
                    "records were deleted before they could be read", topic=gap.tp.topic,
                    partition=gap.tp.partition, lost=lost, offset=gap.start,
                    mend="reading goes on behind them; keep them for longer: retention_days, or retention.ms "
                    "and retention.bytes of the topic",
                )  # fmt: skip
