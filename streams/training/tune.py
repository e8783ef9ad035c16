"""`nextclick tune`: files in, a file of training settings out, with progress.

Owns the command's words on the screen. The search itself is `learner.training.search`; the hot path that
makes its lists is `collecting.collect`.
"""

import time
from pathlib import Path

from rich.console import Console

from learner.text.cache import TextCache
from streams.runtime.progress import bars
from streams.settings import Settings
from streams.training import encoders
from streams.training.train import REPEATS, NotInstalled, Recorded


def run(
    settings: Settings,
    recorded: Recorded,
    *,
    out: Path,
    time_budget: float,
    trials: int | None,
    seed: int,
) -> None:
    """Searches on what is recorded and writes the settings found to `out`."""
    started = time.monotonic()
    try:
        from learner.training.options import TrainingOptions
        from learner.training.search import search
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"the search needs the extra `learner` ({error.name} is missing): "
            "pip install 'nextclick[learner]'"
        ) from None
    from streams.recorded.collecting import collect

    console = Console(stderr=True)
    part, records = recorded.read(seed)
    options = TrainingOptions(
        budget_minutes=max(time_budget - (time.monotonic() - started) / 60, 0.5 * time_budget),
        seed=seed,
        repeat_consumption=REPEATS[settings.repeat_consumption],
        choice=encoders.chosen(settings),
        reader=encoders.text_server(settings),
        cache=TextCache(settings.cache_dir / "texts"),
        event_weights=settings.event_weights,
    )
    with bars(console) as tell:
        found = search(part, records, collect, options, trials=trials, progress=tell)
    found_on = f"{recorded.interactions.name}, first {recorded.to:.0%} of its events, seed {seed}"
    remarks = [f"found by nextclick tune on {found_on}"]
    for name, figures in found.figures.items():
        remarks.append(
            f"{name}: NDCG@10 {figures['default']:.4f} by default, {figures['best']:.4f} at best, "
            f"{figures['trials']:.0f} trials"
        )
    found.settings.write(out, "\n".join(remarks))
    for remark in remarks[1:] or ["too few events to search: the defaults stand"]:
        console.print(remark)
    # A line to copy: not broken in a pipe, and a path in brackets is no markup.
    console.print(f"settings written to {out}: nextclick train --tuned {out}", soft_wrap=True, markup=False)
