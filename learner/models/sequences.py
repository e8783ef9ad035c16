"""Event logs as models read them: regrouped by user, and encoded as a user vector before each event.

Owns the regrouping, the inputs of each place and the encoding of whole logs. Knows no training.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from learner.data.events import Kind
from learner.data.inputs import INTEREST_KINDS, EventLog, ValueScale, log_gap, normalise_values
from learner.models.student import START, SequenceModel


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


@torch.no_grad()
def encode_histories(
    student: SequenceModel, log: EventLog, scale: ValueScale, *, start: int = 0, stop: int | None = None,
    sequences: EventSequences | None = None, batch: int = 256, chunk: int | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """User vectors (stop - start, D) float32 *before* each event of the log, from all earlier events.

    Users are read side by side in order of length, in stretches of `chunk` events with the state carried;
    a model without state reads each stretch with earlier events before it.
    """
    student.eval()
    chunk = chunk or (256 if student.carries else student.config.window)
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
            back = 0 if student.carries else min(offset, student.config.context)
            at = b[None, :active] + offset + np.arange(-back, width)[:, None]
            inside = (at < e[None, :active]) & (np.arange(-back, width) >= 0)[:, None]
            place = np.minimum(at, e[None, :active] - 1)
            item, kind, gap, value = seq.inputs(place)
            users, after = student(F.embedding(item, table), kind, gap, value, hidden[:active])
            users = torch.where((kind == START)[..., None], student.initial, users)
            hidden = after if student.carries else hidden
            row = seq.row[place]
            use = inside & (row >= start) & (row < end)
            out[row[use] - start] = users.numpy()[use]
    return out
