"""Which drills a change calls for, and that the table names what there is."""

import ast
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.worlds.places import ROOT


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drills", ROOT / ".ci" / "drills.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


drills = _loaded()


def is_drill(decorator: ast.expr) -> bool:
    return ast.unparse(decorator) == "pytest.mark.drill"


def test_the_files_of_the_table_are_those_with_drills() -> None:
    marked = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and any(map(is_drill, node.decorator_list))
    }
    assert set(drills.ALL) == marked


def test_every_prefix_is_of_something() -> None:
    gone = [prefix for prefix in drills.TOUCHES if not (ROOT / prefix).exists()]
    assert set(gone) <= {"deploy/"}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], set()),
        (["docs/log.md", "README.md", "tests/unit/streams/wire/test_clock.py"], set()),
        (["streams/demo/show.py"], {*drills.DEMO}),
        (["docs/log.md", "streams/operate/doctor.py"], {*drills.BENCH, *drills.EVERYTHING}),
        (["tests/bench/bench_load.py"], set()),
        (["tests/worlds/ledger.py"], {*drills.EVERYTHING, *drills.AWAY}),
        (["streams/worker/rounds.py"], {*drills.RUNNING}),
        (["deploy/chart/values.yaml"], set()),
        (["deploy/containers/Dockerfile"], {*drills.IMAGE}),
        (["pyproject.toml"], {*drills.ALL}),
        (["somewhere/new.py"], {*drills.ALL}),
    ],
)
def test_a_change_calls_for_the_drills_of_what_it_touches(paths: list[str], expected: set[str]) -> None:
    assert set(drills.chosen(paths)) == expected


def git(folder: Path, *arguments: str, day: int = 1) -> None:
    when = f"2026-01-{day:02}T12:00:00Z"
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = names | {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, "HOME": str(folder)}
    subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(repository: Path, name: str, day: int) -> None:
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(day))
    git(repository, "add", name)
    git(repository, "commit", "-m", name, day=day)


def test_what_a_day_has_brought_counts(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(repository, "streams/worker/rounds.py", day=1)
    drills.main()
    said = capsys.readouterr()
    assert said.out.split() == [drill for drill in drills.ALL if drill not in drills.BY_HAND]
    assert f"{drills.BY_HAND[0]} is run by hand" in said.err
    assert "the history does not say" in said.err
    commit(repository, "streams/demo/show.py", day=9)
    commit(repository, "docs/log.md", day=9)
    drills.main()
    said = capsys.readouterr()
    assert said.out.split() == [*drills.DEMO]
    assert f"{drills.DEMO[0]} runs (streams/demo/show.py since" in said.err
    assert f"{drills.EVERYTHING[0]} does not run" in said.err


def test_a_base_can_be_given(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day, name in enumerate(("streams/worker/rounds.py", "docs/log.md", "docs/design.md"), 1):
        commit(repository, name, day)
    drills.main("HEAD~2")
    assert capsys.readouterr().out.split() == []
    drills.main("gone")
    assert set(capsys.readouterr().out.split()) == {*drills.ALL} - {*drills.BY_HAND}
