"""Which gated linear recurrence the student should be: each trained and asked as the student is.

    PYTHONPATH=. python tests/bench/bench_recurrences.py --data DIR [--without tags] [--seeds 3]

Students that differ in the recurrence alone, with a state of 64 numbers a layer each, are trained on the
first 64 % of DIR's clicks with the project's own training and asked for the next 16 % (NDCG@10 over all items
clicked before, own ones left out): what a replay scores, the last fifth, has no part in the choice.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from learner.models.retrieval import retrieval_ndcg
from learner.models.run import Run
from learner.models.student import Layer, Student, StudentConfig, scan
from learner.models.student_training import train_model
from learner.training.material import prepare
from learner.training.options import TrainingOptions
from streams.replay.wishes import loaded

TRAINED, ASKED = 0.64, 0.8


class LearnedDecay(Layer):
    """h_t = a · h_{t-1} + (1 - a) · W_h x with one learned a for each channel, whatever is read."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.decay = nn.Parameter(torch.empty(dim).uniform_(-4, 0))

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """As `Layer`."""
        _, candidate, gate = self.gates(x).chunk(3, -1)
        update = (torch.sigmoid(self.decay) * reads).expand_as(candidate)
        states = scan(1 - update, update * candidate, first)
        return states * F.silu(gate), states


class GatedDecay(Layer):
    """A forget gate above a learned floor, as in Qin et al. 2023, "Hierarchically Gated RNN"."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.floor = nn.Parameter(torch.empty(dim).uniform_(-4, 2))

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """As `Layer`."""
        update, candidate, gate = self.gates(x).chunk(3, -1)
        update = (1 - torch.sigmoid(self.floor)) * torch.sigmoid(update + 2) * reads
        states = scan(1 - update, update * F.silu(candidate), first)
        return states * F.silu(gate), states


class RealGated(Layer):
    """RG-LRU of De et al. 2024, "Griffin": a_t = a^(8 r_t), h_t = a_t h_{t-1} + sqrt(1 - a_t²) i_t W x."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.candidate = nn.Linear(dim, dim)
        kept = torch.empty(dim).uniform_(0.6, 0.99) ** (1 / 8)
        self.rate = nn.Parameter(torch.log(torch.expm1(-torch.log(kept))))
        with torch.no_grad():
            self.gates.bias.zero_()

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """As `Layer`."""
        recurrence, entry, gate = self.gates(x).chunk(3, -1)
        log_kept = -8 * F.softplus(self.rate) * torch.sigmoid(recurrence) * reads
        share = torch.sqrt(-torch.expm1(2 * log_kept) + 1e-9) * reads
        states = scan(torch.exp(log_kept), share * torch.sigmoid(entry) * self.candidate(x), first)
        return states * F.silu(gate), states


class MinLSTM(Layer):
    """minLSTM of Feng et al. 2024: forget and input gate of their own, scaled to add up to 1."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.forget = nn.Linear(dim, dim)

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """As `Layer`."""
        entry, candidate, gate = self.gates(x).chunk(3, -1)
        entry, forget = torch.sigmoid(entry), torch.sigmoid(self.forget(x))
        update = entry / (entry + forget + 1e-6) * reads
        states = scan(1 - update, update * candidate, first)
        return states * F.silu(gate), states


class Complex(Layer):
    """LRU of Orvieto et al. 2023 (and LRURec, Yue et al. 2024): half as many complex, diagonal states."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        size = dim // 2
        kept = torch.empty(size).uniform_(0.8**2, 0.99**2).sqrt()
        self.rate = nn.Parameter(torch.log(-torch.log(kept)))
        self.angle = nn.Parameter(torch.empty(size).uniform_(math.log(0.01), math.log(math.pi)))
        self.scale = nn.Parameter(0.5 * torch.log(1 - kept**2))

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """As `Layer`; the real parts stand before the imaginary ones."""
        _, candidate, gate = self.gates(x).chunk(3, -1)
        size = len(self.rate)
        entering = torch.complex(candidate[..., :size], candidate[..., size:]) * (
            torch.exp(self.scale) * reads
        )
        kept = torch.exp(torch.complex(-torch.exp(self.rate) * reads, torch.exp(self.angle) * reads))
        begin = torch.complex(first[:, :size], first[:, size:])
        turned = scan(kept.expand_as(entering).contiguous(), entering, begin)
        states = torch.cat([turned.real, turned.imag], -1)
        return states * F.silu(gate), states


class FullGRU(Layer):
    """The GRU of Cho et al. 2014, whose gates read the state too: not linear, for comparison."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.cell = nn.GRUCell(dim, dim)

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """As `Layer`."""
        gate = self.gates(x).chunk(3, -1)[2]
        found, state = [], first
        for step in range(len(x)):
            state = torch.where(reads[step] > 0, self.cell(x[step], state), state)
            found.append(state)
        states = torch.stack(found)
        return states * F.silu(gate), states


CELLS: dict[str, Callable[[int], Layer]] = {
    "minGRU": Layer, "learned decay": LearnedDecay, "HGRN": GatedDecay, "RG-LRU": RealGated,
    "minLSTM": MinLSTM, "LRU": Complex, "GRU": FullGRU,
}  # fmt: skip


def main() -> None:
    """Prints a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with interactions and items")
    parser.add_argument("--without", default="", help="fields of the items to leave out, like tags")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", default=",".join(CELLS), help="which recurrences")
    options = parser.parse_args()
    torch.set_num_threads(1)
    without = [name for name in options.without.split(",") if name]
    clicks, items = loaded(options.data / "interactions.csv.gz", options.data / "items.csv.gz", without)
    data = clicks.in_order(0)
    begin, end = int(TRAINED * len(data)), int(ASKED * len(data))
    material = prepare(data.at(slice(0, end)), items, TrainingOptions())
    for name in options.cells.split(","):
        found, taken = [], 0.0
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            student = Student(material.content, StudentConfig())
            student.layers = nn.ModuleList([CELLS[name](student.config.dim) for _ in student.layers])
            report = train_model(student, material.data, begin, material.scale, Run(seed))
            found.append(retrieval_ndcg(student, material.data, begin, end, material.scale, limit=20_000))
            taken += report.seconds
        each = " ".join(f"{score:.4f}" for score in found)
        print(
            f"{name:14s} {np.mean(found):.4f} ± {np.std(found):.4f}  ({each})  {taken / len(found):.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
