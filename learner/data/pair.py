"""Interactions and items that belong together: both read, then compared.

Knows neither formats nor what is done with them.
"""

from pathlib import Path

from learner.data import noticed
from learner.data.catalogue import Item
from learner.data.dataset import Interactions, columns_named, load_interactions, load_items


def read_pair(
    interactions: Path, items: Path | None, columns: str | None = None
) -> tuple[Interactions, list[Item]]:
    """Reads both files and logs what is odd about their ids.

    `columns` has the files' names of columns as `--columns` does: user_id=userId,item_id=movieId. Raises
    DataError where either file cannot be read.
    """
    named = columns_named(columns)
    events = load_interactions(interactions, named)
    records = load_items(items, named) if items is not None else []
    noticed.in_files(events, interactions, records, items)
    return events, records
