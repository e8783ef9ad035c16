"""The student: a minGRU that turns a user's events, one by one, into a user vector.

Owns the network. Training it is `learner.models.student_training`'s, exporting it as one
ONNX step `learner.models.student_export`'s, encoding whole logs `learner.models.sequences`'. Does not know
candidates, signals, releases or the catalogue: items are rows of the arrays it is given.

score(user, item) = user_vector · vectors[item] + bias[item] + prior_weight · log(decayed popularity + .05)

The recurrence (Feng et al. 2024, "Were RNNs all we needed?", minGRU) is, by layer,
z = sigmoid(W_z x), h_t = (1 - z) h_{t-1} + z W_h x, y = W_o (h_t · silu(W_g x)).
Dislikes and hides never are targets. They enter an aversion memory that is subtracted from the user
vector, so that they push away even where training has seen none of them.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from learner.data.events import AVERSION, Kind
from learner.data.inputs import INTEREST_KINDS
from learner.models.item_content import ItemContent
from learner.models.item_table import ItemTable
from learner.models.settings import StudentConfig

START = len(Kind)  # pseudo kind before a user's first event: nothing is read, `initial` is the output
GAP_SCALE = 0.1  # log(1 + seconds) reaches 20: brought near 1
AVERSION_KEEP = 0.98  # share of the aversion memory that outlives an event: half is gone after 34
AVERSION_PUSH = 2.0  # initial strength; user vectors leave a layer norm with length 8 at 64 dimensions
AVERSION_KINDS = np.array([kind in AVERSION for kind in Kind] + [False])


class _Scan(torch.autograd.Function):
    """h_t = a_t · h_{t-1} + b_t over the first axis, one step after the other.

    a, b (L, B, D), first (B, D) -> (L, B, D). On few cores a loop of fused multiply-adds beats every
    parallel scan, and the custom backward pass saves autograd L small nodes. Complex numbers are welcome too.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, first: Tensor) -> Tensor:
        states = torch.empty_like(b)
        previous = first
        for step in range(b.shape[0]):
            torch.addcmul(b[step], a[step], previous, out=states[step])
            previous = states[step]
        ctx.save_for_backward(a, states, first)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,) = grads
        a, states, first = ctx.saved_tensors
        back = a.conj()  # a itself where it is real
        grad_b = torch.empty_like(states)
        grad_b[-1] = grad[-1]
        for step in range(states.shape[0] - 2, -1, -1):
            torch.addcmul(grad[step], back[step + 1], grad_b[step + 1], out=grad_b[step])
        previous = torch.cat([first[None], states[:-1]])
        return grad_b * previous.conj(), grad_b, grad_b[0] * back[0]


def scan(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """States (L, B, D) of h_t = a_t · h_{t-1} + b_t, as `_Scan` says."""
    out: Tensor = _Scan.apply(a, b, first)  # type: ignore[no-untyped-call]
    return out


class Layer(nn.Module):
    """One gated linear recurrence with its feed-forward block, both normalised after the residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gates = nn.Linear(dim, 3 * dim)  # update gate, candidate state, output gate
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 2 * dim)
        self.narrow = nn.Linear(2 * dim, dim)
        self.norm_wide = nn.LayerNorm(dim)
        with torch.no_grad():
            self.gates.bias[:dim].uniform_(-4, 0)  # time scales from slow to fast

    def forward(self, x: Tensor, reads: Tensor, first: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
        """x (L, B, D), reads (L, B, 1) 0 or 1, first (B, D) -> output (L, B, D), states (L, B, D)."""
        read, states = self.recur(x, reads, first)
        drop = dropout if self.training else 0.0
        x = self.norm(x + F.dropout(self.out(read), drop, self.training))
        wide = self.narrow(F.gelu(self.widen(x)))
        return self.norm_wide(x + F.dropout(wide, drop, self.training)), states

    def recur(self, x: Tensor, reads: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """What is read off the states (L, B, D), and the states: minGRU; docs/log.md has others beside it."""
        update, candidate, gate = self.gates(x).chunk(3, -1)
        update = torch.sigmoid(update) * reads
        states = scan(1 - update, update * candidate, first)
        return states * F.silu(gate), states


class SequenceModel(ItemTable):
    """What training and encoding ask of a model that reads events: the student, and its teacher.

    `carries`: its state says all of the past; else each stretch of events is read with `config.context`
    earlier ones.
    """

    carries: bool
    reads: Tensor  # (K + 1,) 1.0 for kinds that are read

    def __init__(self, content: ItemContent, config: "StudentConfig") -> None:
        super().__init__(content, config.dim, config.id_dropout)
        self.config = config
        self.kind_part = nn.Parameter(torch.zeros(len(Kind) + 1, config.dim))
        self.gap_value = nn.Parameter(torch.zeros(2, config.dim))
        self.initial = nn.Parameter(torch.randn(config.dim) * 0.5)  # the user vector before the first event

    @property
    def hidden_size(self) -> int:
        """Floats of state a user, 0 where there is none."""
        raise NotImplementedError

    def forward(
        self, vectors: Tensor, kind: Tensor, gap: Tensor, value: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read events in order.

        vectors (L, B, D), kind (L, B) int64, gap and value (L, B) float32, hidden (B, S)
        -> user vectors after each event (L, B, D), hidden after the last (B, S).
        """
        raise NotImplementedError

    def more_loss(self, users: Tensor, items: Tensor, kind: Tensor, value: Tensor) -> Tensor | None:  # noqa: ARG002
        """Further tasks' loss for n targets: users, items (n, D), kind (n,) int64, value (n,) float32."""
        return None


class Student(SequenceModel):
    """Item table and recurrence. Weights are float32; `vectors` in and out are the same table."""

    carries = True

    def __init__(self, content: ItemContent, config: StudentConfig) -> None:
        super().__init__(content, config)
        dim = config.dim
        self.push = nn.Parameter(torch.tensor(math.log(math.expm1(AVERSION_PUSH))))
        self.norm_in = nn.LayerNorm(dim)
        self.layers = nn.ModuleList([Layer(dim) for _ in range(config.layers)])
        self.register_buffer("reads", torch.from_numpy(np.append(INTEREST_KINDS, False).astype(np.float32)))

    @property
    def hidden_size(self) -> int:
        """Floats of state a user: one vector a layer and the aversion memory."""
        return self.config.dim * (self.config.layers + 1)

    def forward(
        self, vectors: Tensor, kind: Tensor, gap: Tensor, value: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read events in order, as `SequenceModel.forward` says."""
        dim, drop = self.config.dim, self.config.dropout
        parts = torch.split(hidden, dim, 1)
        extra = torch.stack([gap * GAP_SCALE, value], -1) @ self.gap_value
        x = self.norm_in(vectors) + self.kind_part[kind] + extra
        x = F.dropout(x, drop, self.training)
        reads = self.reads[kind][..., None]
        last = []
        for layer, first in zip(self.layers, parts, strict=False):
            x, states = layer(x, reads, first, drop)
            last.append(states[-1])
        memory = parts[-1]
        averse = torch.from_numpy(AVERSION_KINDS)[kind]
        if bool(averse.any()) or bool(memory.any()):
            pushed = F.normalize(vectors, dim=-1, eps=1e-6) * averse[..., None] * F.softplus(self.push)
            kept = torch.where(kind == START, 1.0, AVERSION_KEEP)[..., None].expand_as(pushed)
            memories = scan(kept.contiguous(), pushed, memory)
            x, memory = x - memories, memories[-1]
        return x, torch.cat([*last, memory], 1)
