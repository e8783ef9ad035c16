"""The demo's data: fetched by whichever client is there, checked, never half written."""

import importlib.util
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from learner.data import ml100k
from learner.data.catalogue import Item
from learner.data.dataset import load_interactions, load_items

FILES = {
    "inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    b"196\t242\t3\t881250949\n196\t1\t5\t881250950\n",
    "item": b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b"1\tToy Story\t1995\tAnimation Children's Comedy\n"
    b"267\tunkonwn\tunkonwn\tunknown\n"
    b"1412\tLand Before Time III (1995)\tV\tAnimation\n",
}

WRITTEN = ["NOTICE.txt", "interactions.csv.gz", "items.csv.gz"]


@pytest.fixture
def pypi(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A package client that hands out `files`; `calls` are the commands it was given."""
    world: dict[str, Any] = {"files": dict(FILES), "calls": [], "fails": ""}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        world["calls"].append(command)
        inside = {f"{ml100k._INSIDE}{ending}": data for ending, data in world["files"].items()}
        if world["fails"]:
            return subprocess.CompletedProcess(command, 1, "", f"trace\n{world['fails']}\n")
        if "--dest" in command:
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "recbole.whl", "w") as archive:
                for name, data in inside.items():
                    archive.writestr(name, data)
        else:
            for name, data in inside.items():
                path = Path(command[command.index("--target") + 1]) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(
        ml100k, "_SHA256", {ending: sha256(data).hexdigest() for ending, data in FILES.items()}
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "pip" else None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return world


def test_the_files_are_as_the_loaders_want_them(pypi: dict[str, Any], tmp_path: Path) -> None:
    folder = ml100k.fetch_ml100k(tmp_path / "data" / "ml-100k")
    data = load_interactions(folder / "interactions.csv.gz")
    assert data.user_ids == ["196"]
    assert data.item_ids == ["242", "1"]
    assert data.time_ms.tolist() == [881250949000, 881250950000]
    assert data.value.tolist() == [3, 5]
    assert load_items(folder / "items.csv.gz") == [
        Item(item_id="1", title="Toy Story (1995)", categories=["Animation", "Children's", "Comedy"]),
        Item(item_id="267"),
        Item(item_id="1412", title="Land Before Time III (1995)", categories=["Animation"]),
    ]
    assert "GroupLens" in (folder / "NOTICE.txt").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        "NOTICE.txt",
        "interactions.csv.gz",
        "items.csv.gz",
    ]


def test_it_is_fetched_once_and_always_the_same(pypi: dict[str, Any], tmp_path: Path) -> None:
    one, two = (ml100k.fetch_ml100k(tmp_path / name) for name in "ab")
    ml100k.fetch_ml100k(one)
    assert len(pypi["calls"]) == 2
    for name in ("interactions.csv.gz", "items.csv.gz"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_uv_steps_in_for_pip(pypi: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ml100k.DownloadError, match="neither pip nor uv"):
        ml100k.fetch_ml100k(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/uv")
    assert len(load_interactions(ml100k.fetch_ml100k(tmp_path) / "interactions.csv.gz")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "NOTICE.txt",
        "interactions.csv.gz",
        "items.csv.gz",
    ]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda world: world["files"].update(item=b"changed"),
            r"ml-100k.item of recbole.* got .* not used",
        ),
        (lambda world: world["files"].pop("inter"), "is not the package it was"),
        (
            lambda world: world.update(fails="ERROR: No matching distribution"),
            "downloaded: ERROR: No matching .* --data",
        ),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(
    pypi: dict[str, Any], tmp_path: Path, spoil: Callable[[dict[str, Any]], object], says: str
) -> None:
    spoil(pypi)
    (tmp_path / "mine.txt").write_text("stays")
    with pytest.raises(ml100k.DownloadError, match=says):
        ml100k.fetch_ml100k(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written(pypi: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ml100k.DownloadError, match="cannot write the demo's data"):
        ml100k.fetch_ml100k(tmp_path / "file" / "ml-100k")
