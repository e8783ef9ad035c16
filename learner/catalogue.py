"""The catalogue: which items exist, under which number, and which may be recommended now.

Owns the numbering of items (an item keeps its number for the life of the process) and what the
catalogue's owner says of them. Knows neither models nor signals: their arrays follow the numbering.
"""

from typing import Annotated, Any

import msgspec
import numpy as np

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
MAX_CATEGORIES = 6  # of an item that the features look at; further ones are kept in the record only


class Item(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the catalogue's owner says of an item: topic `items`, key `item_id`."""

    item_id: Id
    title: str | None = None
    description: str | None = None
    categories: list[str] = []
    tags: list[str] = []
    image: str | None = None
    attributes: dict[str, Any] = {}
    available: bool = True
    published_at: Annotated[int, msgspec.Meta(ge=0)] | None = None
    price: float | None = None
    v: int = 1
