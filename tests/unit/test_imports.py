"""What a process imports: the worker's path stays free of the learner's heavy libraries."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "onnx", "river", "sklearn", "pandas", "matplotlib", "opentelemetry")


@pytest.mark.parametrize(
    "module",
    [
        "streams.worker.process",
        "streams.api.process",
        "streams.hot_path.recommend",
        "learner.release.live",
        "learner.ranking.features",
    ],
)
def test_no_torch_on_the_workers_path(module: str) -> None:
    program = f"import sys, {module}; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_help_is_instant_because_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, streams.cli; print(sorted({'numpy', 'kafka', 'faust', 'numba'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
