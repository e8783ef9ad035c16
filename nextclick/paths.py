"""Ids as parts of a path: whatever is in an id, it stays one part."""

from urllib.parse import quote


def path(*parts: str) -> str:
    """A path of these parts. Raises ValueError for an empty one, which no path can have."""
    if not all(parts):
        raise ValueError("an id is empty; expected 1 to 256 bytes")
    return "/" + "/".join(_part(each) for each in parts)


def _part(text: str) -> str:
    """Percent-encoded; "." and ".." too, which a URL would take for folders."""
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
