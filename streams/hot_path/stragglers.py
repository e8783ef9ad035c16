"""Users whose hidden state is of none of the releases in use: found a stretch of slots at a time.

After a swap they are all users there are, and no round may look at all of them. Owns how far the look has
come and when it may rest. Knows no lists; `serving` says which releases are in use and encodes what is found.
"""

from collections.abc import Callable, Sequence

from streams.hot_path.user_states import UserStates

STRETCH = 4096  # slots looked at at once: some 10 µs
_ASKED = 64  # of the stale ones, whether they are wanted: a microsecond each


class Stragglers:
    """Goes round over the slots, and rests after a round that has found nobody until something changes."""

    def __init__(self) -> None:
        self._at = 0  # the next slot
        self._left = 0  # slots until all were found to be in order
        self._seen: tuple[object, ...] = ()

    def some(
        self, states: UserStates, used: Sequence[str], most: int, wanted: Callable[[int], bool]
    ) -> list[int]:
        """Up to `most` slots from the next stretch whose state is of none of the releases `used`.

        Those that are not `wanted` now wait for a later round.
        """
        seen = (states, *used, states.brought)
        if seen != self._seen:
            self._seen, self._left = seen, len(states.users)
        if self._left <= 0:
            return []
        if self._at >= len(states.users):
            self._at = 0
        stop = min(self._at + STRETCH, len(states.users))
        stale = states.stale(used, range(self._at, stop))
        if not len(stale):
            self._left -= stop - self._at
            self._at = stop
            return []
        self._left = len(states.users)
        found: list[int] = []
        for slot in stale[:_ASKED].tolist():
            if len(found) == most:
                break
            if wanted(slot):
                found.append(slot)
            self._at = slot + 1
        return found
