"""The student: a minGRU that turns a user's events, one by one, into a user vector.

Owns the network, its training on an event log and the encoding of whole logs. Exporting it as one
ONNX step is `learner.student_export`'s. Does not know candidates, signals, releases or the catalogue:
items are rows of the arrays it is given.

score(user, item) = user_vector · vectors[item] + bias[item] + prior_weight · log(decayed popularity + .05)

The recurrence (Feng et al. 2024, "Were RNNs all we needed?", minGRU) is, by layer,
z = sigmoid(W_z x), h_t = (1 - z) h_{t-1} + z W_h x, y = W_o (h_t · silu(W_g x)).
Dislikes and hides never are targets. They enter an aversion memory that is subtracted from the user
vector, so that they push away even where training has seen none of them.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray
from torch import Tensor, nn

from learner.events import AVERSION, Kind
from learner.inputs import INTEREST_KINDS, PRIOR_FLOOR, EventLog, ValueScale, log_gap, normalise_values

START = len(Kind)  # pseudo kind before a user's first event: nothing is read, `initial` is the output
GAP_SCALE = 0.1  # log(1 + seconds) reaches 20: brought near 1
AVERSION_KEEP = 0.98  # share of the aversion memory that outlives an event: half is gone after 34
AVERSION_PUSH = 2.0  # initial strength; user vectors leave a layer norm with length 8 at 64 dimensions
_AVERSION_KINDS = np.array([kind in AVERSION for kind in Kind] + [False])


@dataclass(frozen=True)
class StudentConfig:
    """Settings of network and training; the defaults are measured (docs/log.md)."""

    dim: int = 64
    layers: int = 2
    dropout: float = 0.3
    id_dropout: float = 0.1  # share of items whose id part is hidden in a step, so that content carries
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    epochs: int = 12
    window: int = 100  # targets a training window
    context: int = 16  # earlier events a window reads before its first target
    batch_events: int = 2048  # targets a batch, roughly
    full_softmax_below: int = 5000  # clicked items; above, shared negatives with logQ correction
    negatives: int = 1024
    warmup_steps: int = 60
    patience: int = 2  # checks without improvement before training stops (only with a validation part)
    prior_weight: float = 0.0
    prior_half_life_ms: float = 30 * 86_400_000.0


@dataclass(frozen=True)
class ItemContent:
    """What is known of items beside their clicks; row q belongs to item q.

    `text` (V, T) float32, unit rows or zero; `categories` (V, 6) int32, -1 padded.
    """

    text: NDArray[np.float32]
    categories: NDArray[np.int32]

    @property
    def category_count(self) -> int:
        """Number of categories, at least 1 so that the table is never empty."""
        return max(int(self.categories.max(initial=-1)) + 1, 1)

    @staticmethod
    def empty(items: int) -> "ItemContent":
        """No content for `items` items."""
        return ItemContent(np.zeros((items, 0), np.float32), np.full((items, 6), -1, np.int32))


class _Scan(torch.autograd.Function):
    """h_t = a_t · h_{t-1} + b_t over the first axis, one step after the other.

    a, b (L, B, D), first (B, D) -> (L, B, D). On few cores a loop of fused multiply-adds beats every
    parallel scan, and the custom backward pass saves autograd L small nodes.
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
        grad_b = torch.empty_like(states)
        grad_b[-1] = grad[-1]
        for step in range(states.shape[0] - 2, -1, -1):
            torch.addcmul(grad[step], a[step + 1], grad_b[step + 1], out=grad_b[step])
        previous = torch.cat([first[None], states[:-1]])
        return grad_b * previous, grad_b, grad_b[0] * a[0]


