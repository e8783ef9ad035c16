"""One adaptation from the first text to the folder of the finished encoder, resumed where it was killed.

Owns what belongs to one adaptation: its inputs, its folder, its result. Imports torch, transformers and peft.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import torch

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.text.adaptation import folder as files
from learner.text.adaptation.course import Course, Tell
from learner.text.adaptation.lessons import Lessons, lessons_of
from learner.text.adaptation.network import Network
from learner.text.adaptation.options import AdaptationOptions
from learner.text.adaptation.schedule import Pace
from learner.text.cache import TextCache
from learner.text.card import EncoderCard, EncoderChoice
from learner.text.pretrained import find


@dataclass(frozen=True)
class Adapted:
    """An adapted encoder: a model folder, as `save_pretrained` writes it, and what is known of it.

    figures: `seconds`, `steps`, `texts`, and where clicks were held back to judge by `first_6_before`,
    `first_6_after` and their `error`; with the task `click` also `click_slope`, `click_bias` and
    `click_error` (`learner.judging.click_chance`)
    """

    folder: Path
    figures: Mapping[str, float]


def adapt(
    base: EncoderChoice, items: Sequence[Item], clicks: Interactions, folder: Path,
    options: AdaptationOptions | None = None, *, seed: int = 0, tell: Tell | None = None,
    cache: TextCache | None = None, clock: Callable[[], float] = time.monotonic,
) -> Adapted:  # fmt: skip
    """Adapts `base` to a catalogue, and writes the encoder to `folder`.

    items: the catalogue; their texts are what `learner.text.content.text_of` says, categories where they are
    clicks: nothing after the last of them is seen, and the newest ones judge when to stop
    folder: becomes the model's. Until then it has a checkpoint, from which a call with the same inputs goes
    on; a call with others begins anew; one with the same inputs and a finished folder returns at once.
    cache: of what encoders made of texts before they learned

    Raises EncoderError where the base cannot be had, or there is too little to learn from; OSError where the
    folder cannot be written.
    """
    options = options or AdaptationOptions()
    begun = clock()
    found = find(base)
    lessons = lessons_of(items, clicks, options, seed)
    made_of = _made_of(found.card, lessons, options, seed)
    if (known := files.finished(folder, made_of)) is not None:
        return Adapted(folder, known)
    kept = files.load(folder, made_of)
    state, tensors = kept or (files.State(made_of=made_of), {})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(found, lessons.texts, lessons.clicked, options, cache)
        course = Course(network, lessons, options, state, seed, tell or (lambda _step, _figures: None))
        size = len(lessons.texts), lessons.clicked
        pace = Pace(options, *size, clock, begun=begun - state.spent_s, step=state.step, share=state.share)
        course.run(pace, folder, tensors)
    done = files.Done(
        made_of=made_of,
        base=base.model,
        figures=state.figures,
        base_identity=found.card.identity,
        last_ms=int(clicks.time_ms.max(initial=0)),
    )
    files.write(folder, *network.merged(), found, done)
    return Adapted(folder, state.figures)


def _made_of(card: EncoderCard, lessons: Lessons, options: AdaptationOptions, seed: int) -> str:
    """32 hexadecimal digits of all inputs but the time."""
    wished = {name: each for name, each in asdict(options).items() if name != "minutes"}
    digest = hashlib.sha256(msgspec.json.encode([files.FORMAT, card, wished, seed, lessons.texts]))
    for array in (lessons.user, lessons.text, lessons.value, lessons.categories):
        digest.update(array.tobytes())
    if lessons.judge is not None:
        digest.update(lessons.judge.last.tobytes() + lessons.judge.next.tobytes())
    return digest.hexdigest()[:32]
