"""One `up` a data folder, and what is usual on one machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from streams.settings import load_settings
from streams.up.claim import AlreadyUp, Claim
from streams.up.system import CANARY_MINUTES, for_one_machine


def test_a_data_folder_has_one_up_at_a_time(tmp_path: Path) -> None:
    with Claim(tmp_path):
        with pytest.raises(AlreadyUp, match=rf"{tmp_path} is in use .*process {os.getpid()}\)") as raised:
            Claim(tmp_path)
        assert raised.value.exit_code == 75
        with Claim(tmp_path / "other"):
            pass
    with Claim(tmp_path):
        pass


def test_who_claims_a_folder_ends_what_is_left_in_it(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with Claim(tmp_path) as claim:
        assert claim.killed == 0
        claim.children.write_text(json.dumps({str(left.pid): psutil.Process(left.pid).create_time()}))
    with Claim(tmp_path) as claim:
        assert claim.killed == 1
    left.wait(60)


def test_a_canary_has_less_time_on_one_machine_unless_a_time_was_set() -> None:
    assert for_one_machine(load_settings()).canary_minutes == CANARY_MINUTES
    assert for_one_machine(load_settings(canary_minutes=30.0)).canary_minutes == 30.0
