"""What is started again, when and how often; what is not; and the order of the end. On a clock of our own."""

from dataclasses import dataclass, field

import pytest

from streams.up.supervisor import LONGEST_PAUSE_SECONDS, SOUND_SECONDS, Part, PartFailed, Supervisor

KILLED, SETTINGS, TEMPORARY = -9, 78, 75


@dataclass
class Time:
    now_s: float = 100.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Fake:
    """A process that ends when it is told to, `slow` seconds after it was asked."""

    name: str
    time: Time
    told: list[str]
    slow: float = 0.0
    pid: int = 1
    ended: int | None = None
    asked: float | None = None

    @property
    def code(self) -> int | None:
        if self.ended is None and self.asked is not None and self.time.now_s >= self.asked + self.slow:
            self.ended = 0
        return self.ended

    def ask_to_end(self) -> None:
        self.told.append(f"ask {self.name}")
        self.asked = self.time.now_s

    def kill(self) -> None:
        if self.code is None:
            self.told.append(f"kill {self.name}")
            self.ended = KILLED


@dataclass
class Machine:
    """A supervisor with parts whose lives are in `lives`, the newest last."""

    time: Time = field(default_factory=Time)
    told: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    lives: dict[str, list[Fake]] = field(default_factory=dict)
    refuses: bool = False
    slow: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.said.append, self.time.now, self.time.sleep)

    def add(self, name: str, *, ends: bool = False, stage: int = 1) -> Part:
        def start() -> Fake:
            if self.refuses:
                raise OSError("the port is taken")
            born = Fake(name, self.time, self.told, self.slow.get(name, 0.0))
            self.lives.setdefault(name, []).append(born)
            return born

        return self.supervisor.add(Part(name, start, lambda: f"{name} says why", ends, stage))

    def end(self, name: str, code: int) -> None:
        self.lives[name][-1].ended = code
        self.supervisor.look()

    def passes(self, seconds: float) -> None:
        self.time.now_s += seconds
        self.supervisor.look()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_what_ends_is_started_again_after_a_pause(machine: Machine) -> None:
    machine.add("worker")
    machine.end("worker", KILLED)
    assert machine.said == ["worker ended (killed by SIGKILL): worker says why; it is started again in 1 s"]
    assert len(machine.lives["worker"]) == 1
    machine.passes(0.9)
    assert len(machine.lives["worker"]) == 1
    machine.passes(0.2)
    assert len(machine.lives["worker"]) == 2


def test_pauses_grow_until_a_minute_and_begin_anew_after_a_sound_life(machine: Machine) -> None:
    machine.add("worker")
    pauses = []
    for _ in range(9):
        machine.end("worker", TEMPORARY)
        pauses.append(float(machine.said[-1].split(" in ")[-1].split()[0]))
        machine.passes(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    machine.passes(SOUND_SECONDS)
    machine.end("worker", TEMPORARY)
    assert machine.said[-1].endswith("in 1 s")


def test_a_part_that_fails_for_days_is_tried_for_days(machine: Machine) -> None:
    machine.add("worker")
    for _ in range(1_100):  # 2.0 ** 1024 is beyond any float
        machine.end("worker", TEMPORARY)
        machine.passes(LONGEST_PAUSE_SECONDS)
    machine.end("worker", TEMPORARY)
    assert machine.said[-1].endswith(f"in {LONGEST_PAUSE_SECONDS:.0f} s")


def test_one_pause_is_nobody_elses(machine: Machine) -> None:
    machine.add("worker")
    machine.add("api")
    for _ in range(4):
        machine.end("worker", TEMPORARY)
        machine.passes(60)
    machine.end("api", TEMPORARY)
    assert machine.said[-1].endswith("in 1 s")


@pytest.mark.parametrize("ends", [False, True])
def test_a_wrong_setting_is_not_tried_again(machine: Machine, ends: bool) -> None:
    machine.add("api", ends=ends)
    with pytest.raises(PartFailed, match=r"^api: api says why$") as raised:
        machine.end("api", SETTINGS)
    assert raised.value.exit_code == SETTINGS


def test_a_command_that_fails_by_itself_ends_it_all_and_one_that_is_killed_is_run_again(
    machine: Machine,
) -> None:
    machine.add("load", ends=True)
    machine.end("load", KILLED)
    machine.passes(1)
    machine.end("load", TEMPORARY)
    machine.passes(2)
    assert len(machine.lives["load"]) == 3
    with pytest.raises(PartFailed) as raised:
        machine.end("load", 1)
    assert raised.value.exit_code == SETTINGS


def test_a_command_that_is_done_is_left_alone(machine: Machine) -> None:
    part = machine.add("load", ends=True)
    assert not part.done
    machine.end("load", 0)
    machine.passes(1000)
    assert part.done
    assert len(machine.lives["load"]) == 1
    assert machine.said == []


def test_a_process_that_must_run_may_not_end_well_either(machine: Machine) -> None:
    machine.add("worker")
    machine.end("worker", 0)
    assert "worker ended (exit code 0)" in machine.said[0]


def test_a_start_that_fails_is_tried_again(machine: Machine) -> None:
    machine.add("broker")
    machine.refuses = True
    machine.end("broker", KILLED)
    machine.passes(1)
    assert machine.said[-1] == "broker cannot be started: the port is taken; it is started again in 2 s"
    machine.refuses = False
    machine.passes(2)
    assert len(machine.lives["broker"]) == 2


def test_the_first_start_that_fails_is_the_callers(machine: Machine) -> None:
    machine.refuses = True
    with pytest.raises(OSError, match="port"):
        machine.add("broker")
    machine.passes(10)
    assert machine.said == []


def test_the_end_goes_from_outside_in_and_takes_ten_seconds_at_most(machine: Machine) -> None:
    machine.slow = {"worker": 1.0, "broker": 60.0}
    machine.add("broker", stage=2)
    machine.add("learner")
    machine.add("worker")
    machine.add("api", stage=0)
    began = machine.time.now_s
    machine.supervisor.stop()
    assert machine.told == ["ask api", "ask learner", "ask worker", "ask broker", "kill broker"]
    assert machine.time.now_s - began < 10
    machine.passes(100)  # nothing comes back
    assert [len(lives) for lives in machine.lives.values()] == [1, 1, 1, 1]


def test_who_is_slow_to_go_keeps_nobody_but_the_broker_waiting(machine: Machine) -> None:
    machine.slow = {"api": 60.0, "worker": 1.0, "broker": 60.0}
    machine.add("broker", stage=2)
    machine.add("worker")
    machine.add("api", stage=0)
    began = machine.time.now_s
    machine.supervisor.stop()
    assert machine.told == ["ask api", "ask worker", "kill api", "ask broker", "kill broker"]
    (worker,) = machine.lives["worker"]
    assert worker.asked is not None
    assert worker.asked - began < 1
    assert machine.time.now_s - began < 9


def test_the_end_asks_nobody_who_has_ended(machine: Machine) -> None:
    machine.add("worker")
    machine.add("learner")
    machine.end("worker", KILLED)  # and waits to be started again
    machine.supervisor.stop()
    assert machine.told == ["ask learner"]
