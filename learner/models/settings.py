"""Settings of student and ranker: what a training file may change.

Owns the numbers alone, free of torch: whoever plans a training reads them without loading it.
"""

from dataclasses import dataclass

from learner.data.event_weights import ALL_ALIKE


@dataclass(frozen=True)
class StudentConfig:
    """Settings of network and training; the defaults are measured (docs/log.md)."""

    dim: int = 64
    layers: int = 2
    dropout: float = 0.3
    id_dropout: float = 0.1  # share of items whose id part is hidden in a step, so that content carries
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    epochs: int = 8
    window: int = 100  # targets a training window
    context: int = 16  # earlier events a window reads before its first target
    batch_events: int = 2048  # targets a batch, roughly
    full_softmax_below: int = 5000  # clicked items; above, shared negatives with logQ correction
    negatives: int = 1024
    negative_power: float = 0.75  # they are drawn with chance (clicks + 1) ** power
    warmup_steps: int = 60
    patience: int = 2  # checks without improvement before training stops (only with a validation part)
    prior_weight: float = 0.0
    prior_half_life_ms: float = 30 * 86_400_000.0
    # How much events count, by the code of their kind, in the prior and as targets. The system's setting.
    event_weights: tuple[float, ...] = ALL_ALIKE


@dataclass(frozen=True)
class RankerConfig:
    """Settings of network and training (docs/log.md has the measurements)."""

    widths: tuple[int, int] = (64, 32)
    place_width: int = 32  # of what is summed over a user's own items
    dropout: float = 0.2
    learning_rate: float = 3e-3
    refresh_rate: float = 5e-4
    weight_decay: float = 0.01
    epochs: int = 10
    batch: int = 64  # lists
    compared: int = 32  # candidates that a step sets beside an answer, drawn anew each time: as good as all
    soft_share: float = 0.5  # of the loss, where soft targets are given
    temperature: float = 1.0
