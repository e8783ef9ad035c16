"""One adaptation from the first text to the folder of the finished encoder, resumed where it was killed.

Owns the order of the steps and the folder. Imports torch, transformers and peft.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.text.adaptation.options import AdaptationOptions
from learner.text.card import EncoderChoice

Tell = Callable[[int, Mapping[str, float]], None]
"""Takes a step's number, rising over the whole adaptation, and figures: `loss/mlm`, `valid/first_6`, `share` …

`share` is the finished part of everything, 0 to 1; it comes with each call.
"""


@dataclass(frozen=True)
class Adapted:
    """An adapted encoder: a model folder, as `save_pretrained` writes it, and what is known of it.

    figures: `first_6_before` and `first_6_after` on the clicks held back for early stopping, `seconds`, …
    """

    folder: Path
    figures: Mapping[str, float]


def adapt(
    base: EncoderChoice, items: Sequence[Item], clicks: Interactions, folder: Path,
    options: AdaptationOptions | None = None, *, seed: int = 0, tell: Tell = lambda step, figures: None,
    clock: Callable[[], float] = time.monotonic,
) -> Adapted:  # fmt: skip
    """Adapts `base` to a catalogue, and writes the encoder to `folder`.

    items: the catalogue; their texts are what `learner.text.content.text_of` says, categories where they are
    clicks: nothing after the last of them is seen, and the newest tenth judges when to stop
    folder: becomes the model's. Until then it has a checkpoint, from which a call with the same inputs goes
    on; a call with others begins anew; one with the same inputs and a finished folder returns at once.

    Raises EncoderError where the base cannot be had, or there is too little to learn from; OSError where the
    folder cannot be written.
    """
    raise NotImplementedError
