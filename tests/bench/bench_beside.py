"""Processor time a list of two checkouts, in turn: fifty lists of one, the same fifty of the other.

    python tests/bench/bench_beside.py --release DIR --data DIR OTHER_CHECKOUT [--runs 11]

Each checkout has its own environment in `.venv` and its own `tests/bench/bench_lists.py` (where a checkout is
older than that file, copy it there and put its imports right). What a machine does beside this costs both
sides the same. Printed: the ratio of means a run, here over there, as median and as the interval that holds
the median in 98.8 % of cases (the second and the last but one of eleven); then the ratio of the least times.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import fmean, median

HERE = Path(__file__).parents[2]


def one_run(sides: list[Path], release: Path, data: Path, turn: int) -> list[list[float]]:
    """Seconds of each list, a row a side."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(sides))]
        children = [
            subprocess.Popen(
                [side / ".venv/bin/python", "tests/bench/bench_lists.py", "--release", release,
                 "--data", data, "--times", file],
                cwd=side, env={**os.environ, "PYTHONPATH": "."}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for side, file in zip(sides, files, strict=True)
        ]  # fmt: skip
        said = [_said(child) for child in children]
        while all(word == "ready" for word in said):
            turn += 1
            for number in range(len(children)) if turn % 2 else reversed(range(len(children))):
                pipe = children[number].stdin
                assert pipe is not None
                pipe.write("\n")
                pipe.flush()
                said[number] = _said(children[number])
        for child in children:
            child.communicate()
            assert child.returncode == 0
        return [json.loads(file.read_text()) for file in files]


def _said(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=11)
    wishes = parser.parse_args()
    folders = wishes.release.resolve(), wishes.data.resolve()
    runs = [one_run([HERE, wishes.other.resolve()], *folders, turn) for turn in range(wishes.runs)]
    ratios = sorted(fmean(here) / fmean(there) for here, there in runs)
    least = [fmean(map(min, zip(*side, strict=True))) for side in zip(*runs, strict=True)]
    inner = ratios[1:-1] if len(ratios) > 2 else ratios
    print(f"here over there: {median(ratios):.3f} ({inner[0]:.3f} to {inner[-1]:.3f}) in {len(runs)} runs")
    print(
        f"least times: {1e6 * least[0]:.0f} us here, {1e6 * least[1]:.0f} us there: {least[0] / least[1]:.3f}"
    )


if __name__ == "__main__":
    main()
