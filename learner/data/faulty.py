"""What is said of a file that cannot be read. Knows no formats."""

_SHOWN = 80  # characters of a bad value that an error shows


class DataError(ValueError):
    """A file that cannot be read: says where, what was expected, what came, and what to do."""


def shown(value: object) -> str:
    """A value as messages show it: on one line, in quotes, and not whole where it is long."""
    text = " ".join(str(value).split()) or str(value)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
