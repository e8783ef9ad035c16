"""Where releases are kept: a folder or any fsspec URL, a folder for each release in it.

Owns publishing so that a half-written release is never seen, fetching with checksums, and what is thrown
away. On a file system a release is written under another name and renamed; object stores have no
rename, so there the manifest, without which there is no release, is written last (one object is written
whole or not at all). What the files hold is `learner.release.bundle`'s; which roles releases have is
`roles`'.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import msgspec
from fsspec.implementations.local import LocalFileSystem

from learner.release.bundle import MANIFEST, FileEntry, Manifest, ReleaseError
from learner.release.files import bundle_sha256, read_manifest, verify_release
from learner.text.query_encoder import FILES as ENCODER_FILES
from streams.settings import Settings

PARTIAL = ".partial"
_STALE_SECONDS = 86_400.0  # a partial copy this old belongs to a process that is gone
SPARED_SECONDS = 3600.0  # a release this young may be about to be announced
_CACHED = 6  # releases kept of those that were fetched from elsewhere
_SHORTEST_SHA = 16  # digits of a checksum that must agree at least


class StoreError(Exception):
    """A release that cannot be stored or fetched: names the file and says what to do."""


class NoDriver(StoreError):  # noqa: N818 (it names what is the matter)
    """An address that this installation has nothing for."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


class StoreUnreachable(StoreError):  # noqa: N818 (it names what is the matter)
    """The store does not answer, or the disk here is full. Trying again later may help; what runs goes on."""


