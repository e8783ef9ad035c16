"""SASRec, static: a causal transformer over the last items, trained once on the first part.

Kang and McAuley 2018, with a softmax over all items (or over 1,024 shared uniform ones in large catalogues)
instead of one negative, which is worth half its NDCG again (Klenitskiy and Vasilev 2023). Weights stay as
they are through the later part; the history that they read does not. Needs torch (extra `learner`).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from learner.data.events import INTEREST
from learner.evaluation.baselines.memory import WINDOW, Eligible
from learner.evaluation.baselines.popularity import Popularity
from learner.evaluation.baselines.tuning import Budget, once, sampled
from learner.evaluation.system import Ask, FirstPart, Ints, Ranking
from learner.judging.metrics import ndcg

DIMENSIONS, BLOCKS, HEADS, DROPOUT = 64, 2, 2, 0.3
FULL_SOFTMAX = 5_000  # items up to which every item is a negative
NEGATIVES = 1_024
RATE, DECAY = 2e-3, 0.01
EPOCHS, EVERY, PATIENCE = 24, 2, 3  # at most; evaluated every 2, given up after 3 without a gain
SAMPLE = 1_500  # tuning events looked at


@dataclass(frozen=True, slots=True)
class Histories:
    """Items of interest by user, in order: `items` (n,) and bounds by user (U + 1,)."""

    items: Ints
    bounds: npt.NDArray[np.int64]

    @classmethod
    def of(cls, first: FirstPart, end: int) -> "Histories":
        """Histories of the first `end` events."""
        rows = np.flatnonzero(np.isin(first.kind[:end], [int(kind) for kind in INTEREST]))
        rows = rows[np.argsort(first.user[rows], kind="stable")]
        bounds = np.searchsorted(first.user[rows], np.arange(len(first.user_ids) + 1))
        return cls(first.item[rows], bounds)

    def windows(self, length: int) -> list[Ints]:
        """Pieces of length + 1 items at most, each beginning with the last one of the piece before."""
        return [
            self.items[start : min(start + length + 1, end)]
            for begin, end in zip(self.bounds[:-1], self.bounds[1:], strict=True)
            for start in range(begin, end - 1, length)
        ]


class Transformer(nn.Module):
    """Items in (B, L), a vector after each out (B, L, D); item V is padding."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.table = nn.Embedding(items + 1, DIMENSIONS, padding_idx=items)
        self.places = nn.Embedding(WINDOW, DIMENSIONS)
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.normal_(self.table.weight, std=0.05)
        nn.init.normal_(self.places.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            DIMENSIONS, HEADS, 2 * DIMENSIONS, DROPOUT, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(DIMENSIONS)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, items: Tensor) -> Tensor:
        """Vectors that predict the item after each place; padding stands on the right."""
        length = items.shape[1]
        inputs = self.drop(self.table(items) + self.places.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        out: Tensor = self.norm(self.blocks(inputs, mask=mask, is_causal=True))
        return out


class SasRec(Popularity):
    """Static SASRec; the number of epochs is tuned."""

    name = "sasrec"

    def tune(self, first: FirstPart) -> None:
        """Finds the number of epochs on the last fifth, then trains on the whole first part."""
        self.budget.add(once(first, "sasrec", lambda: _search(first)))
        self.net = self.budget.found["net"]
        self.weights = self.net.table.weight[: len(first.item_ids)].detach()
        # An item the training never saw has a random vector: it stands behind the others, by popularity.
        self.unseen = np.ones(len(first.item_ids), np.bool_)
        self.unseen[Histories.of(first, first.size).items] = False

    @torch.no_grad()
    def rank_known(self, ask: Ask, recent: Ints, eligible: Eligible) -> Ranking:
        """One pass over the last items."""
        del ask
        vector = self.net(torch.from_numpy(recent[::-1].astype(np.int64))[None])[0, -1]
        scores = torch.addmv(self.net.bias, self.weights, vector).numpy().astype(np.float64)
        scores[self.unseen] = -np.inf
        items = eligible.items()
        return Ranking(items, scores[items], eligible.tie[items])


def _search(first: FirstPart) -> Budget:
    sample = _Sample(first)
    best, epochs = -1.0, EVERY
    for epoch, net in enumerate(_training(first, first.tuning_from, EPOCHS), 1):
        if epoch % EVERY:
            continue
        found = sample.ndcg(net)
        if found > best:
            best, epochs = found, epoch
        elif epoch >= epochs + PATIENCE * EVERY:
            break
    *_, trained = _training(first, first.size, epochs)
    return Budget(
        settings=epoch // EVERY,
        events=sample.size,
        ndcg=max(best, 0.0),
        chosen={"epochs": epochs},
        found={"net": copy.deepcopy(trained).eval()},
    )


def _training(first: FirstPart, end: int, epochs: int) -> Iterator[Transformer]:
    """The network after each epoch over the first `end` events. The schedule is that of EPOCHS epochs."""
    torch.manual_seed(first.seed)
    rng = np.random.default_rng(first.seed)
    items = len(first.item_ids)
    histories = Histories.of(first, end)
    windows = histories.windows(WINDOW)
    seen = torch.from_numpy(np.unique(histories.items).astype(np.int64))
    place = torch.full((items,), -1)
    place[seen] = torch.arange(len(seen))
    net = Transformer(items)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    size = int(np.clip(len(windows) // 100, 8, 128))
    steps = EPOCHS * max(len(windows) // size, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * max(0.05, 1.0 - step / steps)
    )
    for _ in range(epochs):
        net.train()
        for batch in _batches(windows, size, rng):
            inputs, targets = _padded([windows[n] for n in batch], items)
            kept = targets >= 0
            vectors, answers = net(inputs)[kept], targets[kept]
            if len(seen) <= FULL_SOFTMAX:
                logits = torch.addmm(net.bias[seen], vectors, net.table.weight[seen].T)
                loss = functional.cross_entropy(logits, place[answers])
            else:
                drawn = seen[torch.from_numpy(rng.integers(0, len(seen), NEGATIVES))]
                negative = torch.addmm(net.bias[drawn], vectors, net.table.weight[drawn].T)
                negative = negative.masked_fill(drawn[None] == answers[:, None], -torch.inf)
                positive = (vectors * net.table.weight[answers]).sum(1) + net.bias[answers]
                logits = torch.cat([positive[:, None], negative], 1)
                loss = functional.cross_entropy(logits, torch.zeros(len(answers), dtype=torch.long))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            schedule.step()
        yield net.eval()


def _batches(windows: list[Ints], size: int, rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    """Random batches of windows of like length, so that little is padding."""
    order = rng.permutation(len(windows))
    lengths = np.array([len(windows[n]) for n in order])
    pool = size * 16
    batches = [
        chunk[start : start + size]
        for begin in range(0, len(order), pool)
        for chunk in [order[begin : begin + pool][np.argsort(lengths[begin : begin + pool], kind="stable")]]
        for start in range(0, len(chunk), size)
    ]
    return [batches[n] for n in rng.permutation(len(batches))]


def _padded(windows: list[Ints], padding: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, L); -1 where there is no target."""
    length = max(len(window) for window in windows) - 1
    inputs = np.full((len(windows), length), padding, np.int64)
    targets = np.full((len(windows), length), -1, np.int64)
    for row, window in enumerate(windows):
        inputs[row, : len(window) - 1] = window[:-1]
        targets[row, : len(window) - 1] = window[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


class _Sample:
    """Events of the last fifth with the history before each, to choose the number of epochs on."""

    def __init__(self, first: FirstPart) -> None:
        asked = sampled(first, SAMPLE)
        interest = np.isin(first.kind, [int(kind) for kind in INTEREST])
        self._items = len(first.item_ids)
        self._cases: list[tuple[Ints, Ints, int]] = []
        by_user: dict[int, list[int]] = {}
        for number in range(first.size):
            user, item = int(first.user[number]), int(first.item[number])
            history = by_user.setdefault(user, [])
            if asked[number] and history:
                barred = np.array([] if first.repeats else history, np.int32)
                self._cases.append((np.array(history[-WINDOW:], np.int32), barred, item))
            if interest[number]:
                history.append(item)
        self.size = len(self._cases)

    @torch.no_grad()
    def ndcg(self, net: Transformer) -> float:
        """Mean NDCG@10 over all items."""
        positions = []
        for start in range(0, self.size, 256):
            cases = self._cases[start : start + 256]
            length = max(len(case[0]) for case in cases)
            inputs = np.full((len(cases), length), self._items, np.int64)
            for row, (history, _, _) in enumerate(cases):
                inputs[row, : len(history)] = history
            last = torch.tensor([len(case[0]) - 1 for case in cases])
            vectors = net(torch.from_numpy(inputs))[torch.arange(len(cases)), last]
            scores = (vectors @ net.table.weight[: self._items].T + net.bias).numpy()
            for row, (_, barred, answer) in enumerate(cases):
                own = scores[row, answer]
                scores[row, barred] = -np.inf
                positions.append(1.0 + np.count_nonzero(scores[row] > own))
        return float(ndcg(np.array(positions)).mean()) if positions else 0.0