def _scan(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
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
        update, candidate, gate = self.gates(x).chunk(3, -1)
        update = torch.sigmoid(update) * reads
        states = _scan(1 - update, update * candidate, first)
        drop = dropout if self.training else 0.0
        x = self.norm(x + F.dropout(self.out(states * F.silu(gate)), drop, self.training))
        wide = self.narrow(F.gelu(self.widen(x)))
        return self.norm_wide(x + F.dropout(wide, drop, self.training)), states


class Student(nn.Module):
    """Item table and recurrence. Weights are float32; `vectors` in and out are the same table."""

    projection: Tensor
    text: Tensor
    category: Tensor
    category_share: Tensor
    seen: Tensor
    reads: Tensor

    def __init__(self, content: ItemContent, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        items, width = content.text.shape
        dim = config.dim
        has_category = content.categories >= 0
        self.has_content = width > 0 or bool(has_category.any())
        self.id_part = nn.Parameter(torch.randn(items, dim) * (0.005 if self.has_content else 0.02))
        self.projection = nn.Parameter(torch.randn(width, dim) * 0.08 if width else torch.zeros(0, dim))
        self.category_part = nn.Parameter(torch.randn(content.category_count, dim) * 0.02)
        self.bias = nn.Parameter(torch.zeros(items))
        self.kind_part = nn.Parameter(torch.zeros(len(Kind) + 1, dim))
        self.gap_value = nn.Parameter(torch.zeros(2, dim))
        self.initial = nn.Parameter(torch.randn(dim) * 0.5)
        self.push = nn.Parameter(torch.tensor(math.log(math.expm1(AVERSION_PUSH))))
        self.norm_in = nn.LayerNorm(dim)
        self.layers = nn.ModuleList([Layer(dim) for _ in range(config.layers)])
        self.register_buffer("text", torch.from_numpy(content.text.astype(np.float32)))
        self.register_buffer("category", torch.from_numpy(np.maximum(content.categories, 0).astype(np.int64)))
        share = has_category / np.maximum(has_category.sum(1, keepdims=True), 1)
        self.register_buffer("category_share", torch.from_numpy(share.astype(np.float32)))
        self.register_buffer("seen", torch.zeros(items, dtype=torch.bool))
        self.register_buffer("reads", torch.from_numpy(np.append(INTEREST_KINDS, False).astype(np.float32)))

    @property
    def hidden_size(self) -> int:
        """Floats of state a user: one vector a layer and the aversion memory."""
        return self.config.dim * (self.config.layers + 1)

    def table(self, rows: Tensor | None = None) -> Tensor:
        """Item vectors (V or len(rows), D): id part + projected text + mean of category parts."""
        take = slice(None) if rows is None else rows
        part = self.id_part[take]
        if self.has_content:
            if self.training and self.config.id_dropout:
                part = part * (torch.rand(len(part), 1) >= self.config.id_dropout)
            part = part + F.embedding_bag(
                self.category[take], self.category_part, mode="sum", per_sample_weights=self.category_share[take]
            )
            if self.text.shape[1]:
                part = part + self.text[take] @ self.projection
        return part

    def forward(
        self, vectors: Tensor, kind: Tensor, gap: Tensor, value: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Read events in order.

        vectors (L, B, D), kind (L, B) int64, gap and value (L, B) float32, hidden (B, S)
        -> user vectors after each event (L, B, D), hidden after the last (B, S).
        """
        dim, drop = self.config.dim, self.config.dropout
        parts = hidden.split(dim, 1)
        extra = torch.stack([gap * GAP_SCALE, value], -1) @ self.gap_value
        x = self.norm_in(vectors) + self.kind_part[kind] + extra
        x = F.dropout(x, drop, self.training)
        reads = self.reads[kind][..., None]
        last = []
        for layer, first in zip(self.layers, parts, strict=False):
            x, states = layer(x, reads, first, drop)
            last.append(states[-1])
        memory = parts[-1]
        averse = torch.from_numpy(_AVERSION_KINDS)[kind]
        if bool(averse.any()) or bool(memory.any()):
            pushed = F.normalize(vectors, dim=-1, eps=1e-6) * averse[..., None] * F.softplus(self.push)
            kept = torch.where(kind == START, 1.0, AVERSION_KEEP)[..., None].expand_as(pushed)
            memories = _scan(kept.contiguous(), pushed, memory)
            x, memory = x - memories, memories[-1]
        return x, torch.cat([*last, memory], 1)


@dataclass
class EventSequences:
    """An event log regrouped by user, each user's events in time order, impressions left out.

    `row` (m,) int64 position in the log; item, kind, gap, value (m,) tensors; `begin` (m,) int64 index of
    the first event of the same user.
    """

    row: NDArray[np.int64]
    begin: NDArray[np.int64]
    item: Tensor
    kind: Tensor
    gap: Tensor
    value: Tensor
    interest: NDArray[np.bool_]

    @staticmethod
    def of(log: EventLog, scale: ValueScale, stop: int | None = None) -> "EventSequences":
        """Regroup the first `stop` events of the log."""
        end = len(log.user) if stop is None else stop
        row = np.flatnonzero(log.kind[:end] != Kind.IMPRESSION)
        row = row[np.argsort(log.user[row], kind="stable")]
        user, at = log.user[row], log.time_ms[row]
        first = np.r_[True, user[1:] != user[:-1]] if len(row) else np.zeros(0, bool)
        begin = np.maximum.accumulate(np.where(first, np.arange(len(row)), 0)) if len(row) else row
        gap = log_gap(at, np.where(first, -1, np.r_[np.int64(-1), at[:-1]]) if len(row) else at)
        value = normalise_values(log.kind[row], log.value[row], scale)
        return EventSequences(
            row=row,
            begin=begin,
            item=torch.from_numpy(log.item[row].astype(np.int64)),
            kind=torch.from_numpy(log.kind[row].astype(np.int64)),
            gap=torch.from_numpy(gap),
            value=torch.from_numpy(value),
            interest=INTEREST_KINDS[log.kind[row]],
        )

    def inputs(self, at: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Item, kind, gap and value of the events *before* the places `at`, START where there is none."""
        index = torch.from_numpy(np.maximum(at - 1, 0))
        start = torch.from_numpy(at == self.begin[at])
        kind = torch.where(start, START, self.kind[index])
        return self.item[index], kind, self.gap[index], self.value[index]


@numba.njit(cache=True)  # type: ignore[misc]
def _snapshots(
    item: NDArray[np.int32], time_ms: NDArray[np.int64], counts: NDArray[np.bool_], rate: float, every: int,
    floor: float, out: NDArray[np.float32],
) -> None:  # fmt: skip
    popularity = np.zeros(out.shape[1], np.float64)
    at = time_ms[0]
    for k in range(item.shape[0]):
        if k % every == 0:
            popularity *= math.exp(-rate * (time_ms[k] - at))
            at = time_ms[k]
            for q in range(out.shape[1]):
                out[k // every, q] = math.log(popularity[q] + floor)
        if counts[k]:
            popularity[item[k]] += math.exp(-rate * (at - time_ms[k]))


@dataclass(frozen=True)
class Prior:
    """log(decayed popularity + floor) of every item as known before each event, in steps of `every` events."""

    every: int
    log_popularity: Tensor  # (S, V) float32

    @staticmethod
    def of(log: EventLog, items: int, stop: int, half_life_ms: float, max_bytes: int = 256 << 20) -> "Prior":
        """Walk the log once. Steps of 200 events, or longer so that the table stays below `max_bytes`."""
        every = max(200, -(-stop * items * 4 // max_bytes))
        out = np.empty((max(-(-stop // every), 1), items), np.float32)
        if stop:
            rate = math.log(2) / half_life_ms
            counts = INTEREST_KINDS[log.kind[:stop]]
            _snapshots(log.item[:stop], log.time_ms[:stop], counts, rate, every, PRIOR_FLOOR, out)
        return Prior(every, torch.from_numpy(out))


@dataclass
class TrainingReport:
    """What happened in one training."""

    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    loss: float = math.nan
    cut_by_time: bool = False
    validation: list[float] = field(default_factory=list)


Progress = Callable[[float, str], None]
"""Called with the finished share (0 to 1) and a short text."""


class Schedule:
    """Warm-up and cosine over the steps planned; fewer are planned once time proves too short.

    Time is looked at only after a tenth of the budget, and only shortens the plan where the steps would
    not fit: a training that fits its budget depends on its seed alone.
    """

    def __init__(self, steps: int, warmup: int, budget_s: float, clock: Callable[[], float]) -> None:
        self.planned, self.warmup, self.budget_s, self.clock = max(steps, 1), warmup, budget_s, clock
        self.start = clock()
        self.step = 0
        self.share = 0.0
        self.cut = False

    def advance(self) -> float | None:
        """Return the factor on the learning rate for the next step, or None when training is over."""
        elapsed = self.clock() - self.start
        share = self.step / self.planned
        if elapsed > 0.1 * self.budget_s and elapsed * self.planned > self.budget_s * max(self.step, 1):
            self.cut = True
        if self.cut:
            share = max(share, elapsed / self.budget_s)
        self.share = max(self.share, share)
        if self.share >= 1:
            return None
        self.step += 1
        warm = min(1.0, self.step / max(self.warmup, 1))
        return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * self.share)))


def _windows(
    sequences: EventSequences, first_target: int, last_target: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut every user's events with log rows in [first, last) into windows -> (start, length) of places."""
    wanted = (sequences.row >= first_target) & (sequences.row < last_target)
    place = np.flatnonzero(wanted)
    if not len(place):
        return place, place
    user_first = np.r_[True, np.diff(sequences.begin[place]) > 0]
    run = np.maximum.accumulate(np.where(user_first, np.arange(len(place)), 0))
    cut = (np.arange(len(place)) - run) % length == 0
    at = np.flatnonzero(cut)
    return place[at], np.diff(np.r_[at, len(place)])


def _batches(
    length: NDArray[np.int64], batch_events: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Shuffled batches of windows of like length; about `batch_events` padded places each."""
    order = rng.permutation(len(length))
    size = max(1, int(batch_events / max(length.mean(), 1)))
    batches: list[NDArray[np.int64]] = []
    for group in np.array_split(order, max(1, len(order) // (size * 8))):
        group = group[np.argsort(-length[group], kind="stable")]
        filled = 0
        while filled < len(group):
            take = max(1, batch_events // int(length[group[filled]]))
            batches.append(group[filled : filled + take])
            filled += take
    for k in rng.permutation(len(batches)):
        yield batches[k]


class _Trainer:
    """The loop's parts that share the tensors of one training."""

    def __init__(
        self, student: Student, sequences: EventSequences, count: NDArray[np.int64], prior: Prior | None,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.student, self.sequences, self.prior, self.rng = student, sequences, prior, rng
        self.clicked = torch.from_numpy(np.flatnonzero(count > 0))
        self.full = len(self.clicked) < student.config.full_softmax_below
        chance = np.where(count > 0, (count + 1.0) ** 0.75, 0.0)
        chance /= max(chance.sum(), 1e-12)
        self.cumulative = np.cumsum(chance)
        self.log_chance = torch.from_numpy(np.log(chance + 1e-30).astype(np.float32))
        self.position = torch.full((len(count),), -1, dtype=torch.int64)
        self.used = self.clicked
        self.position[self.clicked] = torch.arange(len(self.clicked))

    def loss(self, start: NDArray[np.int64], length: NDArray[np.int64]) -> Tensor:
        """Cross-entropy of the interest events in the windows."""
        student, sequences = self.student, self.sequences
        before = np.minimum(student.config.context, start - sequences.begin[start])
        width = int((before + length).max())
        offset = np.arange(width)[:, None] - before[None]
        inside = offset < length[None]
        at = np.where(inside, start[None] + offset, start[None])
        item, kind, gap, value = sequences.inputs(at)
        target = torch.from_numpy(inside & (offset >= 0) & sequences.interest[at])
        place = torch.from_numpy(at)[target]
        answer = sequences.item[place]
        if self.full:
            rows, negative = self.clicked, None
        else:
            drawn = np.searchsorted(self.cumulative, self.rng.random(student.config.negatives))
            negative = torch.from_numpy(np.minimum(drawn, len(self.cumulative) - 1))
            rows = torch.unique(torch.cat([item.reshape(-1), answer, negative]))
            self.position[rows] = torch.arange(len(rows))
        table = student.table(rows)
        vectors = F.embedding(self.position[item].clamp_min(0), table)
        hidden = torch.zeros(len(start), student.hidden_size)
        users, _ = student(vectors, kind, gap, value, hidden)
        users = torch.where((kind == START)[..., None], student.initial, users)[target]
        log_prior = None
        weight = student.config.prior_weight
        if weight and self.prior is not None:
            step = torch.from_numpy(sequences.row)[place] // self.prior.every
            log_prior = (self.prior.log_popularity, step)
        if negative is None:
            logits = torch.addmm(student.bias[rows], users, table.T)
            if log_prior is not None:
                logits = logits + weight * log_prior[0][:, rows][log_prior[1]]
            return F.cross_entropy(logits, self.position[answer])
        own, drawn_table = table[self.position[answer]], table[self.position[negative]]
        positive = (users * own).sum(-1) + student.bias[answer] - self.log_chance[answer]
        logits = torch.addmm(student.bias[negative] - self.log_chance[negative], users, drawn_table.T)
        if log_prior is not None:
            values, step = log_prior
            positive = positive + weight * values[step, answer]
            logits = logits + weight * values[:, negative][step]
        logits = logits.masked_fill(negative[None] == answer[:, None], -1e9)
        logits = torch.cat([positive[:, None], logits], 1)
        return F.cross_entropy(logits, torch.zeros(len(answer), dtype=torch.int64))


def train_student(
    log: EventLog, stop: int, content: ItemContent, scale: ValueScale, config: StudentConfig, *,
    seed: int = 0, budget_s: float = math.inf, validate_from: int | None = None, start_from: Student | None = None,
    progress: Progress | None = None, writer: Any = None, clock: Callable[[], float] = time.perf_counter,
) -> tuple[Student, TrainingReport]:  # fmt: skip
    """Train on the first `stop` events of the log; nothing later is looked at.

    With `validate_from` the events from there to `stop` are no targets; NDCG@10 on them is measured four
    times, training stops after `config.patience` checks without gain and the best weights are kept.
    `start_from` warm-starts a fine-tune from an earlier student over the same items. `writer` is a
    TensorBoard `SummaryWriter`. The result depends on the seed alone unless time cuts the plan short.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    begun = clock()
    student = Student(content, config)
    if start_from is not None:
        student.load_state_dict(start_from.state_dict())
    sequences = EventSequences.of(log, scale, stop)
    train_stop = stop if validate_from is None else validate_from
    start, length = _windows(sequences, 0, train_stop, config.window)
    interest = INTEREST_KINDS[log.kind[:train_stop]]
    count = np.bincount(log.item[:train_stop][interest], minlength=len(content.text))
    kinds = np.bincount(log.kind[:train_stop], minlength=len(Kind))
    student.seen |= torch.from_numpy(count > 0)
    for code in AVERSION:  # the recurrence reads only kinds it has learned to read
        if kinds[code] >= 1000:
            student.reads[code] = 1.0
    prior = Prior.of(log, len(content.text), stop, config.prior_half_life_ms) if config.prior_weight else None
    report = TrainingReport()
    if not interest.any():
        return student.eval(), report
    trainer = _Trainer(student, sequences, count, prior, rng)
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    epoch_steps = sum(1 for _ in _batches(length, config.batch_events, np.random.default_rng(seed)))
    schedule = Schedule(epoch_steps * config.epochs, config.warmup_steps, budget_s - (clock() - begun), clock)
    best, best_weights, waited = -1.0, None, 0
    check_at = [0.4, 0.6, 0.8, 1.0] if validate_from is not None else []
    factor: float | None = 1.0
    losses: list[float] = []
    while factor is not None and waited < config.patience:
        student.train()
        for batch in _batches(length, config.batch_events, rng):
            factor = schedule.advance()
            if check_at and (factor is None or schedule.share >= check_at[0]):
                while check_at and (factor is None or schedule.share >= check_at[0]):
                    check_at.pop(0)
                score = retrieval_ndcg(student, log, train_stop, stop, scale, sequences=sequences, prior=prior)
                report.validation.append(score)
                waited = 0 if score > best else waited + 1
                if score > best:
                    best = score
                    best_weights = {name: tensor.clone() for name, tensor in student.state_dict().items()}
                student.train()
            if factor is None or waited >= config.patience:
                break
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * factor
            loss = trainer.loss(start[batch], length[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimiser.step()
            losses.append(float(loss.detach()))
            if schedule.step % 20 == 0:
                if progress:
                    progress(schedule.share, f"loss {np.mean(losses[-20:]):.3f}")
                if writer is not None:
                    writer.add_scalar("student/loss", losses[-1], schedule.step)
                    writer.add_scalar("student/learning_rate", config.learning_rate * factor, schedule.step)
    if best_weights is not None:
        student.load_state_dict(best_weights)
    _settle(student, count, kinds)
    report.steps, report.epochs = schedule.step, schedule.step / max(epoch_steps, 1)
    report.loss = float(np.mean(losses[-50:])) if losses else math.nan
    report.seconds, report.cut_by_time = clock() - begun, schedule.cut
    return student.eval(), report


@torch.no_grad()
def _settle(student: Student, count: NDArray[np.int64], kinds: NDArray[np.int64]) -> None:
    """Give items and kinds that training never met values that are fair to them.

    Unmet items lose the random id part and get the bias of rarely clicked ones; unmet kinds of interest
    are read as the average event.
    """
    unseen = ~student.seen
    rare = torch.from_numpy((count > 0) & (count <= 5))
    if bool(unseen.any()):
        student.id_part[unseen] = 0.0
        student.bias[unseen] = student.bias[rare].mean() if bool(rare.any()) else student.bias.min()
    met = (kinds > 0) & INTEREST_KINDS
    if met.any():
        weight = torch.from_numpy(np.where(met, kinds, 0) / kinds[met].sum()).float()
        student.kind_part[: len(Kind)][torch.from_numpy(~met & INTEREST_KINDS)] = weight @ student.kind_part[: len(Kind)]


@torch.no_grad()
def encode_histories(
    student: Student, log: EventLog, scale: ValueScale, *, start: int = 0, stop: int | None = None,
    sequences: EventSequences | None = None, batch: int = 256, chunk: int = 256,
) -> NDArray[np.float32]:  # fmt: skip
    """User vectors (stop - start, D) float32 *before* each event of the log, from all earlier events.

    Users are read side by side in order of length, in stretches of `chunk` events with the state carried.
    """
    student.eval()
    end = len(log.user) if stop is None else stop
    out = np.empty((end - start, student.config.dim), np.float32)
    out[:] = student.initial.numpy()
    table = student.table()
    seq = sequences or EventSequences.of(log, scale, end)
    edges = np.flatnonzero(np.r_[seq.begin[1:] != seq.begin[:-1], True]) + 1 if len(seq.row) else seq.row
    begins = seq.begin[edges - 1] if len(edges) else edges
    # a user whose last event lies before `start` has nothing to be encoded for
    wanted = seq.row[edges - 1] >= start if len(edges) else np.zeros(0, bool)
    edges, begins = edges[wanted], begins[wanted]
    order = np.argsort(-(edges - begins), kind="stable")
    for k in range(0, len(order), batch):
        b, e = begins[order[k : k + batch]], edges[order[k : k + batch]]
        longest = int((e - b).max())
        hidden = torch.zeros(len(b), student.hidden_size)
        for offset in range(0, longest, chunk):
            active = int((e - b > offset).sum())  # lengths fall, so the active ones come first
            width = min(chunk, int((e - b).max()) - offset)
            at = b[None, :active] + offset + np.arange(width)[:, None]
            inside = at < e[None, :active]
            place = np.minimum(at, e[None, :active] - 1)
            item, kind, gap, value = seq.inputs(place)
            users, after = student(F.embedding(item, table), kind, gap, value, hidden[:active])
            users = torch.where((kind == START)[..., None], student.initial, users)
            hidden = after
            row = seq.row[place]
            use = inside & (row >= start) & (row < end)
            out[row[use] - start] = users.numpy()[use]
    return out


@numba.njit(cache=True)  # type: ignore[misc]
def _rank_excluding(
    scores: NDArray[np.float32], answer: int, consumed: NDArray[np.int64], clicked: NDArray[np.bool_]
) -> float:
    own = scores[answer]
    above, equal = 0, 0
    for q in range(scores.shape[0]):
        if clicked[q]:
            above += scores[q] > own
            equal += scores[q] == own
    for q in consumed:
        if clicked[q] and q != answer:
            above -= scores[q] > own
            equal -= scores[q] == own
    return 1.0 + above + 0.5 * max(equal - 1, 0)


@torch.no_grad()
def retrieval_ndcg(
    student: Student, log: EventLog, start: int, stop: int, scale: ValueScale, *,
    sequences: EventSequences | None = None, prior: Prior | None = None, limit: int = 2000,
    everything: bool = False,
) -> float:  # fmt: skip
    """NDCG@10 of student + popularity prior alone on (a sample of) the interest events [start, stop).

    Ranked are the items clicked in training and the answer (with `everything`: the whole table), without
    what the user has had before. Answers that the user has had are skipped.
    """
    seq = sequences or EventSequences.of(log, scale, stop)
    vectors = encode_histories(student, log, scale, start=start, stop=stop, sequences=seq)
    table, bias = student.table().numpy(), student.bias.numpy()
    weight = student.config.prior_weight
    if weight and prior is None:
        prior = Prior.of(log, len(bias), stop, student.config.prior_half_life_ms)
    place = np.flatnonzero((seq.row >= start) & (seq.row < stop) & seq.interest)
    if len(place) > limit:
        place = place[:: -(-len(place) // limit)]
    ranked = np.ones(len(bias), bool) if everything else student.seen.numpy()
    item = seq.item.numpy()
    total, n = 0.0, 0
    for p in place:
        consumed = np.unique(item[seq.begin[p] : p])
        if item[p] in consumed:
            continue
        n += 1
        if not ranked[item[p]]:
            continue
        scores = table @ vectors[seq.row[p] - start] + bias
        if weight and prior is not None:
            scores = scores + np.float32(weight) * prior.log_popularity[seq.row[p] // prior.every].numpy()
        rank = _rank_excluding(scores, item[p], consumed, ranked)
        total += 1 / math.log2(rank + 1) if rank <= 10 else 0.0
    return total / max(n, 1)
