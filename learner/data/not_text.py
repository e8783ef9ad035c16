"""What a file that is no text probably is, by its first bytes. Knows no columns and opens no files."""

import re

GZIP, ZSTD, LZ4, AVRO = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"Obj\x01"
# The first bytes, what they are the beginning of, and what to do.
_BEGINNINGS = (
    (GZIP, "gzip within gzip", "unpack it once: zcat {file} > NEW.csv.gz"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it (unzip {file}), or save the sheet as CSV"),
    (b"PK\x05\x06", "an empty zip archive", "pack it again"),
    *((b"BZh%d1AY&SY" % level, "bzip2", "unpack it: bunzip2 < {file} > NEW") for level in range(1, 10)),
    (b"\xfd7zXZ\x00", "xz", "unpack it: xzcat {file} > NEW"),
    (ZSTD, "zstd", "unpack it: zstdcat {file} > NEW"),
    (LZ4, "lz4", "unpack it: lz4cat {file} > NEW"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it"),
    (b"PAR1", "Parquet", "give the file a name that ends in .parquet"),
    (b"ARROW1\0", "an Arrow file", "write it as Parquet or CSV"),
    (b"ORC", "an ORC file", "write it as Parquet or CSV"),
    (AVRO, "an Avro file", "write it as Parquet or CSV"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save the sheet as CSV"),
    (b"\x80\x04\x95", "a Python pickle", "write it as Parquet or CSV"),
    (b"\x93NUMPY", "a NumPy array", "write it as Parquet or CSV"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet or CSV"),
    (b"\x89PNG", "a picture", "check the path"),
    (b"%PDF", "a PDF", "check the path"),
    (b"version https://git-lfs", "a stand-in for a file that lies in Git LFS", "fetch it: git lfs pull"),
    (b"<!doctype html", "a web page", "look at it: the download has probably failed"),
    (b"<html", "a web page", "look at it: the download has probably failed"),
    (b"<?xml", "XML", "write it as CSV or JSON Lines"),
)  # fmt: skip
_LETTERS = (b"PAR1", b"ORC")  # columns may be called so, too: what follows tells
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_HEAD = 512  # bytes
_TAR_AT, _TAR = 257, b"ustar"


def is_gzip(first: bytes) -> bool:
    """Whether bytes begin as gzip does."""
    return first.startswith(GZIP)


def probably(first: bytes, file: object) -> tuple[str, str] | None:
    """What bytes are the beginning of, and what to do; None where they may be text.

    `file` is how the advice names it.
    """
    if first[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return "a tar archive", f"unpack it: tar -xf {file}"
    begins = first[:32].removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginning, what, mend in _BEGINNINGS:
        if beginning in _LETTERS and not _CONTROL.search(first[:_HEAD]):
            continue
        if (
            begins.lower().startswith(beginning.lower())
            if beginning[:1] in b"<"
            else begins.startswith(beginning)
        ):
            return what, mend.format(file=file)
    return None
