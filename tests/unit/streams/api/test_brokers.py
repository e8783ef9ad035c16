"""The line to the brokers: whatever becomes of it, it is made anew."""

import asyncio
from pathlib import Path

import pytest

from streams.api import brokers
from streams.api.brokers import Brokers
from streams.settings import load_settings


def test_a_fault_of_the_client_s_own_leaves_nobody_without_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers, "_PAUSE_SECONDS", 0.0)
    line, tried = Brokers(load_settings(prefix="t.", data_dir=tmp_path), {}), []

    async def session() -> None:
        tried.append(1)
        await asyncio.sleep(0)
        raise (RuntimeError("Cannot change state"), LookupError("topics"), TimeoutError())[len(tried) % 3]

    monkeypatch.setattr(line, "_session", session)

    async def run() -> None:
        line.start()
        async with asyncio.timeout(30):
            while len(tried) < 10:
                await asyncio.sleep(0)
        await line.stop()

    asyncio.run(run())
