"""What a path's and a query string's parameters look like, for the description: one example of each name.

They are of MovieLens, which the demo plays, and of an item that the examples of bodies put there. A test
asks a real system for each of them.
"""

from typing import Any

from streams.api.cursors import Cursor, page_after, written

PARAMETERS: dict[str, Any] = {
    # of paths
    "user_id": "u1",
    "item_id": "tea-pot",
    "name": "cart",
    "release": "r-20261123-041207-x3f9",
    # of lists
    "k": 5,
    "scenario": "cart",
    "filter": 'categories:Comedy, -title:"Airplane! (1980)"',
    "exclude": ["50", "181"],
    "query": "a funny film for a rainy evening",
    "fields": ["title", "categories"],
    "next": written(Cursor().beyond(["50", "181"])),
    "seen": "0-0",
    "max_age_ms": 10_000,
    "timeout_ms": 2_000,
    "diversity": 0.3,
    "user_token": "1b2c0f5e8d7a4936b1c5d4e3f20918a7b6c5d4e3f2a1908172635445362718ff",
    "key": "nck_public_1JGiOkC8vlM4T0uC4y2L5eY6w7n8m9p0q1r2s3t4u5v",
    # of other pages
    "q": "star wars",
    "cursor": page_after("100"),
    "limit": 20,
    "tokens": "true",
    "dry_run": "true",
}
