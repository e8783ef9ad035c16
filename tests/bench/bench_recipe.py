"""Leave one out by parts: student, transformer, their mean, and what recall adds; the file's order or lots.

    PYTHONPATH=. python tests/bench/bench_recipe.py --data DIR --keep FOLDER [--seeds 0 1 2] [--shuffle-days]
        [--student dropout=0.5,epochs=40] [--teacher full_softmax_below=20000] [--taught 0] [--student-alone]

Each training is kept in FOLDER by its settings, seed and order, and not made again: a run that was stopped
goes on with the next one. Settings are to be chosen by the column of validation alone.
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from learner.data.catalogue import Item
from learner.evaluation.leave_one_out import LeaveOneOut, leave_one_out, positions
from learner.evaluation.leave_one_out_models import (
    OTHER_SEED,
    STUDENT,
    TAUGHT,
    TEACHER,
    SequenceScorer,
    build,
    content_of,
)
from learner.evaluation.recall import Recall
from learner.judging.metrics import hit, ndcg
from learner.models.item_content import ItemContent
from learner.models.settings import StudentConfig
from learner.models.student import SequenceModel
from learner.models.teacher import TeacherConfig
from learner.text.cache import TextCache
from learner.text.content import ContentEncoder
from streams.replay.wishes import loaded


def main() -> None:
    """Trains what is missing and prints a line for each part."""
    asked = _arguments()
    asked.keep.mkdir(parents=True, exist_ok=True)
    files = [asked.data / "interactions.csv.gz", asked.data / "items.csv.gz"]
    events, records = loaded(files[0], files[1] if files[1].exists() else None)
    student, teacher = _changed(STUDENT, asked.student), _changed(TEACHER, asked.teacher)
    encoder = ContentEncoder.fit(_known(events.item_ids, records), cache=TextCache(asked.keep / "texts"))
    print(
        "| seed | part | validation, NDCG@10 | test, NDCG@10 | test, HR@10 |\n|---|---|---|---|---|",
        flush=True,
    )
    for seed in asked.seeds:
        lot = np.random.default_rng(seed) if asked.shuffle_days else None
        task = leave_one_out(events, records, shuffle_days=lot)
        content = content_of(task, encoder)
        order = "lot" if asked.shuffle_days else "file"
        recall = Recall.of(task.train, content.text)
        first = _trained(task, content, encoder, student, seed, asked, order)
        _tell(task, seed, "student", [first])
        _tell(task, seed, "student and recall", [first], recall)
        if asked.student_alone:
            continue
        second = _trained(task, content, encoder, teacher, seed + OTHER_SEED, asked, order)
        _tell(task, seed, "transformer", [second])
        _tell(task, seed, "both", [first, second])
        _tell(task, seed, "teacher", [first, second], recall)


def _tell(
    task: LeaveOneOut, seed: int, part: str, models: list[SequenceModel], recall: Recall | None = None
) -> None:
    """One line of the table."""
    scorer = SequenceScorer(part, seed=seed)
    scorer.models, scorer.recalled = models, recall
    validation, test = positions(scorer, task, 2), positions(scorer, task, 1)
    figures = ndcg(validation).mean(), ndcg(test).mean(), hit(test).mean()
    print(f"| {seed} | {part} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |", flush=True)


def _trained(
    task: LeaveOneOut, content: ItemContent, encoder: ContentEncoder, config: StudentConfig, seed: int,
    asked: argparse.Namespace, order: str,
) -> SequenceModel:  # fmt: skip
    """The model of these settings, from its file or trained now."""
    taught = 0.0 if isinstance(config, TeacherConfig) else asked.taught
    told = hashlib.sha256(repr((config, seed, order, taught, len(task.train.events))).encode()).hexdigest()[
        :16
    ]
    file = asked.keep / f"{type(config).__name__}-{told}.pt"
    if not file.exists():
        scorer = SequenceScorer(file.stem, config, taught=taught, seed=seed, encoder=encoder)
        scorer.fit(task, lambda: float(ndcg(positions(scorer, task, 2)).mean()))
        part = file.with_suffix(".partial")
        torch.save(scorer.models[0].state_dict(), part)
        part.rename(file)
    model = build(content, config)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model


def _known(names: list[str], records: list[Item]) -> list[Item]:
    by_name = {record.item_id: record for record in records}
    return [by_name.get(name) or Item(item_id=name) for name in names]


def _changed(config: StudentConfig, words: str) -> StudentConfig:
    """Settings with some changed, from words like dropout=0.5,epochs=40."""
    given = dict(word.split("=", 1) for word in words.split(",") if word)
    return replace(config, **{name: type(getattr(config, name))(value) for name, value in given.items()})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shuffle-days", action="store_true")
    parser.add_argument("--student", default="")
    parser.add_argument("--teacher", default="")
    parser.add_argument("--taught", type=float, default=TAUGHT)
    parser.add_argument("--student-alone", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
