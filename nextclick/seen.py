"""Tokens of clicks, so that what a user reads next knows what the user has just done.

Owns how many are remembered and for how long. Safe for several threads.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_USERS = 10_000
# By then every list knows the click, or the topic it stands in may have been made anew: a token that is
# sent for ever would have each read wait for an offset that never comes.
REMEMBERED_SECONDS = 600.0


class Seen:
    """The newest token of each user who clicked here; those heard of longest ago go first."""

    def __init__(
        self, most_users: int = MOST_USERS, seconds: float = REMEMBERED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._most, self._seconds, self._clock = most_users, seconds, clock
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tokens)

    def note(self, user_id: str, token: str) -> None:
        """A click of the user has this token; an older one of the same partition changes nothing."""
        now = self._clock()
        with self._lock:
            known = self._tokens.get(user_id)
            if known is not None and now - known[1] <= self._seconds and not _is_newer(token, known[0]):
                return
            self._tokens[user_id] = token, now
            self._tokens.move_to_end(user_id)
            while len(self._tokens) > self._most:
                self._tokens.popitem(last=False)

    def of(self, user_id: str) -> str | None:
        """The user's newest token; None without one, or with one that is too old to matter."""
        with self._lock:
            known = self._tokens.get(user_id)
            if known is None:
                return None
            if self._clock() - known[1] > self._seconds:
                del self._tokens[user_id]
                return None
            return known[0]


def _is_newer(token: str, known: str) -> bool:
    """Of "3-1208" and "3-1207" the first; answers to two threads' clicks may come in either order."""
    partition, _, offset = token.partition("-")
    same, _, before = known.partition("-")
    return partition != same or not (offset.isdigit() and before.isdigit()) or int(offset) > int(before)
