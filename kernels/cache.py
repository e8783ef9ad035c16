"""The folder that numba keeps machine code in, named by the sources that the code was made of.

numba compiles a kernel anew when the file that the kernel stands in has changed, but not when one has that
it takes a constant or a function from: after a pull it would run yesterday's code. So the folder's name is a
hash of all files with kernels in this project and of all that these import: a change begins a new folder.
"""

import functools
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGES = ("indexer", "learner", "streams")
KEPT = 3  # folders: today's, and those of two other checkouts or versions that take turns with it
_NAME = "kernels-"
_IMPORT = re.compile(
    rf"^\s*(?:from|import)\s+((?:{'|'.join(PACKAGES)})[\w.]*)(?:\s+import\s+([^#\n]+))?", re.M
)
_KERNEL = re.compile(r"^\s*@(?:numba\.)?(?:njit|jit|vectorize|guvectorize)\b", re.M)


@functools.cache
def use_cache() -> Path:
    """Tells numba the folder for these sources, and returns it; call it before the first kernel is defined.

    It lies in the folder that NUMBA_CACHE_DIR names, if it does, else beside what else this project keeps for
    the user. Where neither can be written to, it is a temporary one for this process and its children. The
    newest `KEPT` stay.
    """
    own = os.environ.get("NUMBA_CACHE_DIR", "")
    if Path(own).name.startswith(_NAME):  # set by the process that started this one
        own = str(Path(own).parent)
    name = _NAME + key_of(sources())
    for parent in (own, _of_user()):
        folder = Path(parent) / name
        if parent and _usable(folder):
            _tell(folder)
            _prune(folder)
            return folder
    folder = Path(tempfile.mkdtemp(prefix="nextclick-")) / name
    folder.mkdir()
    _tell(folder)
    return folder


def sources() -> list[Path]:
    """Files that machine code is made of: those with kernels, and all that they import of the project."""
    root = Path(__file__).parents[1]
    text = {
        path: path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    }
    found = {path for path, said in text.items() if _KERNEL.search(said)}
    open_ = list(found)
    while open_:
        for path in _imported(text[open_.pop()], root):
            if path in text and path not in found:
                found.add(path)
                open_.append(path)
    return sorted(found.union(Path(__file__).parent.glob("*.py")))  # groups.py writes kernels of its own


def key_of(files: Iterable[Path]) -> str:
    """A hash of names and contents, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(b"%s\0%d\0" % (path.name.encode(), path.stat().st_size))
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _imported(text: str, root: Path) -> Iterator[Path]:
    """Files that a module's import lines may mean: `from a.b import c` is a/b.py or a/b/c.py."""
    for module, names in _IMPORT.findall(text):
        place = root / module.replace(".", "/")
        yield place.with_suffix(".py")
        for name in re.findall(r"\w+", names):
            yield place / f"{name}.py"


def _of_user() -> str:
    """The same folder as the setting `cache_dir` by default; settings are not read this early."""
    home = (
        os.environ.get("NEXTCLICK_CACHE_DIR")
        or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "nextclick"
    )
    try:
        return str(Path(home).expanduser() / "numba")
    except RuntimeError:  # nobody knows a home
        return ""


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _tell(folder: Path) -> None:
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:  # it has read the environment already
        sys.modules["numba"].config.CACHE_DIR = str(folder)


def _prune(folder: Path) -> None:
    """Removes all but the newest; a process that still uses one of them compiles, and makes it anew."""
    try:
        others = sorted(folder.parent.glob(f"{_NAME}*"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:  # another process tidies too
        return
    for old in [path for path in others if path != folder][KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
