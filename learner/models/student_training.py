"""Training the student on an event log.

Owns the loss (next item of interest: full softmax, or shared negatives with logQ correction, Yi et al.
2019), the popularity prior in it, the schedule over a time budget, early stopping and the student's
retrieval score. Knows neither candidates nor releases.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numba
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from learner.data.events import AVERSION, Kind
from learner.data.inputs import INTEREST_KINDS, PRIOR_FLOOR, EventLog, ValueScale
from learner.models.item_table import ItemContent
from learner.models.student import (
    START,
    EventSequences,
    SequenceModel,
    Student,
    StudentConfig,
    encode_histories,
)
from learner.release.bundle import ReleaseError

Model = TypeVar("Model", bound=SequenceModel)


MOST_SKIPPED = 0.02  # of the steps: above it the data, or the settings, are wrong
FAR_AHEAD = 300.0  # exp of it is still a number, with room for sums


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _snapshots(
    item: NDArray[np.int32], time_ms: NDArray[np.int64], counts: NDArray[np.bool_], rate: float, every: int,
    floor: float, out: NDArray[np.float32],
) -> None:  # fmt: skip
    popularity = np.zeros(out.shape[1], np.float64)
    at = time_ms[0]
    for k in range(item.shape[0]):
        # Clicks count relative to a moment before them; a thousand half-lives later they would be infinite.
        if k % every == 0 or rate * (time_ms[k] - at) > FAR_AHEAD:
            popularity *= math.exp(-rate * (time_ms[k] - at))
            at = time_ms[k]
        if k % every == 0:
            for q in range(out.shape[1]):
                out[k // every, q] = math.log(popularity[q] + floor)
        if counts[k]:
            popularity[item[k]] += math.exp(-rate * (at - time_ms[k]))


@dataclass(frozen=True)
class Prior:
    """log(decayed popularity + floor) of every item as known before an event, in steps of `every` events."""

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
    skipped: int = 0  # steps whose gradient was not finite
    validation: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says of some events: its best items with their softened chances.

    row (n,) int64: by event of the log the row in the others, -1 for none; items (m, K) int64;
    chance (m, K) float32, each row adds up to 1; share: of the loss of those events.
    """

    row: Tensor
    items: Tensor
    chance: Tensor
    share: float = 0.5


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
        if self.budget_s <= 0:  # what came before has used it up
            self.cut = True
            return None
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
        self, student: SequenceModel, sequences: EventSequences, count: NDArray[np.int64],
        prior: Prior | None, soft: SoftTargets | None, rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.student, self.sequences, self.prior, self.rng = student, sequences, prior, rng
        self.soft = soft
        self.clicked = torch.from_numpy(np.flatnonzero(count > 0))
        self.full = len(self.clicked) < student.config.full_softmax_below
        chance = np.where(count > 0, (count + 1.0) ** student.config.negative_power, 0.0)
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
        soft = self._soft_targets(place)
        if self.full:
            rows, negative = self.clicked, None
        else:
            drawn = np.searchsorted(self.cumulative, self.rng.random(student.config.negatives))
            negative = torch.from_numpy(np.minimum(drawn, len(self.cumulative) - 1))
            extra = [soft[1].reshape(-1)] if soft is not None else []
            rows = torch.unique(torch.cat([item.reshape(-1), answer, negative, *extra]))
            self.position[rows] = torch.arange(len(rows))
        table = student.table(rows)
        vectors = F.embedding(self.position[item].clamp_min(0), table)
        hidden = torch.zeros(len(start), student.hidden_size)
        users, _ = student(vectors, kind, gap, value, hidden)
        users = torch.where((kind == START)[..., None], student.initial, users)[target]
        own = table[self.position[answer]]
        weight = student.config.prior_weight
        more = student.more_loss(users, own, sequences.kind[place], sequences.value[place])
        if negative is None:
            logits = torch.addmm(student.bias[rows], users, table.T)
            if (known := self._log_prior(place)) is not None:
                logits = logits + weight * known[0][:, rows][known[1]]
            loss = F.cross_entropy(logits, self.position[answer])
            if soft is not None:
                taught, items, chance, share = soft
                scores = logits[taught].gather(1, self.position[items])
                loss = (1 - share) * loss + share * _listwise(scores, chance)
        else:
            drawn_table = table[self.position[negative]]
            positive = (users * own).sum(-1) + student.bias[answer] - self.log_chance[answer]
            logits = torch.addmm(student.bias[negative] - self.log_chance[negative], users, drawn_table.T)
            if (known := self._log_prior(place)) is not None:
                positive = positive + weight * known[0][known[1], answer]
                logits = logits + weight * known[0][:, negative][known[1]]
            logits = logits.masked_fill(negative[None] == answer[:, None], -1e9)
            logits = torch.cat([positive[:, None], logits], 1)
            loss = F.cross_entropy(logits, torch.zeros(len(answer), dtype=torch.int64))
            if soft is not None:
                taught, items, chance, share = soft
                listed = table[self.position[items]]
                scores = torch.einsum("nd,nkd->nk", users[taught], listed) + student.bias[items]
                if known is not None:
                    scores = scores + weight * known[0][known[1][taught][:, None], items]
                loss = (1 - share) * loss + share * _listwise(scores, chance)
        return loss if more is None else loss + more

    def _log_prior(self, place: Tensor) -> tuple[Tensor, Tensor] | None:
        """Log popularity of all items (S, V) by step, and the targets' steps (n,)."""
        if not self.student.config.prior_weight or self.prior is None:
            return None
        step = torch.from_numpy(self.sequences.row)[place] // self.prior.every
        return self.prior.log_popularity, step

    def _soft_targets(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor, float] | None:
        """Which targets have a teacher's list (m,), its items and chances (m, K), its share of the loss."""
        if self.soft is None:
            return None
        row = self.soft.row[torch.from_numpy(self.sequences.row)[place]]
        at = torch.nonzero(row >= 0)[:, 0]
        return at, self.soft.items[row[at]], self.soft.chance[row[at]], self.soft.share


