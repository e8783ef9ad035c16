"""The teacher: worlds with one right answer, no look ahead, reading in stretches, the papers' protocol."""

from dataclasses import replace

import numpy as np
import pytest

from tests.worlds.cycles import SMALL, cycles, trained

torch = pytest.importorskip("torch")

from learner.data.events import Kind  # noqa: E402
from learner.evaluation.leave_one_out import leave_one_out, leave_one_out_report  # noqa: E402
from learner.evaluation.leave_one_out_models import STUDENT, TEACHER, SequenceScorer  # noqa: E402
from learner.models.next_item_loss import SoftTargets  # noqa: E402
from learner.models.retrieval import retrieval_ndcg  # noqa: E402
from learner.models.sequences import encode_histories  # noqa: E402
from learner.text.content import HASHED_CARD, ContentEncoder  # noqa: E402

pytestmark = pytest.mark.learner


@pytest.mark.parametrize("full_softmax_below", [5000, 1])
def test_learns_the_certain_next_item(full_softmax_below: int) -> None:
    log = cycles(users=60, items=30, length=12)
    teacher = trained(log, 600, replace(SMALL, full_softmax_below=full_softmax_below, negatives=20))
    assert retrieval_ndcg(teacher, log, 600, len(log), {}) > 0.95  # chance is .15


def test_several_tasks_at_once_leave_the_first_one_whole() -> None:
    log = cycles(users=60, items=30, length=12, kinds=True)
    teacher = trained(log, 600)
    assert bool((teacher.next_kind.weight != 0).any())
    vectors = encode_histories(teacher, log, log.value_scale())
    assert np.isfinite(vectors).all()


def test_an_event_is_read_without_what_comes_after_it() -> None:
    log = cycles(users=5, items=30, length=20, kinds=True)
    teacher = trained(log, 60, replace(SMALL, epochs=1))
    before = encode_histories(teacher, log, {})
    log.item[60:] = 0
    log.kind[60:] = Kind.VIEW
    after = encode_histories(teacher, log, {})
    np.testing.assert_allclose(after[:61], before[:61], atol=1e-5)
    assert not np.allclose(after[70:], before[70:], atol=1e-3)


def test_stretches_say_the_same_as_all_at_once_where_the_context_reaches() -> None:
    log = cycles(users=3, items=30, length=12)
    teacher = trained(log, 30, replace(SMALL, epochs=2, context=12))
    whole = encode_histories(teacher, log, {}, chunk=64)
    np.testing.assert_allclose(encode_histories(teacher, log, {}, chunk=5), whole, atol=1e-5)


@pytest.mark.parametrize("full_softmax_below", [5000, 1])
def test_soft_targets_teach_what_the_answers_do_not(full_softmax_below: int) -> None:
    """The teacher says item 7 whatever happens; with all of the loss, so does the student."""
    log = cycles(users=20, items=30, length=12)
    n = len(log)
    soft = SoftTargets(
        torch.arange(n),
        torch.tensor([[7, 3]]).expand(n, 2),
        torch.tensor([[0.9, 0.1]]).expand(n, 2),
        share=1.0,
    )
    taught = trained(log, n, replace(SMALL, full_softmax_below=full_softmax_below, negatives=20), soft=soft)
    users = encode_histories(taught, log, {})
    with torch.no_grad():
        scores = torch.from_numpy(users) @ taught.table().T + taught.bias
    chance = torch.softmax(scores[:, [7, 3]], 1)[:, 0]
    assert float((chance - 0.9).abs().mean()) < 0.05


@pytest.mark.parametrize("settings", [(STUDENT,), (STUDENT, TEACHER)], ids=["student", "teacher"])
def test_both_learn_under_the_published_protocol(settings) -> None:
    task = leave_one_out(cycles(users=80, items=20, length=8))
    configs = [
        replace(one, dim=16, dropout=0.0, learning_rate=1e-2, epochs=20, batch_events=256, negatives=30)
        for one in settings
    ]
    nothing = ContentEncoder(HASHED_CARD, np.zeros(512, np.float32), np.zeros((512, 64), np.float32))
    scorer = SequenceScorer("model", *configs, recall=len(configs) > 1, taught=0.4, encoder=nothing)
    told = leave_one_out_report(task, [scorer], resamples=20)
    assert told["systems"]["model"]["ndcg@10"] > 0.9
    assert len(scorer.validation) == len(configs)
    assert all(max(checks) > 0.9 for checks in scorer.validation)  # each is checked for itself


def test_teachers_alone_wait_for_no_elder() -> None:
    told: list[float] = []
    scorer = SequenceScorer("teacher", TEACHER, taught=0.4, progress=lambda share, _: told.append(share))
    tell = scorer._told(int(scorer.taught > 0))
    assert tell is not None
    tell(1.0, "")
    assert told == [1.0]
