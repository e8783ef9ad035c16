"""Student and teacher as the published protocol asks for them (`learner.evaluation.leave_one_out`).

Owns how the two are trained there: from items, their order and their content alone, as in the papers;
full ranking, the best of several checks on the validation items. A student learns from an elder one and from
what is recalled, beside the answers. The teacher is a student and a transformer, which err differently, and
recall, which forgets nothing. Knows nothing of how it is scored.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from learner.data.catalogue import Catalogue, Item
from learner.data.events import Kind
from learner.data.inputs import EventLog
from learner.evaluation.leave_one_out import LeaveOneOut
from learner.evaluation.recall import ALIKE, FOLLOWED, Places, Recall, Voice
from learner.evaluation.system import Ints
from learner.models.item_content import ItemContent
from learner.models.next_item_loss import SoftTargets
from learner.models.run import Run
from learner.models.sequences import encode_histories
from learner.models.settings import StudentConfig
from learner.models.student import START, SequenceModel, Student
from learner.models.student_training import Check, train_model
from learner.models.teacher import Teacher, TeacherConfig
from learner.text.content import ContentEncoder

OTHER_SEED = 101  # added to the seed for each further model
ELDER_SEED = 1009  # added to it for the student that teaches the others
TAUGHT = 0.5  # share of a student's loss that is about what its elder and recall say
CHECKS = 6  # of the validation items in one training; the best stands

# The settings that docs/log.md has the figures of
STUDENT = StudentConfig(
    dim=128, layers=1, dropout=0.3, learning_rate=2e-3, weight_decay=0.01, epochs=8, window=50, context=50,
    full_softmax_below=0, negatives=1024, patience=3,
)  # fmt: skip
ELDER = replace(STUDENT, dim=64, epochs=12)
TEACHER = TeacherConfig(
    layers=1, epochs=30, full_softmax_below=0, negatives=1024, patience=3, kind_share=0.0, value_share=0.0
)


class SequenceScorer:
    """A sequence model under the protocol, or the mean of several's scores, and what `recall` adds to it.

    `taught`: the share of a student's loss that is about what an elder one, trained before it without such
    lessons, and recall say together, instead of about the answer.
    """

    def __init__(
        self, name: str, *configs: StudentConfig, recall: bool = False, taught: float = 0.0, seed: int = 0,
        encoder: ContentEncoder | None = None, progress: Callable[[float, str], None] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.configs, self.seed = name, configs, seed
        # Teachers alone learn from no elder.
        self.recall = recall
        self.taught = 0.0 if all(isinstance(each, TeacherConfig) for each in configs) else taught
        self._encoder, self._progress = encoder, progress
        self.models: list[SequenceModel] = []
        self.recalled: Recall | None = None  # once fitted, where it was asked for
        self.validation: list[list[float]] = []  # by model, check for check

    def fit(self, task: LeaveOneOut, validate: Callable[[], float]) -> None:
        """Trains on the items before the held-out ones, checks each model on the validation items."""
        torch.set_num_threads(1)
        events = task.train.events
        # Items and their order alone: the next event's time is the answer's, which papers do not use.
        log = replace(
            events, time_ms=np.zeros(len(events), np.int64),
            kind=np.full(len(events), Kind.CLICK, np.uint8), value=np.full(len(events), np.nan, np.float32),
        )  # fmt: skip
        content = content_of(task, self._encoder)
        recall = Recall.of(task.train, content.text) if self.recall or self.taught else None
        soft = self._taught(task, log, content, recall) if recall and self.taught else None
        trained = []
        for number, config in enumerate(self.configs):
            seed = self.seed + number * OTHER_SEED
            torch.manual_seed(seed)
            self.models = [build(content, config)]  # alone, while it is checked
            run = Run(seed, progress=self._told(number + bool(self.taught)), name=self.name)
            lessons = None if isinstance(config, TeacherConfig) else soft  # taught alike they err alike
            check = Check(validate, CHECKS)
            report = train_model(self.models[0], log, len(log), {}, run, soft=lessons, check=check)
            self.validation.append(report.validation)
            trained += self.models
        self.models = trained
        self.recalled = recall if self.recall else None

    def _taught(self, task: LeaveOneOut, log: EventLog, content: ItemContent, recall: Recall) -> SoftTargets:
        """What an elder student and recall say of each event."""
        seed = self.seed + ELDER_SEED
        torch.manual_seed(seed)
        elder = build(content, ELDER)
        train_model(
            elder, log, len(log.item), {}, Run(seed, progress=self._told(0), name=f"{self.name}/elder")
        )
        return recall.taught(task.train, self.taught, beside=_voice(elder, log))

    def _told(self, number: int) -> Callable[[float, str], None] | None:
        """Progress of one model after the other, an elder first."""
        tell, models = self._progress, len(self.configs) + bool(self.taught)
        return None if tell is None else lambda share, text: tell((number + share) / models, text)

    def scores(self, histories: Sequence[Ints]) -> NDArray[np.floating[Any]]:
        """Scores (B, V) of all items after each history of items, oldest first."""
        total = _scores(self.models[0], histories)
        for model in self.models[1:]:
            total += _scores(model, histories)
        total /= len(self.models)
        if self.recalled is not None:
            followed, alike = self.recalled.heard(histories)
            total += FOLLOWED * followed + ALIKE * alike
        return total


@torch.no_grad()
def _scores(model: SequenceModel, histories: Sequence[Ints]) -> NDArray[np.float32]:
    model.eval()
    limit = model.config.window + model.config.context
    cut = [history[-limit:] for history in histories]
    length = np.array([len(history) for history in cut])
    item = np.zeros((max(int(length.max()), 1), len(cut)), np.int64)
    for row, history in enumerate(cut):
        item[: len(history), row] = history
    kind = np.where(np.arange(len(item))[:, None] < length[None], int(Kind.CLICK), START)
    table = model.table()
    zero = torch.zeros(item.shape)
    users, _ = model(
        F.embedding(torch.from_numpy(item), table), torch.from_numpy(kind), zero, zero,
        torch.zeros(len(cut), model.hidden_size),
    )  # fmt: skip
    last = users[torch.from_numpy(np.maximum(length - 1, 0)), torch.arange(len(cut))]
    last = torch.where(torch.from_numpy(length == 0)[:, None], model.initial, last)
    found: NDArray[np.float32] = (last @ table.T + model.bias).numpy()
    return found


@torch.no_grad()
def _voice(model: SequenceModel, log: EventLog) -> Voice:
    """What a trained model says of the events of a log, from what came before each."""
    users, table = torch.from_numpy(encode_histories(model, log, {})), model.table()

    @torch.no_grad()
    def said(at: Places) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = (users[at] @ table.T + model.bias).numpy()
        return scores

    return said


def build(content: ItemContent, config: StudentConfig) -> SequenceModel:
    """The model that the settings are of, untrained."""
    return Teacher(content, config) if isinstance(config, TeacherConfig) else Student(content, config)


def content_of(task: LeaveOneOut, encoder: ContentEncoder | None) -> ItemContent:
    """Vectors and categories of the task's items; `encoder` None fits one to them."""
    catalogue = Catalogue()
    known = [record or Item(item_id=name) for name, record in zip(task.item_ids, task.records, strict=True)]
    for item in known:
        catalogue.admit(item)
    encoder = encoder or ContentEncoder.fit(known)
    return ItemContent(encoder.encode(known), catalogue.categories[: catalogue.size].copy())
