"""The softmax in one pass: loss and gradients are those of torch's own cross-entropy."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812

from learner.models.full_softmax import ROWS, full_softmax  # noqa: E402

pytestmark = pytest.mark.learner


@pytest.fixture
def scored():
    """Users, items and biases that ask for gradients; answers, weights, and what is added to the scores."""
    draw = torch.Generator().manual_seed(0)
    n, items = 2 * ROWS + 5, 300  # two whole parts and a piece
    parameters = [
        torch.randn(*shape, generator=draw).requires_grad_() for shape in ((n, 8), (items, 8), (items,))
    ]
    answer = torch.randint(0, items, (n,), generator=draw)
    return parameters, answer, torch.rand(n, generator=draw), torch.randn(n, items, generator=draw)


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_loss_and_gradients_are_the_plain_ones(scored, weighed, shifted):
    (users, table, bias), answer, weight, more = scored
    logits = torch.addmm(bias, users, table.T) + (more if shifted else 0.0)
    losses = F.cross_entropy(logits, answer, reduction="none")
    plain = (losses * weight).sum() / weight.sum() if weighed else losses.mean()
    shift = (lambda part: more[part]) if shifted else None
    mine = full_softmax(users, table, bias, answer, weight if weighed else None, shift)
    torch.testing.assert_close(mine, plain)
    wanted = torch.autograd.grad(3 * plain, (users, table, bias))
    for own, right in zip(torch.autograd.grad(3 * mine, (users, table, bias)), wanted, strict=True):
        torch.testing.assert_close(own, right, atol=1e-6, rtol=1e-4)


def test_scores_far_out_are_no_overflow(scored):
    (users, table, bias), answer, _, _ = scored
    loss = full_softmax(users * 1e3, table, bias, answer)
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, F.cross_entropy(torch.addmm(bias, users * 1e3, table.T), answer))


def test_of_no_targets_the_loss_is_nought(scored):
    (users, table, bias), answer, _, _ = scored
    loss = full_softmax(users[:0], table, bias, answer[:0])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not bool(table.grad.any())
