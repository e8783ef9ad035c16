"""What may come in floods, told in a few lines: the first of each kind at once, then sums once a minute.

Owns the counting and the time between two lines. Knows nothing of what it tells.
"""

import re
import time
from collections import Counter
from collections.abc import Callable

import structlog

log = structlog.get_logger()

EVERY_SECONDS = 60.0
# Told one by one; of whatever is wrong in more ways than that, the rest is one kind.
MOST_KINDS = 20
_MOST_TOLD = 5  # kinds of which a sum tells how many there were
_OTHERS = "others"
_VARYING = re.compile(r"\d+")  # what differs between two of one kind


class Repeated:
    """`event` is the line's text, `mend` what to do. `clock` in seconds.

    counted: of all so far; by_kind: of each kind, as it is told
    """

    def __init__(self, event: str, mend: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.counted = 0
        self._event, self._mend = event, mend
        self._clock = clock
        self.by_kind: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()
        self._since = 0.0  # when the first of the untold ones came

    def note(self, kind: str, **facts: object) -> None:
        """One more, of this kind: told now, with the facts, where it is the first of its kind."""
        self.counted += 1
        shape = _VARYING.sub("#", kind)[:200]
        if shape not in self.by_kind and len(self.by_kind) < MOST_KINDS:
            self.by_kind[shape] = 1
            log.warning(self._event, **facts, mend=self._mend)
            return
        if not self._untold:
            self._since = self._clock()
        shape = shape if shape in self.by_kind else _OTHERS
        self.by_kind[shape] += 1
        self._untold[shape] += 1

    def watch(self) -> None:
        """To be called now and then: once a minute it tells how many more there were."""
        if not self._untold or self._clock() - self._since < EVERY_SECONDS:
            return
        most, _ = self._untold.most_common(1)[0]
        by_cause = ", ".join(f"{count:,} × {kind}" for kind, count in self._untold.most_common(_MOST_TOLD))
        log.warning(
            f"{self._event}: more of them", more=self._untold.total(), so_far=self.counted, mostly=most,
            kinds=len(self._untold), by_cause=by_cause, mend=self._mend,
        )  # fmt: skip
        self._untold.clear()
