"""The demo's data: MovieLens-100k, taken out of the RecBole wheel and checked.

Owns where the files come from, their checksums and their form as `interactions.csv.gz` and
`items.csv.gz`. The data are GroupLens Research's (Harper and Konstan 2015, "The MovieLens Datasets"), free
for research, not for commercial use; nothing of them is part of this package.
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
from collections.abc import Iterator
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


class DownloadError(Exception):
    """The data cannot be had: says why, and what to do instead."""


def fetch_ml100k(folder: Path) -> Path:
    """Puts the data into `folder`, unless they are there; returns the folder. About 2 MB, once."""
    if (folder / "interactions.csv.gz").exists() and (folder / "items.csv.gz").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        wheel = _download(unfinished)
        with zipfile.ZipFile(wheel) as archive:
            inter, item = (_checked(archive, ending) for ending in ("inter", "item"))
        wheel.unlink()
        _write(unfinished / "interactions.csv.gz", ("user_id", "item_id", "rating", "timestamp", "event"), (
            (user, movie, rating, time, "rating") for user, movie, rating, time in _rows(inter)
        ))  # fmt: skip
        _write(unfinished / "items.csv.gz", ("item_id", "title", "categories"), (
            (movie, f"{title} ({year})" if year else title, "|".join(genres.split()))
            for movie, title, year, genres in _rows(item)
        ))  # fmt: skip
        (unfinished / "NOTICE.txt").write_text(_NOTICE)
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        if not (folder / "items.csv.gz").exists():  # else another process has been quicker
            raise DownloadError(f"cannot write the demo's data to {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _download(folder: Path) -> Path:
    """The wheel, through whichever ordinary client this environment has."""
    if importlib.util.find_spec("pip") is not None:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
        ]
    else:
        raise DownloadError(
            f"the demo's data come from the PyPI package {WHEEL}, and this environment has no pip to get it: "
            "`python -m ensurepip`, or name a folder of your own with --data"
        )
    done = subprocess.run(
        [*command, "--dest", str(folder), WHEEL],
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INPUT": "1"},
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(
            f"the demo's data come from the PyPI package {WHEEL}, which could not be downloaded: {last}; "
            "check the network, or name a folder of your own with --data"
        )
    return wheels[0]


def _checked(archive: zipfile.ZipFile, ending: str) -> str:
    content = archive.read(f"{_INSIDE}{ending}")
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[ending]:
        raise DownloadError(
            f"ml-100k.{ending} of {WHEEL} has sha256 {found}, expected {_SHA256[ending]}: not used"
        )
    return content.decode()


def _rows(text: str) -> Iterator[list[str]]:
    """Rows of a tab-separated file, without its header."""
    reader = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    next(reader)
    return reader


def _write(path: Path, columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
