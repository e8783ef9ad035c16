"""What a process leaves outside its data and cache folders: nothing, and nothing of it is for others."""

import os
import subprocess
import sys
from pathlib import Path

from tests.worlds.places import GOLDEN, ROOT

STUDENT = GOLDEN / "release_v1" / "student.onnx"
RUNNING = (
    "from pathlib import Path\n"
    "from learner.release.sessions import StudentSession\n"
    "from learner.text import encoder\nfrom learner.text.card import EncoderChoice\n"
    f"path = Path({str(STUDENT)!r})\n"
    "StudentSession(path.read_bytes(), path)\n"
    "if encoder.installed():\n"
    "    encoder.open_encoder(EncoderChoice()).read(['a tea pot'])\n"
)
OWN = ("XDG_", "NUMBA_", "NEXTCLICK_", "ORT_")  # variables that would lead elsewhere


def left_by(program: str, folder: Path) -> list[str]:
    """Files that a process has made in its home, its temporary or its working folder, or beside them."""
    places = {name: folder / name for name in ("home", "tmp", "work", "xdg", "cache")}
    for place in places.values():
        place.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "NUMBA_", "NEXTCLICK_"))
    }
    environment |= {
        "HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "XDG_CACHE_HOME": str(places["xdg"]),
        "XDG_STATE_HOME": str(places["xdg"]), "XDG_CONFIG_HOME": str(places["xdg"]), "PYTHONPATH": str(ROOT),
        "NEXTCLICK_CACHE_DIR": str(places["cache"]), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", program], cwd=places["work"], env=environment, check=True, timeout=300
    )
    left = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in left if path.parts[0] != "cache")


def test_models_run_and_nothing_is_left_anywhere_but_in_the_cache(tmp_path: Path) -> None:
    assert left_by(RUNNING, tmp_path) == []


def test_what_is_left_elsewhere_would_be_seen(tmp_path: Path) -> None:
    assert left_by("import pathlib; (pathlib.Path.home() / 'x').touch()", tmp_path) == ["home/x"]


def test_sessions_are_made_in_one_place_which_switches_usage_events_off() -> None:
    made = [
        str(path.relative_to(ROOT))
        for package in ("learner", "streams", "indexer", "kernels")
        for path in (ROOT / package).rglob("*.py")
        if "InferenceSession(" in path.read_text(encoding="utf-8")
    ]
    assert made == ["learner/graphs/running.py"]
    assert "\nonnxruntime.disable_telemetry_events()\n" in (ROOT / made[0]).read_text(encoding="utf-8")
