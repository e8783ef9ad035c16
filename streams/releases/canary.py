"""Who gets the canary.

Owns the assignment of users, which every process makes for itself. Knows no roles and no lists:
`streams.learning.answers` sees how they are answered.
"""

from hashlib import blake2b


def assign(user_id: str, share: float, salt: str) -> bool:
    """Whether the user belongs to the `share` (0 to 1) that gets the canary; `salt` is its release id.

    The same for every process and all time; another canary draws other users.
    """
    digest = blake2b(user_id.encode(), digest_size=8, key=blake2b(salt.encode(), digest_size=16).digest())
    return int.from_bytes(digest.digest(), "little") < share * 2.0**64
