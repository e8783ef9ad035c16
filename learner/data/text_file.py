"""The text in a file: its encoding, whether it is packed, and what no text holds.

Owns byte-order marks, UTF-16, gzip and NUL bytes. Knows neither commas nor JSON: those are
`learner.data.delimited`'s and `learner.data.json_lines`'s.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from learner.data.faulty import DataError, shown
from learner.data.not_text import is_gzip, probably

_CHUNK = 1 << 20  # bytes
_HEAD = 4096  # bytes that encodings are told by
# Longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def packed(path: Path) -> bool:
    """Whether the file is gzip. Its first bytes say so: names are wrong both ways."""
    with path.open("rb") as file:
        return is_gzip(file.read(2))


def unpacked(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where it is gzip."""
    return gzip.open(path) if packed(path) else path.open("rb")  # type: ignore[return-value]


@dataclass(frozen=True)
class TextFile:
    """A file of text, looked through once: its encoding, its size in bytes, and whether it holds a quote."""

    path: Path
    encoding: str
    size: int
    quoted: bool

    @classmethod
    def of(cls, path: Path) -> "TextFile":
        """Looks the file through. Raises DataError for what is no text, with the line."""
        encoding, size, quoted, line = "utf-8-sig", 0, False, 1
        decoder = None
        for chunk in _chunks(path):
            if decoder is None:
                if found := probably(chunk, path):
                    raise DataError(f"{path}: expected text or gzip of text, got {found[0]}; {found[1]}")
                encoding = _encoding(chunk)
                decoder = codecs.getincrementaldecoder(encoding)()
            size += len(chunk)
            try:
                text = decoder.decode(chunk)
            except UnicodeDecodeError as wrong:
                _undecodable(path, encoding, line, wrong)
            if (place := text.find("\0")) >= 0:
                raise DataError(
                    f"{path}, line {line + text.count(chr(10), 0, place)}: expected text, got a NUL byte; "
                    f"take such bytes out: {'zcat' if packed(path) else 'cat'} {path} | tr -d '\\000' > NEW"
                )
            quoted = quoted or '"' in text
            line += text.count("\n")
        try:
            if decoder is not None:
                decoder.decode(b"", final=True)
        except UnicodeDecodeError as wrong:
            _undecodable(path, encoding, line, wrong)
        return cls(path, encoding, size, quoted)

    def opened(self) -> IO[str]:
        """The text, with the ends of lines as they are."""
        return io.TextIOWrapper(unpacked(self.path), self.encoding, newline="")


def _chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, in pieces that are at least a head long, but for the last one."""
    read, piece = 0, b""
    try:
        with unpacked(path) as file:
            while chunk := file.read1(_CHUNK):  # type: ignore[attr-defined]  # gives what comes before a fault
                read += chunk.count(b"\n")
                piece += chunk
                if len(piece) >= _HEAD:
                    yield piece
                    piece = b""
            if piece:
                yield piece
    except (EOFError, OSError, zlib.error) as wrong:
        behind = isinstance(wrong, gzip.BadGzipFile) and "Not a gzipped" in str(wrong)
        got = "'bytes behind the packed ones that are no gzip'" if behind else shown(wrong)
        raise DataError(
            f"{path}, after line {read}: expected a whole file, got {got}; copy or pack it again"
        ) from None


def _encoding(first: bytes) -> str:
    for mark, name in _MARKS:
        if first.startswith(mark):
            return name
    # UTF-16 without a mark: of text that is mostly ASCII nearly every second byte is NUL.
    head = first[:_HEAD]
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) >= 8 and head[offset::2].count(0) > 0.4 * len(head[offset::2]):
            return name
    return "utf-8"


def _undecodable(path: Path, encoding: str, line: int, wrong: UnicodeDecodeError) -> NoReturn:
    before = wrong.object[: wrong.start]
    line += before.decode(encoding, "ignore").count("\n")
    byte = wrong.object[wrong.start]
    named = encoding.upper().removesuffix("-SIG")
    advice = (
        f"save the file as UTF-8 (if it is Latin-1: {'zcat' if packed(path) else 'cat'} {path} | "
        "iconv -f WINDOWS-1252 -t UTF-8 > NEW)"
    )
    raise DataError(f"{path}, line {line}: expected {named}, got the byte {byte:#04x}; {advice}") from None
