"""Where in a list's table the columns by place lie. Knows no column by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where the columns are that say something of a candidate and one own item of the user each.

    From column `begin` on there are `columns` for each of `places` own items, the newest first. The
    first of them is 1 where there is such an item; else all are 0.
    """

    begin: int
    places: int
    columns: int

    @property
    def width(self) -> int:
        """Columns in all."""
        return self.begin + self.places * self.columns
