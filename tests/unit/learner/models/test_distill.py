"""Teachers' targets: who is listed, what the chances are, and that a student learns from them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learner.models.distill import ensemble_scores, teacher_targets, train_teachers  # noqa: E402
from learner.models.item_table import ItemContent  # noqa: E402
from learner.models.prior import Prior  # noqa: E402
from learner.models.ranker import RankerConfig  # noqa: E402
from learner.models.ranker_training import train_ranker  # noqa: E402
from learner.models.run import Run  # noqa: E402
from learner.models.sequences import encode_histories  # noqa: E402
from learner.models.student import Student, StudentConfig  # noqa: E402
from learner.models.student_training import train_student  # noqa: E402
from learner.models.teacher import Teacher  # noqa: E402
from learner.ranking.lists import Lists  # noqa: E402
from tests.worlds.cycles import SMALL, cycles, trained  # noqa: E402

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
    teachers = [train_ranker(lists, run=Run(seed))[0] for seed in (0, 1)]
    soft = ensemble_scores(teachers, lists)
    unlabelled = Lists(x, rng.integers(6, size=600), lists.mask)  # the answers say nothing
    taught, _ = train_ranker(unlabelled, RankerConfig(soft_share=1.0, epochs=12), soft=soft)
    assert (taught.scores(x).argmax(1) == soft.argmax(1)).mean() > 0.9


def test_teachers_are_a_recurrence_of_another_seed_and_a_transformer_within_one_budget() -> None:
    log = cycles(users=20, items=30, length=8)
    content, config = ItemContent.empty(30), StudentConfig(dim=16, epochs=2, prior_weight=0.5)
    shares: list[float] = []
    teachers, reports = train_teachers(
        log, 120, content, {}, config, Run(progress=lambda share, _: shares.append(share)),
        transformer=replace(SMALL, epochs=1),
    )  # fmt: skip
    recurrence, transformer = teachers
    assert isinstance(recurrence, Student)
    assert isinstance(transformer, Teacher)
    assert [round(report.epochs) for report in reports] == [2, 1]
    assert transformer.config.prior_weight == recurrence.config.prior_weight == 0.5
    assert shares == sorted(shares)
    student, _ = train_student(log, 120, content, {}, config)
    assert not torch.equal(student.id_part, recurrence.id_part)
    ticks = itertools.count()  # a second each time that the clock is looked at
    _, cut = train_teachers(
        log, 120, content, {}, replace(config, epochs=500),
        Run(budget_s=100.0, clock=lambda: float(next(ticks))), transformer=replace(SMALL, epochs=500),
    )  # fmt: skip
    assert all(report.cut_by_time for report in cut)
    assert cut[0].seconds <= 30 < cut[1].seconds <= 100


def test_the_mean_of_two_teachers_teaches() -> None:
    log = cycles(users=20, items=30, length=8)
    prior = replace(SMALL, epochs=2, prior_weight=0.5)
    one, other = trained(log, 120, prior), trained(log, 120, prior, seed=1)
    targets = teacher_targets([one, other], log, 120, {}, top=4)
    with torch.no_grad():
        scores = sum(
            torch.from_numpy(encode_histories(each, log, {}, stop=120)) @ each.table().T + each.bias
            for each in (one, other)
        ) / 2  # fmt: skip
    known = Prior.of(log, 30, 120, prior.prior_half_life_ms)
    for event in (45, 100, 119):
        had = {int(log.item[k]) for k in range(event) if log.user[k] == log.user[event]} - {
            int(log.item[event])
        }
        full = scores[event] + 0.5 * known.log_popularity[event // known.every]
        order = [int(i) for i in full.argsort(descending=True) if int(i) not in had][:4]
        row = int(targets.row[event])
        assert targets.items[row].tolist() == order
        torch.testing.assert_close(targets.chance[row], torch.softmax(full[order], 0), atol=1e-4, rtol=1e-3)