class ReleaseStore:
    """Releases below `url`. Safe for several processes at once."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = _opened(self.url)
        self._local = isinstance(self._fs, LocalFileSystem)

    def where(self, release: str) -> str:
        """The URL of a release."""
        return f"{self.url}/{release}"

    def put(self, folder: Path) -> str:
        """Publishes a bundle under the id in its manifest and returns its URL; safe to repeat.

        Damaged files are published as they are: whoever loads them refuses them. Nobody throws it away before
        there is time to announce it. Raises ReleaseError
        where the manifest cannot be read, StoreError where the id is taken by another bundle.
        """
        manifest = read_manifest(folder)
        url, sha256 = self.where(manifest.release), bundle_sha256(folder)
        there = self.sha256(manifest.release)
        if there is not None and there != sha256:
            raise StoreError(
                f"{url}: holds another release of this id (SHA-256 {there[:16]}…, not {sha256[:16]}…); "
                "enter the bundle under an id of its own"
            )
        if there is None:
            names = [name for name in manifest.files if (folder / name).is_file()]
            with _reaching(url):
                (self._put_local if self._local else self._put_objects)(folder, manifest.release, names)
        else:
            self.spare(manifest.release)
        return url

    def spare(self, release: str) -> None:
        """Makes a stored release, if it is there, as young as if it had just been put."""
        path = f"{self._root}/{release}/{MANIFEST}"
        with _reaching(self.where(release)), contextlib.suppress(FileNotFoundError):
            if self._local:
                os.utime(path)
            else:
                self._fs.pipe_file(path, self._fs.cat_file(path))

    def releases(self) -> list[str]:
        """Ids of all complete releases, oldest first (an id begins with its time)."""
        with _reaching(self.url):
            if not self._fs.exists(self._root):
                return []
            self._fs.invalidate_cache()
            found = [Path(str(path)).name for path in self._fs.ls(self._root, detail=False)]
            return sorted(
                name for name in found
                if not name.startswith(".") and self._fs.exists(f"{self._root}/{name}/{MANIFEST}")
            )  # fmt: skip

    def remove(self, release: str) -> None:
        """Removes a release, its manifest first: there is no moment at which half of it is one."""
        path = f"{self._root}/{release}"
        with _reaching(self.where(release)):
            if self._fs.exists(f"{path}/{MANIFEST}"):
                self._fs.rm_file(f"{path}/{MANIFEST}")
            self._fs.rm(path, recursive=True)

    def prune(self, keep: Iterable[str], last: int) -> list[str]:
        """Removes all releases but the `last` newest ones and those in `keep`; returns what it removed.

        One that has just been put is left alone: whoever put it is about to announce it.
        """
        ids = self.releases()
        spared = {*keep, *ids[-last:]}
        gone = [release for release in ids if release not in spared and not self._is_young(release)]
        for release in gone:
            self.remove(release)
        if self._local:
            sweep(Path(self._root))
        return gone

    def sha256(self, release: str) -> str | None:
        """Checksum of the manifest in the store, None where there is none."""
        path = f"{self._root}/{release}/{MANIFEST}"
        with _reaching(self.where(release)):
            if not self._fs.exists(path):
                return None
            return hashlib.sha256(self._fs.cat_file(path)).hexdigest()

    def manifest(self, release: str) -> Manifest:
        """What a stored release says of itself. Raises StoreError where there is none that can be read."""
        path = f"{self._root}/{release}/{MANIFEST}"
        with _reaching(self.where(release)):
            try:
                return msgspec.json.decode(self._fs.cat_file(path), type=Manifest)
            except msgspec.DecodeError as error:
                raise StoreError(
                    f"{self.where(release)}/{MANIFEST}: no manifest of this version: {error}"
                ) from None

    def _is_young(self, release: str) -> bool:
        try:
            with _reaching(self.where(release)):
                when = self._fs.modified(f"{self._root}/{release}/{MANIFEST}")
        except StoreError:  # gone meanwhile, or a file system that does not know
            return False
        return bool(time.time() - when.timestamp() < SPARED_SECONDS)

    def _put_local(self, folder: Path, release: str, names: list[str]) -> None:
        root = Path(self._root)
        root.mkdir(parents=True, exist_ok=True)
        partial = root / f".{release}.{secrets.token_hex(4)}{PARTIAL}"
        partial.mkdir()
        try:
            listed = read_manifest(folder).files
            for name in (*names, MANIFEST):
                if not _shared(root, name, listed.get(name), partial / name):
                    _copy(folder / name, partial / name)
            place = root / release
            if place.exists():  # what is left of a removal that was interrupted
                shutil.rmtree(place)
            _rename(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _put_objects(self, folder: Path, release: str, names: list[str]) -> None:
        self._fs.makedirs(f"{self._root}/{release}", exist_ok=True)
        for name in names:
            self._fs.put_file(str(folder / name), f"{self._root}/{release}/{name}")
        self._fs.pipe_file(f"{self._root}/{release}/{MANIFEST}", (folder / MANIFEST).read_bytes())


def fetch(url: str, sha256: str, cache: Path) -> Path:
    """A folder on this machine with the release at `url`, whose manifest has the checksum `sha256`.

    A local release stays where it is (reading it verifies its files); one from elsewhere is fetched
    into `cache`, verified and kept there. Raises StoreError, which names the file, and StoreUnreachable.
    """
    fs, path = _opened(url)
    if isinstance(fs, LocalFileSystem):
        _standing(Path(path))
        return _checked(Path(path), sha256)
    place = cache / f"{Path(path).name}-{sha256[:16]}"
    if place.is_dir():
        with contextlib.suppress(StoreError, ReleaseError):
            verify_release(_checked(place, sha256))
            os.utime(place)
            return place
        shutil.rmtree(place, ignore_errors=True)
    partial = _partial(cache, place.name)
    try:
        _fetch_file(fs, path, MANIFEST, partial, url)
        manifest = read_manifest(_checked(partial, sha256))
        for name in manifest.files:
            if Path(name).name != name:
                raise StoreError(f"{url}/{MANIFEST}: expected names of files in this folder, got {name}")
            if not _shared(cache, name, manifest.files[name], partial / name):
                _fetch_file(fs, path, name, partial, url)
        verify_release(partial)
        if not place.exists():
            _rename(partial, place)
    except ReleaseError as error:  # of the copy here; the place to mend is there
        raise StoreError(str(error).replace(str(partial), url)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sweep(cache)
    _keep_newest(cache, _CACHED)
    return place


def manifest_at(url: str, sha256: str, cache: Path) -> Manifest:
    """The manifest of the release at `url` alone. Raises as `fetch` does."""
    fs, path = _opened(url)
    if isinstance(fs, LocalFileSystem):
        return read_manifest(_checked(Path(path), sha256))
    partial = _partial(cache, Path(path).name)
    try:
        _fetch_file(fs, path, MANIFEST, partial, url)
        return read_manifest(_checked(partial, sha256))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _standing(folder: Path) -> None:
    """Raises StoreUnreachable where the store around a release's folder is away: a mount that is gone, say.

    Nothing is wrong then with the release, and it must not be taken back for everybody.
    """
    try:
        folder.parent.stat()
        if folder.exists():
            (folder / MANIFEST).stat()
    except FileNotFoundError as error:
        if not folder.parent.exists():
            raise StoreUnreachable(f"{folder.parent}: no such folder; is it mounted here?") from error
    except OSError as error:
        raise StoreUnreachable(f"{folder}: {_short(error)}; is it mounted, and may be read?") from error


def _checked(folder: Path, sha256: str) -> Path:
    """The folder, if its manifest is the one that was announced."""
    try:
        came = bundle_sha256(folder)
    except ReleaseError as error:
        raise StoreError(str(error)) from error
    if not sha256 or len(sha256) < min(_SHORTEST_SHA, len(came)) or not came.startswith(sha256):
        raise StoreError(
            f"{folder / MANIFEST}: expected SHA-256 {sha256[:16]}… as announced, got {came[:16]}…; "
            "the release was changed after its announcement: enter it again with `nextclick releases add`"
        )
    return folder


def _shared(root: Path, name: str, entry: FileEntry | None, target: Path) -> bool:
    """Whether a release below `root` has the same file already, of those that many have, and shares it.

    Releases of one encoder have it once on a disk; its files are never changed in place.
    """
    if name not in ENCODER_FILES or entry is None:
        return False
    for other in sorted(root.glob(f"[!.]*/{name}"), reverse=True):
        with contextlib.suppress(ReleaseError, OSError):
            if read_manifest(other.parent).files.get(name) == entry and _sha256(other) == entry.sha256:
                os.link(other, target)  # where the file system has no links, the caller copies
                return True
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _partial(cache: Path, name: str) -> Path:
    """A new folder for what is being fetched."""
    partial = cache / f".{name}.{secrets.token_hex(4)}{PARTIAL}"
    with _reaching(str(cache)):
        partial.mkdir(parents=True)
    return partial


def _fetch_file(fs: Any, path: str, name: str, folder: Path, url: str) -> None:
    with _reaching(f"{url}/{name}"):
        fs.get_file(f"{path}/{name}", str(folder / name))


def _opened(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it. Raises NoDriver where there is nothing for it."""
    with _reaching(url):
        try:
            fs, path = fsspec.core.url_to_fs(url)
        except ValueError as error:  # an unknown scheme; later ones are answers that cannot be read
            raise _no_driver(url, error) from error
        return fs, str(path)


