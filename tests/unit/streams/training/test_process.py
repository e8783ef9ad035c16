"""When the trainer's process is started; what becomes of it is for the integration tests."""

import asyncio
from typing import Any

import pytest

from streams.releases.roles import Roles
from streams.settings import load_settings
from streams.training import process
from streams.wire.contract import ReleaseRecord


class Started(Exception):  # noqa: N818 (it names what has happened)
    """The process has been started."""


def start(*_: Any) -> Any:
    raise Started


@pytest.mark.parametrize("reason", ["it trains", "a candidate", "clicks are to be kept"])
def test_it_is_started_where_there_is_something_to_do(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_start", start)
    settings = load_settings(learn="periodic" if reason == "it trains" else "none")
    candidate = ReleaseRecord(release="r", url="/r", sha256="", role="candidate", at=1)
    roles = Roles([candidate] if reason == "a candidate" else [])
    quiet = 0.01 if reason == "clicks are to be kept" else 3600.0
    with pytest.raises(Started):
        asyncio.run(asyncio.wait_for(process.keep_trainer(settings, roles, quiet_seconds=quiet), timeout=90))


def test_without_anything_to_do_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_start", start)
    waiting = process.keep_trainer(load_settings(learn="none"), Roles())
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(waiting, timeout=0.05))
