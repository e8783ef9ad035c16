"""The steps of one adaptation: what is learned, when it is judged, when it is kept.

Owns the loop and what it remembers. Knows neither where the lessons are from nor what becomes of the network.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.judging.click_chance import click_chance
from learner.judging.next_by_text import Pairs, next_by_text
from learner.text.adaptation import folder as files
from learner.text.adaptation.lessons import Lessons
from learner.text.adaptation.network import Network
from learner.text.adaptation.options import AdaptationOptions
from learner.text.adaptation.schedule import Pace, Stopping
from learner.text.adaptation.tasks import Tasks, chance_of_batch
from learner.text.adaptation.texts_alone import Words, twins_loss
from learner.text.card import EncoderError

_SAVED_EVERY_S = 60.0
_LONGEST_GRADIENT = 1.0

Tell = Callable[[int, Mapping[str, float]], None]
"""Takes a step's number, rising over the whole adaptation, and figures: `loss/next`, `valid/first_6` …

`share` is the finished part of all, 0 to 1, and comes with each step; `read` is that of a reading between.
"""


class Course:
    """The steps of one adaptation. `state` and the tensors of `_tensors` are all that it remembers."""

    def __init__(
        self,
        network: Network,
        lessons: Lessons,
        options: AdaptationOptions,
        state: files.State,
        seed: int,
        tell: Tell,
    ) -> None:
        self.network, self.lessons, self.options, self.state = network, lessons, options, state
        self.seed, self.tell = seed, tell
        self.learned = network.parameters()
        self.best = {name: each.detach().clone() for name, each in self.learned.items()}
        self.stopping = Stopping(options.patience, state.best, state.judged_since)
        self.head: Tasks | Words | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.chance = chance_of_batch(lessons.together, lessons.clicked)

    def run(self, pace: Pace, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """All steps that are left, going on from `tensors` if there are any; then the best network stands."""
        state = self.state
        for name, each in self.learned.items():
            if tensors:
                each.data.copy_(tensors[f"net {name}"])
                self.best[name].copy_(tensors[f"best {name}"])
        if not tensors:
            self.judge()
        saved = pace.spent_s
        while pace.advance():
            self.begin(pace, tensors)
            tensors = {}
            figures = self.step(pace)
            state.step, state.since, state.spent_s = pace.step, state.since + 1, pace.spent_s
            if pace.judgement > state.judged:
                state.judged = pace.judgement
                figures |= self.judge()
            self.tell(pace.step, {**figures, "share": min(pace.share, 1.0)})
            if self.stopping.ended and not self.next_part(pace):
                break
            state.share = pace.share
            if pace.spent_s - saved > _SAVED_EVERY_S:
                files.save(folder, state, self.tensors())
                saved = pace.spent_s
        if self.lessons.judge is not None:
            if not self.stopping.ended:
                self.judge()
            self.take_best()
            state.figures["first_6_after"] = self.stopping.best
            if self.options.tasks.get("click"):  # learned on pairs it was fitted to, it would say too much
                chance = click_chance(self._rows(self.lessons.judge), self.lessons.judge)
                told = {f"click_{name}": value for name, value in asdict(chance).items()}
                state.figures |= {name: value for name, value in told.items() if np.isfinite(value)}
        state.figures |= {
            "seconds": round(pace.spent_s, 1), "steps": pace.step, "texts": len(self.lessons.texts),
            "cut": float(pace.cut),
        }  # fmt: skip

    def next_part(self, pace: Pace) -> bool:
        """Goes on to the next part, from the best network so far; says whether there is one."""
        self.take_best()
        self.stopping.since = self.state.judged_since = 0
        if not pace.skip():
            self.stopping.since = self.options.patience
            return False
        self.state.step = pace.step
        return True

    def take_best(self) -> None:
        """Makes the network what it was when it was judged best."""
        for name, each in self.learned.items():
            each.data.copy_(self.best[name])

    def begin(self, pace: Pace, tensors: Mapping[str, Tensor]) -> None:
        """What has to be there for the next step; heads begin anew with each kind of step."""
        kind, layers = pace.stage.kind, pace.stage.layers
        clicked = np.arange(self.lessons.clicked)
        if self.network.thaw(layers) and kind != "words":
            for share in self.network.read_below():
                self.tell(self.state.step, {"read": share})
                if pace.spent_s > pace.seconds:
                    raise EncoderError(
                        f"reading the texts took all of {pace.seconds / 60:g} minutes; give the adaptation "
                        "more of them, or choose a smaller model"
                    )
        if self.optimizer is not None and kind == self.state.kind:
            return
        if kind != self.state.kind:  # a checkpoint's head and moments are those of its last step's kind
            tensors = {}
        if kind == "clicks":
            empty = torch.zeros((len(clicked), self.network.width), device=self.network.device)
            self.head = Tasks(self.lessons, empty if tensors else self.network.table(clicked), self.options)
        else:
            self.head = Words(self.network) if kind == "words" else None
        owned = [*self.learned.values(), *(self.head.parameters() if self.head is not None else ())]
        self.optimizer = torch.optim.AdamW(
            owned, lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        self.state.since = self.state.since if tensors else 0
        self.state.kind = kind
        if tensors:
            self._restore(tensors)

    def step(self, pace: Pace) -> dict[str, float]:
        """One step of the optimiser; the losses by their names."""
        rng = np.random.default_rng([self.seed, pace.step])
        torch.manual_seed(self.seed * 1_000_003 + pace.step)
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * pace.rate(self.state.since)
        self.network.train(True)
        losses, total = self._losses(rng)
        self.optimizer.zero_grad()
        self.network.hardware.backward(total)
        torch.nn.utils.clip_grad_norm_(
            [p for p in self.learned.values() if p.grad is not None], _LONGEST_GRADIENT
        )
        self.optimizer.step()
        return {f"loss/{name}": float(each.detach()) for name, each in losses.items()}

    def _losses(self, rng: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
        batch = min(self.options.batch, len(self.lessons.texts))
        if isinstance(self.head, Tasks):
            able = int((self.chance > 0).sum())
            if not able:
                raise EncoderError("nobody has clicked two of these texts: there is nothing to learn from")
            places = rng.choice(len(self.chance), min(batch, able), replace=False, p=self.chance)
            losses = self.head.losses(places, self.network.vectors(places), rng)
            weighted = [self.head.weights[task] * each for task, each in losses.items()]
            return {str(task): each for task, each in losses.items()}, torch.stack(weighted).sum()
        places = rng.choice(len(self.lessons.texts), batch, replace=False)
        if isinstance(self.head, Words):
            loss = self.head.loss(self.network, places, rng)
            return {"words": loss}, loss
        loss = twins_loss(self.network, places)
        return {"twins": loss}, loss

    def judge(self) -> dict[str, float]:
        """How well the texts tell what was clicked next in the clicks held back; keeps the best network."""
        pairs = self.lessons.judge
        if pairs is None:
            return {}
        rows = self._rows(pairs)
        if not np.isfinite(rows).all():  # comparisons with such would make it the best there ever was
            raise EncoderError("the encoder learned until nothing was left of it; lower the learning rate")
        found = next_by_text(rows, pairs)
        if self.state.step == 0:
            self.state.figures |= {"first_6_before": found.first, "error": found.error}
        if self.stopping.judged(found.first):
            self.best = {name: each.detach().clone() for name, each in self.learned.items()}
        self.state.best, self.state.judged_since = self.stopping.best, self.stopping.since
        return {"valid/first_6": found.first, "valid/below": found.below}

    def _rows(self, pairs: Pairs) -> NDArray[np.float32]:
        """Vectors (T, W) of all texts; 0 of those that no pair has."""
        used = np.unique(np.concatenate([pairs.last, pairs.next, pairs.others.ravel()])).astype(np.int64)
        rows = np.zeros((len(self.lessons.texts), self.network.width), np.float32)
        rows[used] = self.network.table(used).cpu().numpy()
        return rows

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint needs beside the state."""
        found: dict[str, Tensor] = {f"net {name}": each for name, each in self.learned.items()}
        found |= {f"best {name}": each for name, each in self.best.items()}
        if self.head is not None:
            found |= {f"head {name}": each for name, each in self.head.state_dict().items()}
        assert self.optimizer is not None
        for number, kept in self.optimizer.state_dict()["state"].items():
            found |= {f"opt {number} {name}": torch.as_tensor(each) for name, each in kept.items()}
        return found

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The head and the optimiser of a checkpoint."""
        if self.head is not None:
            self.head.load_state_dict(
                {n.removeprefix("head "): t for n, t in tensors.items() if n.startswith("head ")}
            )
        assert self.optimizer is not None
        whole = self.optimizer.state_dict()
        for name, each in tensors.items():
            if name.startswith("opt "):
                _, number, field = name.split(" ")
                whole["state"].setdefault(int(number), {})[field] = each
        self.optimizer.load_state_dict(whole)
