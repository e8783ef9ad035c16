"""Users' tokens: with a public key, which proves nothing of who the user is, they say for whom one may speak.

Owns how a token is made and the header it goes in. Knows no keys.
"""

import hmac
from collections.abc import Callable

HEADER = "Nextclick-User-Token"
TokenOf = Callable[[str], str]
"""Takes a user's id and gives the user's token."""


def user_token(user_id: str, secret: str) -> str:
    """The token of a user, made with the secret of a public key: on your server, which alone knows it.

    HMAC-SHA256 of the id, in hexadecimal digits. Raises ValueError for an empty secret.
    """
    if not secret:
        raise ValueError("the secret is empty; `nextclick keys add NAME --scope public` prints one")
    return hmac.new(secret.encode(), user_id.encode(), "sha256").hexdigest()


def giving(given: str | TokenOf | None) -> TokenOf | None:
    """What a client was given, as a function: one token is that of whoever is named."""
    return (lambda _user_id: given) if isinstance(given, str) else given
