"""Jobs done here and in processes of their own: the same results, progress and errors."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from learner.training import crew
from learner.training.crew import Crew, Job
from tests.worlds.places import ROOT


def scaled(context, tell, clock, number):
    tell("scaled", 1.0, str(number))
    tell.note("scaled/loss", 0.5, number)
    assert clock() > 0
    return context * number, os.getpid()


def failing(context, tell, clock, number, other=None):
    while other is not None and not other.with_suffix(".begun").exists():
        time.sleep(0.01)
    raise ValueError(f"job {number} of {context}")


def sleeping(context, tell, clock, file):
    file.with_suffix(".begun").touch()
    time.sleep(100)  # it is killed long before
    file.with_suffix(".done").touch()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_stand_in_the_order_of_the_jobs_and_progress_comes_back(processes) -> None:
    told, points = [], []
    with Crew(
        10, processes, lambda *what: told.append(what), time.perf_counter, lambda *what: points.append(what)
    ) as team:
        found = team.run([Job(scaled, (number,), cost=number) for number in (1, 3, 2)])
    assert [value for value, _ in found] == [10, 30, 20]
    assert ({pid for _, pid in found} == {os.getpid()}) == (processes == 1)
    assert {text for _, _, text in told} == {"1", "2", "3"}
    assert sorted(points) == [("scaled/loss", 0.5, number) for number in (1, 2, 3)]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_job_raises_is_raised_and_no_other_job_is_waited_for(processes, tmp_path) -> None:
    other = tmp_path / "other"
    with (
        pytest.raises(ValueError, match="job 7 of 10"),
        Crew(10, processes, lambda *_: None, time.perf_counter) as team,
    ):
        team.run([Job(failing, (7, other if processes > 1 else None)), Job(sleeping, (other,))])
    assert other.with_suffix(".begun").exists() == (processes > 1)
    assert not other.with_suffix(".done").exists()


_PARENT = """
import sys, time
sys.path.insert(0, {here!r})
from learner.training.crew import Crew, Job
from tests.worlds.jobs import told_and_sleeping
if __name__ == "__main__":
    with Crew(0, 2, lambda *what: print(what[2], flush=True), time.perf_counter) as crew:
        crew.run([Job(told_and_sleeping, ()), Job(told_and_sleeping, ())])
"""


@pytest.mark.parametrize(("quota", "most"), [("150000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_cores_are_no_more_than_the_quota_pays_for(quota, most, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(crew, "QUOTA", tmp_path / "cpu.max")
    everything = crew.cores()
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert crew.cores() == (most or everything)


def test_processes_end_with_a_parent_that_is_killed(tmp_path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT.format(here=str(ROOT)))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    children = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 90
    while any(_runs(child) for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(_runs(child) for child in children)


def test_a_job_alone_leaves_nothing_in_the_process_that_waits_for_it() -> None:
    """Neither a module that a job's name has loaded, nor the process that was to end with its job."""
    script = (
        "import os, sys, time\n"
        "from learner.training.crew import Crew, Job\n"
        "if __name__ == '__main__':\n"
        "    with Crew(3, 2, lambda *_: None, time.perf_counter) as crew:\n"
        "        job = Job('tests.worlds.jobs:tripled', (5,))\n"
        "        (value, here), (_, apart) = crew.run([job])[0], crew.apart(job)\n"
        "        assert value == 15 and here not in (os.getpid(), apart)\n"
        "        assert 'tests.worlds.jobs' not in sys.modules\n"
        "        os.kill(here, 0)\n"
        "        print(apart)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert not _runs(int(done.stdout))


def test_who_plans_a_training_loads_no_torch() -> None:
    script = "import sys, learner.training.train, streams.training.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120, check=False).returncode == 0


def _runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