def _listwise(scores: Tensor, chance: Tensor) -> Tensor:
    """Cross-entropy of a teacher's chances within its list: (m, K) both."""
    return -(chance * torch.log_softmax(scores, -1)).sum(-1).mean()


def train_student(
    log: EventLog, stop: int, content: ItemContent, scale: ValueScale, config: StudentConfig, *,
    seed: int = 0, budget_s: float = math.inf, validate_from: int | None = None,
    start_from: Student | None = None, progress: Progress | None = None, writer: Any = None,
    name: str = "student", soft: SoftTargets | None = None,
    check: Callable[[Student], float] | None = None, checks: int = 4,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Student, TrainingReport]:  # fmt: skip
    """Train a student on the first `stop` events of the log, as `train_model` says."""
    torch.manual_seed(seed)
    student = Student(content, config)
    if start_from is not None:
        student.load_state_dict(start_from.state_dict())
    report = train_model(
        student, log, stop, scale, seed=seed, budget_s=budget_s, validate_from=validate_from,
        progress=progress, writer=writer, name=name, soft=soft, check=check, checks=checks, clock=clock,
    )  # fmt: skip
    return student, report


def train_model(
    student: Model, log: EventLog, stop: int, scale: ValueScale, *, seed: int = 0,
    budget_s: float = math.inf, validate_from: int | None = None, progress: Progress | None = None,
    writer: Any = None, name: str = "student", soft: SoftTargets | None = None,
    check: Callable[[Model], float] | None = None, checks: int = 4,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingReport:  # fmt: skip
    """Train on the first `stop` events of the log; nothing later is looked at.

    With `validate_from` the events from there to `stop` are no targets; NDCG@10 on them is measured four
    times, training stops after `config.patience` checks without gain and the best weights are kept.
    `check` measures something else instead, `checks` times. `soft` are a teacher's targets beside the
    answers. `writer` is a TensorBoard `SummaryWriter`. The model comes freshly made, or trained before
    for a fine-tune. The result depends on the seed alone unless time cuts the plan short.
    """
    rng = np.random.default_rng(seed)
    begun = clock()
    config = student.config
    items = len(student.bias)
    sequences = EventSequences.of(log, scale, stop)
    train_stop = stop if validate_from is None else validate_from
    start, length = _windows(sequences, 0, train_stop, config.window)
    interest = INTEREST_KINDS[log.kind[:train_stop]]
    count = np.bincount(log.item[:train_stop][interest], minlength=items)
    kinds = np.bincount(log.kind[:train_stop], minlength=len(Kind))
    student.seen |= torch.from_numpy(count > 0)
    for code in AVERSION:  # the recurrence reads only kinds it has learned to read
        if kinds[code] >= 1000:
            student.reads[code] = 1.0
    prior = Prior.of(log, items, stop, config.prior_half_life_ms) if config.prior_weight else None
    report = TrainingReport()
    if not interest.any():
        student.eval()
        return report
    trainer = _Trainer(student, sequences, count, prior, soft, rng)
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    epoch_steps = sum(1 for _ in _batches(length, config.batch_events, np.random.default_rng(seed)))
    schedule = Schedule(epoch_steps * config.epochs, config.warmup_steps, budget_s - (clock() - begun), clock)
    best, best_weights, waited = -1.0, None, 0
    validated = check is not None or validate_from is not None
    check_at = np.linspace(1.6 / checks, 1.0, checks).clip(max=1.0).tolist() if validated else []
    factor: float | None = 1.0
    losses: list[float] = []
    while factor is not None and waited < config.patience:
        student.train()
        for batch in _batches(length, config.batch_events, rng):
            factor = schedule.advance()
            if check_at and (factor is None or schedule.share >= check_at[0]):
                while check_at and (factor is None or schedule.share >= check_at[0]):
                    check_at.pop(0)
                score = (
                    check(student.eval())
                    if check is not None
                    else retrieval_ndcg(
                        student, log, train_stop, stop, scale, sequences=sequences, prior=prior
                    )
                )
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
            norm = nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            if torch.isfinite(norm):
                optimiser.step()
                losses.append(float(loss.detach()))
            else:  # one such step would make every weight NaN
                report.skipped += 1
                if report.skipped > max(MOST_SKIPPED * schedule.planned, 3):
                    raise ReleaseError(
                        f"{name}: {report.skipped} steps had no finite gradient: the training has diverged; "
                        "lower the rate of learning, or look for values that are far out in the data"
                    )
            if schedule.step % 20 == 0 and losses:
                if progress:
                    progress(schedule.share, f"loss {np.mean(losses[-20:]):.3f}")
                if writer is not None:
                    writer.add_scalar(f"{name}/loss", losses[-1], schedule.step)
                    writer.add_scalar(f"{name}/learning_rate", config.learning_rate * factor, schedule.step)
    if best_weights is not None:
        student.load_state_dict(best_weights)
    _settle(student, count, kinds)
    report.steps, report.epochs = schedule.step, schedule.step / max(epoch_steps, 1)
    report.loss = float(np.mean(losses[-50:])) if losses else math.nan
    report.seconds, report.cut_by_time = clock() - begun, schedule.cut
    student.eval()
    return report


@torch.no_grad()
def _settle(student: SequenceModel, count: NDArray[np.int64], kinds: NDArray[np.int64]) -> None:
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
        student.kind_part[: len(Kind)][torch.from_numpy(~met & INTEREST_KINDS)] = (
            weight @ student.kind_part[: len(Kind)]
        )


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
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
    student: SequenceModel, log: EventLog, start: int, stop: int, scale: ValueScale, *,
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
