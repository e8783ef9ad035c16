"""How an encoder is adapted: which steps, with which weights, how much of the network moves, for how long.

Owns the defaults, one set for all data, which docs/texts.md measures. Free of torch.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from learner.text.card import EncoderError

Task = Literal["next", "click", "rating", "category"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class AdaptationOptions:
    """One adaptation.

    minutes: of wall clock in all, reading and writing too
    max_tokens: of a text that are learned from
    layers: the upper ones that learn; the lower ones stay as they are, and what they make of a text is kept
    """

    minutes: float = 30.0
    max_tokens: int = 48
    layers: int = 2
    tasks: "MappingProxyType[Task, float]" = field(
        default_factory=lambda: MappingProxyType[Task, float]({"next": 1.0})
    )

    def __post_init__(self) -> None:
        """Raises EncoderError where a number makes no sense."""
        if not self.minutes > 0:
            raise EncoderError(f"minutes: expected more than 0, got {self.minutes}")
        if strange := set(self.tasks) - set(TASKS):
            raise EncoderError(f"tasks: expected some of {', '.join(TASKS)}, got {', '.join(sorted(strange))}")
