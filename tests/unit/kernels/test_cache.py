"""The folder of compiled kernels: another one when any source of the machine code has changed."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernels import cache
from kernels.cache import KEPT, key_of, sources, use_cache


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A parent folder of this test's own, for a cache that nobody has asked for yet."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "parent"))
    monkeypatch.setattr(cache, "_tell", lambda folder: os.environ.__setitem__("NUMBA_CACHE_DIR", str(folder)))
    use_cache.cache_clear()
    yield tmp_path / "parent"
    use_cache.cache_clear()


def test_an_edit_in_the_file_of_a_callee_is_noticed(tmp_path: Path) -> None:
    """What numba alone gets wrong: the caller's machine code holds the callee's old constant."""
    for package in ("kernels", "indexer", "learner", "streams"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    for name in ("__init__.py", "cache.py"):
        (tmp_path / "kernels" / name).write_text(Path(cache.__file__).with_name(name).read_text())
    (tmp_path / "learner" / "__init__.py").write_text("from kernels.cache import use_cache\nuse_cache()\n")
    (tmp_path / "learner" / "caller.py").write_text(
        textwrap.dedent("""
            import numba
            from learner.callee import CONSTANT

            @numba.njit(cache=True)
            def asked():
                return CONSTANT
            """)
    )

    def answer() -> str:
        return subprocess.run(
            [sys.executable, "-c", "from learner.caller import asked; print(asked())"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"},
        ).stdout.strip()  # fmt: skip

    (tmp_path / "learner" / "callee.py").write_text("CONSTANT = 1\n")
    assert answer() == "1"
    assert answer() == "1"
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (tmp_path / "learner" / "callee.py").write_text("CONSTANT = 2\n")
    assert answer() == "2"


def test_constants_that_kernels_take_from_elsewhere_count() -> None:
    names = {path.name for path in sources()}
    assert {"features.py", "candidates.py", "select.py", "events.py"} <= names
    assert "settings.py" not in {path.name for path in sources() if path.parent.name == "streams"}


def test_the_key_follows_contents_and_not_times(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("A = 1\n")
    before = key_of([file])
    os.utime(file, (1, 1))
    assert key_of([file]) == before
    file.write_text("A = 2\n")
    assert key_of([file]) != before


def test_a_users_own_folder_is_kept_as_the_parent_also_by_children(fresh: Path) -> None:
    folder = use_cache()
    assert folder.parent == fresh
    use_cache.cache_clear()  # as in a process that this one starts, which sees what this one has set
    assert use_cache() == folder


def test_the_newest_stay(fresh: Path) -> None:
    for age in range(6):
        old = fresh / f"kernels-{age}"
        old.mkdir(parents=True)
        os.utime(old, (1000 - age, 1000 - age))
    (fresh / "somebody's own").mkdir()
    folder = use_cache()
    assert {path.name for path in fresh.iterdir()} == {
        folder.name, *(f"kernels-{age}" for age in range(KEPT - 1)), "somebody's own",
    }  # fmt: skip


def test_a_folder_that_cannot_be_written_to_is_passed_over(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.write_text("a file where the folder should be")
    monkeypatch.setenv("NEXTCLICK_CACHE_DIR", str(tmp_path / "user"))
    assert use_cache().parent == tmp_path / "user" / "numba"
    use_cache.cache_clear()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(fresh))
    monkeypatch.setenv("NEXTCLICK_CACHE_DIR", str(fresh))
    assert use_cache().is_dir()
