"""A worker ends in time: with what hangs in its app, and with what hangs in a thread after it."""

import subprocess
import sys

import pytest

from tests.worlds.places import ROOT

SCRIPT = """
import asyncio, os, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from mode import Service
from streams.runtime.logs import set_up
from streams.worker.ending import Ending

case = sys.argv[1]
models = ThreadPoolExecutor(1)

class App(Service):
    async def on_start(self):
        asyncio.get_running_loop().run_in_executor(models, time.sleep, 600 if case == "a thread" else 0)
        os.kill(os.getpid(), signal.SIGTERM)

    async def on_stop(self):
        await asyncio.sleep(600 if case == "the app" else 0)

async def at_last():
    models.shutdown(wait=False, cancel_futures=True)
    print("all stopped", flush=True)

set_up("info")
Ending(App(), 1.0 if case != "nothing" else 600.0, at_last).execute_from_commandline()
"""


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        ("nothing", 0, ["all stopped"]),
        ("a thread", 0, ["all stopped", "ended while a thread was at work"]),
        ("the app", 1, ["ended before all was stopped"]),
    ],
)
def test_the_end_is_not_waited_for_for_ever(case: str, code: int, said: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, case],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert all(words in ended.stdout + ended.stderr for words in said)
    assert ("all stopped" in ended.stdout) == ("all stopped" in said)
