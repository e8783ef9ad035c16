"""The kinds of events and what each kind means for a user, for signals and for lists.

Owns the vocabulary that the wire contract, the models and the signals share. Knows nothing of
messages, users or Kafka.
"""

from enum import IntEnum


class Kind(IntEnum):
    """Event kinds in the order of their codes: arrays store the code as uint8."""

    VIEW = 0
    CLICK = 1
    PURCHASE = 2
    RATING = 3
    LIKE = 4
    DISLIKE = 5
    HIDE = 6
    IMPRESSION = 7

    @property
    def word(self) -> str:
        """The kind as it is written on the wire."""
        return self.name.lower()


KIND_OF_WORD = {kind.word: kind for kind in Kind}

# Interest in the item: these train models, count in signals, trigger lists and are scored.
INTEREST = frozenset({Kind.VIEW, Kind.CLICK, Kind.PURCHASE, Kind.RATING, Kind.LIKE})
# The user pushes the item away: never recommended again, never counted as interest.
AVERSION = frozenset({Kind.DISLIKE, Kind.HIDE})
# What makes an item consumed; a view does so only where the data has no stronger event.
CONSUMPTION = frozenset({Kind.CLICK, Kind.PURCHASE, Kind.RATING, Kind.LIKE})
