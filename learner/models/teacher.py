"""The teacher: a causal transformer that reads a user's whole window of events at once.

Owns the network alone. It is trained by `learner.models.student_training.train_model` with the student's
loss and read by the same `encode_histories`, so that what differs is the architecture and nothing else. It
costs O(window) a click and never serves: what it knows reaches the student by `learner.models.distill`.

The recipe is eSASRec's (Tikhonovich et al. 2025, arXiv 2508.06450): SASRec (Kang & McAuley 2018) with the
gated residuals of LiGR (Borisyuk et al. 2025) and sampled softmax. Added are the student's inputs (kind,
gap, value, content), distances instead of positions, so that no length is special, and two further tasks:
the next event's kind, and the value that the user gives the next item.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from learner.data.events import Kind
from learner.data.inputs import INTEREST_KINDS
from learner.models.item_content import ItemContent
from learner.models.settings import StudentConfig
from learner.models.student import GAP_SCALE, START, SequenceModel

FAR = 64  # distances from here on share a bias
NEVER = -1e9


@dataclass(frozen=True)
class TeacherConfig(StudentConfig):
    """The student's settings, and what a transformer has besides (docs/log.md has the measurements)."""

    layers: int = 1
    heads: int = 2
    dropout: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    epochs: int = 30
    window: int = 50
    context: int = 50
    kind_share: float = 0.1  # of the loss: the next event's kind
    value_share: float = 0.1  # of the loss: the next event's value


class Block(nn.Module):
    """Attention and a gated feed-forward network, each behind a gate on its residual (LiGR)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)
        self.norm_wide = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 8 * dim)  # twice 4: one half gates the other (SwiGLU)
        self.narrow = nn.Linear(4 * dim, dim)
        self.gate_wide = nn.Linear(dim, dim)
        self.distance = nn.Parameter(torch.zeros(heads, FAR + 1))

    def forward(self, x: Tensor, barred: Tensor, apart: Tensor, dropout: float) -> Tensor:
        """x (B, L, D), barred (B, 1, L, L) bool, apart (L, L) int64 distances -> (B, L, D)."""
        batch, length, dim = x.shape
        drop = dropout if self.training else 0.0
        normal = self.norm(x)
        q, k, v = self.qkv(normal).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(dim // self.heads) + self.distance[:, apart]
        weights = F.dropout(torch.softmax(scores.masked_fill(barred, NEVER), -1), drop, self.training)
        heard = self.out((weights @ v).transpose(1, 2).reshape(batch, length, dim))
        x = x + F.dropout(heard, drop, self.training) * torch.sigmoid(self.gate(normal))
        normal = self.norm_wide(x)
        wide, opening = self.widen(normal).chunk(2, -1)
        wide = self.narrow(F.dropout(wide * F.silu(opening), drop, self.training))
        return x + F.dropout(wide, drop, self.training) * torch.sigmoid(self.gate_wide(normal))


class Teacher(SequenceModel):
    """Item table and transformer; has no state."""

    carries = False
    config: TeacherConfig

    def __init__(self, content: ItemContent, config: TeacherConfig) -> None:
        super().__init__(content, config)
        dim = config.dim
        self.norm_in = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList([Block(dim, config.heads) for _ in range(config.layers)])
        self.norm_out = nn.LayerNorm(dim)
        self.next_kind = nn.Linear(dim, len(Kind))
        self.next_value = nn.Linear(2 * dim, 1)
        reads = torch.tensor([*INTEREST_KINDS.tolist(), False], dtype=torch.float32)
        self.register_buffer("reads", reads)

    @property
    def hidden_size(self) -> int:
        """No state."""
        return 0

    def forward(
        self, vectors: Tensor, kind: Tensor, gap: Tensor, value: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read events in order, as `SequenceModel.forward` says; `hidden` is passed through."""
        drop = self.config.dropout
        extra = torch.stack([gap * GAP_SCALE, value], -1) @ self.gap_value
        x = self.norm_in(vectors) + self.kind_part[kind] + extra
        x = F.dropout(x, drop, self.training).transpose(0, 1)
        length = x.shape[1]
        place = torch.arange(length)
        apart = place[:, None] - place[None]
        # An event hears itself and earlier ones that are read; the first event is preceded by START.
        unread = ~(self.reads[kind.T] > 0) | (kind.T == START)
        barred = (apart < 0)[None] | (unread[:, None] & (apart != 0)[None])
        apart = apart.clamp(0, FAR)
        for block in self.blocks:
            x = block(x, barred[:, None], apart, drop)
        return self.norm_out(x).transpose(0, 1), hidden

    def more_loss(self, users: Tensor, items: Tensor, kind: Tensor, value: Tensor) -> Tensor | None:
        """The next event's kind, where there are several, and its value, where there is one."""
        loss: Tensor | None = None
        if self.config.kind_share and bool((kind != kind[0]).any()):
            loss = self.config.kind_share * F.cross_entropy(self.next_kind(users), kind)
        given = value != 0
        if self.config.value_share and bool(given.any()):
            guess = self.next_value(torch.cat([users[given], items[given]], 1))[:, 0]
            error = self.config.value_share * F.mse_loss(guess, value[given])
            loss = error if loss is None else loss + error
        return loss