@contextlib.contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Turns what file systems raise into errors that name the file."""
    try:
        yield
    except (StoreError, ReleaseError):
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{url}: no such file; was the release removed, or never written whole?") from error
    except ImportError as error:
        raise _no_driver(url, error) from error
    except Exception as error:  # each driver has exceptions of its own
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreUnreachable(
                f"{url}: the disk here is full ({_short(error)}); free some space, then it goes on"
            ) from error
        raise StoreUnreachable(
            f"{url}: the release store does not answer ({_short(error)}); check address, rights and network"
        ) from error


def _no_driver(url: str, error: Exception) -> NoDriver:
    return NoDriver(f"{url}: {error}; install the driver for it, such as nextclick[s3]")


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("xb") as write:
        shutil.copyfileobj(read, write, 1 << 20)
        write.flush()
        os.fsync(write.fileno())


def _rename(partial: Path, place: Path) -> None:
    _sync(partial)
    try:
        partial.rename(place)
    except OSError:
        if not (place / MANIFEST).is_file():  # else another process was first, with the same bytes
            raise
    _sync(place.parent)


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # folders cannot be synced everywhere
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, pattern: str = f".*{PARTIAL}") -> None:
    """Removes copies that nobody works on any more: those of a process that was killed."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _keep_newest(cache: Path, count: int) -> None:
    found = [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(found, key=lambda each: each.stat().st_mtime)[:-count]:
        shutil.rmtree(path, ignore_errors=True)


def cache_of(settings: Settings) -> Path:
    """Folder of releases that were fetched from elsewhere."""
    return settings.data_dir / "cache" / "releases"
