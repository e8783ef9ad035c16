"""The softmax over all items without a row of scores for each target kept: loss and gradients in one pass.

Owns the arithmetic alone. Of 2,000 targets among 12,000 items the scores are 100 MB, which a plain
cross-entropy writes and reads some six times; here a few rows of them live in the processor's cache. Knows
neither models nor sequences.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROWS = 128  # targets scored at once: with 12,000 items 6 MB (docs/log.md)

Shift = Callable[[slice], Tensor]  # (rows, V) added to the scores of some targets; no gradient


class _AllItems(torch.autograd.Function):
    """See `full_softmax`. The gradients are made going forward, where the chances are at hand."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, table: Tensor, bias: Tensor, answer: Tensor, weight: Tensor,
        shift: Shift | None,
    ) -> Tensor:  # fmt: skip
        for_users, for_table = torch.empty_like(users), torch.zeros_like(table)
        for_bias = torch.zeros_like(bias)
        room = torch.empty(min(ROWS, len(users)), len(table))
        total = users.new_zeros(())
        turned = table.T
        for first in range(0, len(users), ROWS):
            part = slice(first, first + ROWS)
            read, right, counts = users[part], answer[part][:, None], weight[part]
            scores = torch.addmm(bias, read, turned, out=room[: len(read)])
            if shift is not None:
                scores += shift(part)
            scores -= scores.max(1, keepdim=True).values
            own = scores.gather(1, right)[:, 0]
            chance = scores.exp_()
            mass = chance.sum(1)
            total += counts @ (mass.log() - own)
            chance *= (counts / mass)[:, None]
            chance.scatter_add_(1, right, -counts[:, None])
            torch.mm(chance, table, out=for_users[part])
            for_table.addmm_(chance.T, read)
            for_bias += chance.sum(0)
        ctx.save_for_backward(for_users, for_table, for_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grads[0] * own for own in ctx.saved_tensors), None, None, None)


def full_softmax(
    users: Tensor, table: Tensor, bias: Tensor, answer: Tensor, weight: Tensor | None = None,
    shift: Shift | None = None,
) -> Tensor:  # fmt: skip
    """Mean cross-entropy () of `users` (n, D) · `table` (V, D) + `bias` (V,), by `weight` (n,) if given.

    `answer` (n,) int64 rows of the table; `shift`: what is added to some targets' scores. 0 of no targets.
    """
    if weight is None:
        weight = users.new_ones(len(users))
    weight = weight / weight.sum().clamp_min(1e-9)
    loss: Tensor = _AllItems.apply(users, table, bias, answer, weight, shift)  # type: ignore[no-untyped-call]
    return loss
