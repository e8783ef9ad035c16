"""Ids as they come in: what is taken, and tokens of clicks (`seen`: "3-1208", partition and offset).

Owns their spelling over HTTP.
"""

import re
from typing import Any

from litestar import Request

from streams.api.problems import Malformed, Problem

MAX_ID_BYTES = 256
# Stands for a slash within an id while paths are split: no UTF-8, so it is in no id.
SLASH = "\udc2f"
_TOKEN = re.compile(r"(\d{1,9})-(\d{1,15})", re.ASCII)


def checked_id(text: str, name: str) -> str:
    """The id. Raises a Problem (422) where it has not 1 to 256 bytes."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise Malformed(f"{name} is no UTF-8") from None
    if not 0 < length <= MAX_ID_BYTES:
        raise Problem(422, f"{name} has {length} bytes; expected an id of 1 to {MAX_ID_BYTES}")
    return text


def path_id(request: Request[Any, Any, Any], name: str) -> str:
    """An id as it stands in a path. Raises as `checked_id`."""
    return checked_id(str(request.path_params[name]).replace(SLASH, "/"), name)


def token_of(partition: int, offset: int) -> str:
    """The token of a click that is acknowledged."""
    return f"{partition}-{offset}"


def place_of(token: str) -> tuple[int, int]:
    """Partition and offset of a token. Raises Malformed."""
    found = _TOKEN.fullmatch(token)
    if not found:
        raise Malformed(f"seen is {token[:40]!r}; expected the token of a click, such as 3-1208")
    return int(found.group(1)), int(found.group(2))
