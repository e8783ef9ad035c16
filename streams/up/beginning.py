"""What `nextclick up` begins with: clicks of the past, and a first release made of them.

Owns what of that is done already, as notes in a folder: a start after the first neither trains nor sends
again. Knows no processes.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20


class Unusable(Exception):  # noqa: N818 (it names what is the matter)
    """A file that cannot be read: names it."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


@dataclass(frozen=True)
class Files:
    """The past: `to` is the share of the clicks that is meant, oldest first."""

    interactions: Path
    items: Path | None = None
    columns: str | None = None
    to: float | None = None

    def check(self) -> None:
        """Raises Unusable where a file cannot be read."""
        for flag, file in (("--interactions", self.interactions), ("--items", self.items)):
            if file is None:
                continue
            try:
                with file.open("rb") as opened:
                    opened.read(1)
            except OSError as error:
                raise Unusable(f"{flag} {file}: {error.strerror or error}") from None

    def flags(self, *, items: bool = True) -> tuple[str, ...]:
        """As `train` and `load` take them."""
        named = {
            "--interactions": self.interactions, "--items": self.items if items else None,
            "--columns": self.columns, "--to": self.to,
        }  # fmt: skip
        return tuple(
            word for flag, value in named.items() if value is not None for word in (flag, str(value))
        )


@dataclass(frozen=True)
class Load:
    """Flags for `nextclick load`, and what will have been loaded into which topic."""

    flags: tuple[str, ...]
    topic: str
    prints: dict[str, str]


class Notes:
    """What has been done, in `folder`: the first release, and which files are loaded into which topic."""

    def __init__(self, folder: Path) -> None:
        self.release = folder / "release"
        self._file = folder / "loaded.json"

    @property
    def trained(self) -> bool:
        """Whether the first release is there, whole."""
        return (self.release / "manifest.json").exists()

    def to_load(self, files: Files, topic: str) -> Load | None:
        """The `load` that is still to be done, None where all is loaded.

        `topic` identifies the topic `clicks`: one that was made anew has lost what was loaded. Items that
        have not changed are not sent again: somebody may have changed them since, by other ways.
        """
        loaded, now = self._read(topic), _prints(files)
        if loaded == now:
            return None
        return Load(files.flags(items=loaded.get("items") != now["items"]), topic, now)

    def loaded(self, load: Load) -> None:
        """Notes that it is done."""
        draft = self._file.with_suffix(".tmp")
        draft.write_text(json.dumps({"topic": load.topic, "files": load.prints}))
        draft.replace(self._file)

    def _read(self, topic: str) -> dict[str, str]:
        try:
            noted = json.loads(self._file.read_text())
            return dict(noted["files"]) if noted["topic"] == topic else {}
        except (OSError, ValueError, LookupError, TypeError):
            return {}


def _prints(files: Files) -> dict[str, str]:
    how = f"{files.columns or ''} {files.to or ''}"
    return {
        "interactions": f"{_sha256(files.interactions)} {how}",
        "items": "" if files.items is None else f"{_sha256(files.items)} {files.columns or ''}",
    }


def _sha256(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
