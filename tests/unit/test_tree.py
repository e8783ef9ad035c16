"""The tests' own order: each stands in the room of what it tests; what several share is in tests/worlds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.places import ROOT

KINDS = (
    "unit",
    "integration",
    "e2e",
    "strangers",
)  # folders with tests; `bench` measures, `golden` and `worlds` serve


def imported(file: Path) -> Iterator[str]:
    """Modules that a file may import, with every name taken from them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{name.name}" for name in node.names)


def importing_tests(root: Path) -> list[tuple[str, str]]:
    """Files under tests/ that import a test, and what."""
    kinds = tuple(f"tests.{kind}" for kind in KINDS)
    return [
        (str(file.relative_to(root)), name)
        for file in sorted((root / "tests").rglob("*.py"))
        for name in imported(file)
        if name.startswith((".", *kinds)) or any(part.startswith("test_") for part in name.split("."))
    ]


def misplaced(root: Path) -> list[str]:
    """Test files that speak of no room of the project.

    tests/unit/<package>/<room>, tests/integration/<room of streams, or the client>; whatever concerns the
    whole stands in the root of `unit`, in `e2e`, or in `strangers`, which has what others send and where they
    run it.
    """
    wrong = []
    for file in sorted((root / "tests").rglob("test_*.py")):
        kind, *room = file.relative_to(root / "tests").parent.parts or [""]
        inside = ["streams"] if kind == "integration" and room[:1] != ["nextclick"] else []
        place = root.joinpath(*inside, *room)
        if (
            kind not in KINDS
            or (room and not list(place.glob("*.py")))
            or (kind == "integration" and not room)
        ):
            wrong.append(str(file.relative_to(root)))
    return wrong


def test_no_test_is_imported() -> None:
    assert importing_tests(ROOT) == []


def test_every_test_stands_in_the_room_of_what_it_tests() -> None:
    assert misplaced(ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "from tests.unit.streams.wire.test_clock import x",
        "from tests.unit.streams.wire import test_clock",
        "from test_clock import x",
        "import test_clock",
        "from .worlds import x",
        "def late():\n    from tests.e2e.test_demo import x",
    ],
)
def test_an_import_of_a_test_is_noticed(text: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_new.py").write_text(text)
    assert {file for file, _ in importing_tests(tmp_path)} == {"tests/test_new.py"}


@pytest.mark.parametrize(
    "file", ["unit/streams/kitchen/test_a.py", "integration/learner/test_a.py", "new/test_a.py", "test_a.py"]
)
def test_a_test_without_a_room_is_noticed(file: str, tmp_path: Path) -> None:
    for path in (f"tests/{file}", "tests/unit/streams/wire/test_b.py", "streams/wire/clock.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert misplaced(tmp_path) == [f"tests/{file}"]
