"""What a worker has in memory for nothing: libraries that only trainings, exports and commands need."""

import subprocess
import sys

from tests.worlds.places import ROOT

# pyarrow alone is 38 MB, torch ten times that.
NEEDLESS = ("pyarrow", "pandas", "torch", "onnx", "river", "scipy.sparse", "sklearn")


def test_a_worker_imports_no_library_of_others() -> None:
    script = f"import sys, streams.cli, streams.worker.process; print(*(set({NEEDLESS}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
