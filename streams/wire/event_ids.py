"""Event ids as readers remember them, to tell a click that a producer has sent twice.

Owns the hash and how far back repeats are known; workers and the learner must agree on both.
"""

from hashlib import blake2b

DEDUPLICATED = 64  # last events of a user whose ids are remembered


def event_hash(event_id: str) -> int:
    """64 bits of an event id; never 0, which marks an empty place."""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little") or 1
