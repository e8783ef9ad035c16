"""How an encoder is adapted: which steps, with which weights, how much of the network moves, for how long.

Owns the defaults, one set for all data, which docs/texts.md measures. Free of torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from learner.text.card import EncoderError

Task = Literal["next", "click", "rating", "category", "keep"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class AdaptationOptions:
    """One adaptation: first of the texts alone, where `words` or `twins` want time, then of the clicks.

    minutes: of wall clock in all, reading and writing too; what fits is made as planned, the rest shortened
    texts: different ones that are learned from, those clicked most
    max_tokens: of a text that are learned from
    rank: of the matrices that learn (LoRA) in the upper layers; 0: these layers learn whole
    layers: upper layers that learn, one number a part: (0, 2) begins with the projection behind the pooling
        alone, which costs next to nothing, and then thaws two layers. Lower ones stay as they are, and what
        they make of each text is kept
    words, twins: passes over the texts with masked words, and of a text with itself under dropout (SimCSE)
    tasks: weights of what clicks teach: the next item, click or not, ratings, categories, and to keep what
        was known of each text before
    passes: over the texts, with what their clicks teach, in each of the parts
    projection: a layer behind the pooling learns too
    batch: texts a step
    window: clicks of a user that count as together, by the inverse of their distance
    temperature: of the softmax over items, in cosines
    popularity: how much of an item's popularity is no matter of its text (0 to 1): logQ correction and bias
    memory: texts are compared with all others, as they were when they came last; else with their batch
    learning_rate, weight_decay, dropout: of the upper layers; decay is L2, decoupled (AdamW)
    patience: judgements on the clicks held back without a better one, after which it stops; `judged` a pass
    held_back: newest share of the clicks, which judges and does not teach
    """

    minutes: float = 30.0
    texts: int = 20_000
    max_tokens: int = 48
    rank: int = 16
    layers: tuple[int, ...] = (0,)
    projection: bool = True
    words: float = 0.0
    twins: float = 0.0
    tasks: Mapping[Task, float] = field(default_factory=lambda: {"next": 1.0})
    passes: tuple[float, ...] = (4.0,)
    batch: int = 64
    window: int = 10
    temperature: float = 0.1
    popularity: float = 1.0
    memory: bool = True
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    patience: int = 3
    held_back: float = 0.1

    def __post_init__(self) -> None:
        """Raises EncoderError where a number makes no sense."""
        least = {"minutes": 0.01, "texts": 20, "max_tokens": 4, "rank": 0, "words": 0, "twins": 0}
        least |= {"batch": 4, "window": 1, "temperature": 0.001, "popularity": 0, "learning_rate": 1e-7}
        least |= {"weight_decay": 0, "dropout": 0, "patience": 1, "held_back": 0}
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise EncoderError(f"{name}: expected at least {low}, got {getattr(self, name)}")
        for name, high in {"dropout": 0.9, "held_back": 0.5, "popularity": 1.0}.items():
            if not getattr(self, name) <= high:
                raise EncoderError(f"{name}: expected at most {high}, got {getattr(self, name)}")
        low = 0 if self.projection else 1
        if not self.layers or min(self.layers) < low:
            raise EncoderError(f"layers: expected numbers of at least {low}, got {self.layers}")
        if list(self.layers) != sorted(self.layers):
            raise EncoderError(f"layers: expected no fewer from part to part, got {self.layers}")
        if (self.words or self.twins) and not max(self.layers):
            raise EncoderError("words, twins: expected layers that learn, got none in layers")
        if len(self.passes) != len(self.layers) or min(self.passes) < 0:
            raise EncoderError(
                f"passes: expected a number of at least 0 for each of layers {self.layers}, got {self.passes}"
            )
        if strange := [name for name in self.tasks if name not in TASKS]:
            raise EncoderError(f"tasks: expected some of {', '.join(TASKS)}, got {', '.join(strange)}")
        if bad := [name for name, weight in self.tasks.items() if not weight >= 0]:
            raise EncoderError(f"tasks: expected weights of at least 0, got {bad[0]}={self.tasks[bad[0]]}")
        if not (self.words or self.twins or (any(self.passes) and any(self.tasks.values()))):
            raise EncoderError("nothing is learned: expected words, twins or passes with a task above 0")
