"""`nextclick compile`: it leaves no kernel out, and nothing is left to compile after it."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from streams.operate import made_up
from tests.worlds.places import ROOT

# All modules that can be imported where workers run; the baselines' kernels are compiled by the first replay.
# What a kernel calls is compiled with it, and known by its names.
LEFT_OUT = """
import importlib, json, pkgutil, sys, types
import indexer, learner, streams
from streams.operate.kernels import compile_all, imported

missing = ("torch", "onnx", "transformers", "tokenizers", "river", "optuna", "scipy", "matplotlib")
sys.modules.update(dict.fromkeys(missing))
called = [kernel.dispatcher for kernel in compile_all() if kernel.compiled or kernel.read]
signatures = {f"{each.__module__}.{each.__name__}": list(map(str, each.signatures)) for each in called}
for package in (indexer, learner, streams):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "baselines" not in module.name and not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                assert any(name in str(error) for name in missing), (module.name, error)
kernels = {kernel.dispatcher: kernel.name for kernel in imported()}
for each in called:
    of = each.py_func.__globals__
    names = each.py_func.__code__.co_names
    modules = [of[name] for name in names if isinstance(of.get(name), types.ModuleType)]
    named = [of.get(name) for name in names]
    named += [getattr(module, name, None) for module in modules for name in names]
    called += [callee for callee in kernels if any(callee is each for each in named) and callee not in called]
left_out = [name for kernel, name in kernels.items() if kernel not in called]
print(json.dumps({"signatures": signatures, "kernels": sorted(kernels.values()), "left_out": left_out}))
"""

# What a worker does with all kinds of arrivals, a learner with clicks, and a replay.
AT_WORK = """
import sys, tempfile
from pathlib import Path
import numpy as np
from learner.evaluation.plan import plan
from learner.evaluation.replay import play
from learner.signals.state import Signals
from streams.hot_path.recommend import recommend
from streams.learning.counting import Counting
from streams.replay.systems import Nextclick, Student
from streams.wire.clock import Clock
from streams.wire.contract import Click, encode
from tests.worlds import replay_world
from tests.worlds.rounds import NOW, arrivals, world

rng = np.random.default_rng(0)
serving, states = world()
coming = arrivals(rng, 20, 300)
for first in range(0, 300, 25):
    recommend(coming[first : first + 25], states, serving, NOW + 10_000, rng)
    recommend(coming[first : first + 1], states, serving, NOW + 10_000, rng)
signals = Signals(serving.signals.settings, serving.catalogue)
counting = Counting(signals, serving.catalogue, Clock("stream"))
counting.begin()
for number, arrival in enumerate(coming):
    if isinstance(arrival.message, Click):
        counting.count(encode(arrival.message), 0, number, NOW)
for item in signals.drain():
    serving.signals.apply(serving.catalogue.ids[item], signals.record(item))
made = plan(replay_world.stream(), split=0.7)
with tempfile.TemporaryDirectory() as scratch:
    train = lambda first: replay_world.untrained_release(first, Path(scratch) / "release")
    for system in (Nextclick, Student):
        play(system(train, replay_world.POLICY), made)
"""


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    """All kernels, those that the command leaves out, and what the others were compiled for."""
    told: dict[str, Any] = json.loads(run("-c", LEFT_OUT))
    return told


def test_no_kernel_is_left_out(compiled: dict[str, Any]) -> None:
    assert compiled["left_out"] == []
    assert {"learner.ranking.own_items._sums", "indexer.select._best"} <= set(compiled["kernels"])


def test_nothing_is_left_to_compile(compiled: dict[str, Any]) -> None:
    """Whoever else has filled the cache: what is called was called by the command, with the same types."""
    program = (
        f"{AT_WORK}\n"
        "import json\n"
        "from streams.operate.kernels import imported\n"
        "called = [kernel for kernel in imported() if kernel.compiled or kernel.read]\n"
        "print(json.dumps({k.name: [k.compiled, list(map(str, k.dispatcher.signatures))] for k in called}))"
    )
    called = json.loads(run("-c", program))
    assert len(called) > 10
    for name, (anew, signatures) in called.items():
        assert not anew, name
        assert set(signatures) <= set(compiled["signatures"].get(name, [])), name


def test_the_command_says_how_many(compiled: dict[str, Any]) -> None:
    said = run("-m", "streams", "compile")
    words = rf"{len(compiled['kernels'])} kernels ready after \d+ s, (none|\d+) of them compiled now"
    assert re.fullmatch(words, said.strip())


def test_the_made_up_models_are_what_they_are_said_to_be() -> None:
    pytest.importorskip("onnx")
    import numpy as np

    from learner.graphs.onnx_graph import FLOAT, INT64, Graph

    student = Graph()
    for name, dtype, shape in (
        ("item_vector", FLOAT, ("B", "D")), ("kind", INT64, ("B",)), ("log_gap", FLOAT, ("B",)),
        ("value", FLOAT, ("B",)), ("hidden", FLOAT, ("B", "S")),
    ):  # fmt: skip
        student.input(name, dtype, shape)
    student.add("Identity", "hidden", out="hidden_after")
    student.add("Identity", "item_vector", out="user_vector")
    student.output("hidden_after", FLOAT, ("B", "S"))
    student.output("user_vector", FLOAT, ("B", "D"))
    assert student.model("s") == made_up.STUDENT
    ranker = Graph()
    ranker.input("features", FLOAT, ("B", "C", "F"))
    ranker.add("ReduceSum", "features", ranker.constant(np.array([2])), out="scores", keepdims=0)
    ranker.output("scores", FLOAT, ("B", "C"))
    assert ranker.model("r") == made_up.RANKER
