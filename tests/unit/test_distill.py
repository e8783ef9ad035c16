"""Teachers' targets: who is listed, what the chances are, and that a student learns from them."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from test_teacher import SMALL, cycles, trained  # noqa: E402

from learner.distill import ensemble_scores, teacher_targets  # noqa: E402
from learner.lists import Lists  # noqa: E402
from learner.ranker import RankerConfig, train_ranker  # noqa: E402
from learner.student import encode_histories  # noqa: E402

pytestmark = pytest.mark.learner


def test_targets_are_the_teachers_best_unhad_items_with_softened_chances() -> None:
    log = cycles(users=20, items=30, length=8)
    teacher = trained(log, 120, replace(SMALL, epochs=3))
    targets = teacher_targets([teacher], log, 120, {}, top=5, temperature=2.0, start=40)
    assert (targets.row[:40] == -1).all()
    assert (targets.row[120:] == -1).all()
    users = encode_histories(teacher, log, {}, stop=120)
    with torch.no_grad():
        scores = torch.from_numpy(users) @ teacher.table().T + teacher.bias
    for event in (45, 100, 119):
        row = int(targets.row[event])
        had = {int(log.item[k]) for k in range(event) if log.user[k] == log.user[event]} - {
            int(log.item[event])
        }
        order = [int(i) for i in scores[event].argsort(descending=True) if int(i) not in had][:5]
        assert targets.items[row].tolist() == order
        expected = torch.softmax(scores[event][order] / 2.0, 0)
        torch.testing.assert_close(targets.chance[row], expected, atol=1e-4, rtol=1e-3)


def test_a_ranker_taught_by_an_ensemble_orders_as_it_does() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 6, 4)).astype(np.float32)
    lists = Lists(x, x[..., 0].argmax(1), np.ones((600, 6), bool))
    teachers = [train_ranker(lists, seed=seed)[0] for seed in (0, 1)]
    soft = ensemble_scores(teachers, lists)
    unlabelled = Lists(x, rng.integers(6, size=600), lists.mask)  # the answers say nothing
    taught, _ = train_ranker(unlabelled, RankerConfig(soft_share=1.0, epochs=12), soft=soft)
    assert (taught.scores(x).argmax(1) == soft.argmax(1)).mean() > 0.9
