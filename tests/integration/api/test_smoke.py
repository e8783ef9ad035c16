"""`deploy/smoke.sh` against a real api: what it says where all is well, and where something is missing."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from streams.operate.keys import add
from streams.up.asking import Somebody, needs_key
from streams.up.process import commands
from tests.worlds.places import ROOT
from tests.worlds.system import ready

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the script needs curl")


Said = tuple[int, str, str]


def smoke(*arguments: str) -> Said:
    """Exit code, output and errors of a run."""
    command = ["sh", str(ROOT / "deploy" / "smoke.sh"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, done.stdout, done.stderr


def smoked(system: Any, address: str, holds: Callable[[Said], bool], why: str) -> Said:
    """Runs it until what it says is what is waited for; returns that."""

    def said() -> Said | None:
        return found if holds(found := smoke(address)) else None

    found: Said = system.wait_for(said, why)
    return found


def test_a_click_goes_through_or_it_is_said_where_it_ends(system: Any) -> None:
    system.start("api", "--port", "0")
    plain = lambda: re.sub(r"\x1b\[[0-9;]*m", "", system.said("api"))  # noqa: E731
    address = system.wait_for(lambda: re.search(r"address=(\S+)", plain()), "the api listens").group(1)
    code, _, why = smoked(system, address, lambda said: "is not ready" not in said[2], "the api is ready")
    assert code == 1
    assert why.startswith("FAILED: no list came (503): is a worker running")

    system.start("worker")
    ready(system)
    _, told, _ = smoked(system, address, lambda said: said[0] == 0, "all is well")
    assert re.match(
        r"OK: a click of smoke-\S+ on \d+ was taken as \d+-\d+ and answered by a list of 5 items", told
    )
    assert f"release {'r-'}" in told

    key = add(system.settings, "smoke", "write", [], None, int(time.time() * 1000)).key
    _, _, why = smoked(system, address, lambda said: said[0] == 1, "the key is known")
    assert why.startswith("FAILED: 401: give a key with the scope write")
    code, told, why = smoke(address, key)
    assert (code, told[:3]) == (0, "OK:"), why
    assert key not in told + why
    try_what_up_prints(address, key)

    system.stop("api")
    code, _, why = smoke(address)
    assert (code, why.startswith(f"FAILED: {address} does not answer: ")) == (1, True)


def try_what_up_prints(address: str, key: str) -> None:
    """The commands that `nextclick up` shows, in a shell that has the key in a variable."""

    def said(line: str, **environment: str) -> str:
        words = ["bash", "-c", f"{line} --silent | head -n 1"]
        done = subprocess.run(
            words, env=os.environ | environment, capture_output=True, timeout=90, check=True
        )
        return done.stdout.decode()

    listed, clicked, followed = commands(address, Somebody("it's ü/1", "50"), keyed=True)
    assert json.loads(said(listed, KEY=key))["user_id"] == "it's ü/1"
    assert json.loads(said(clicked, KEY=key))["accepted"] == 1
    assert said(followed, KEY=key).startswith("retry: ")
    assert json.loads(said(clicked, KEY=""))["status"] == 401
    assert needs_key(address)
    assert not any("KEY" in line for line in commands(address, Somebody("u1", "50"), keyed=False))


def test_a_wrong_call_is_told_from_a_failure() -> None:
    assert smoke()[0] == 2
    assert smoke("localhost:8080")[0] == 2
