"""What content is worth to items and users of whom little is known, and how never-clicked items fare.

    PYTHONPATH=. python tests/bench/bench_new_items.py run DATA… --out DIR --label NAME
        [--seeds 0,1] [--minutes 3] [--systems nextclick_signals] [--announce start] [--encoder PATTERN]
    PYTHONPATH=. python tests/bench/bench_new_items.py table --out DIR --label NAME [--over NAME]

DATA are folders with interactions.csv.gz and items.csv.gz. `run` keeps what each system did of each data
set and seed in a file, and the releases beside them: what is there already is not done again. `table` sets
`nextclick_signals` over `nextclick_no_content`, or over itself under another label (another checkout of the
code), with intervals over users. Releases are trained on one core; minutes are of processor time, so that a
busy machine gives both sides the same. `--encoder` names the folder of the encoder that reads the texts,
`{data}` and `{seed}` in it stand for what is run. One adapted to the first quarter of what a release learns
from is made by `nextclick encoder adapt --to 0.2`.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from learner.data.catalogue import Item
from learner.data.dataset import Interactions
from learner.data.pair import read_pair
from learner.evaluation.plan import plan, stream_from
from learner.evaluation.replay import play
from learner.evaluation.report import SLICES
from learner.evaluation.system import FirstPart
from learner.judging.metrics import hit, interval, ndcg, per_group, resampled
from learner.text.cache import TextCache
from learner.text.card import EncoderChoice
from learner.training.material import prepare
from learner.training.options import TrainingOptions
from learner.training.train import train_release
from streams.hot_path.policy import Policy
from streams.recorded.collecting import collect
from streams.replay.parts import NO_CONTENT, part
from streams.replay.releases import recorded

MAIN = "nextclick_signals"
PARTS = ("all", *SLICES)
EVERY = 4  # asks beyond the slices: every so many is ranked, for what is said of all and of the tail


def main() -> None:
    """Runs or tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("data", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--over", help="another label; without one the control without content")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--systems", default=f"{MAIN},{NO_CONTENT}")
    parser.add_argument("--encoder", help="folder of the encoder that reads texts, as in work/{data}-{seed}")
    parser.add_argument("--announce", choices=("strict", "start"), default="strict")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    if wanted.what == "run":
        for folder in wanted.data:
            for seed in map(int, wanted.seeds.split(",")):
                for system in wanted.systems.split(","):
                    _run(folder, seed, system, wanted)
    else:
        _tell(wanted)


def _file(wanted: argparse.Namespace, label: str, data: str, seed: int, system: str) -> Path:
    made: Path = wanted.out / f"{label}-{wanted.announce}-{data}-{seed}-{system}.npz"
    return made


def _run(folder: Path, seed: int, system: str, wanted: argparse.Namespace) -> None:
    file = _file(wanted, wanted.label, folder.name, seed, system)
    if file.exists():
        return
    encoder = wanted.encoder and wanted.encoder.format(data=folder.name, seed=seed)
    choice = EncoderChoice(encoder) if encoder else None
    begun, cpu = time.perf_counter(), time.process_time()
    data, records = _read(folder)
    made = plan(stream_from(data, records, seed), announce=wanted.announce, seed=seed)
    # What these figures do not need takes most of a replay: the list after each click, and most asks.
    drawn = np.arange(made.stream.size) % EVERY == 0
    told = drawn | np.any([made.slices[name] for name in SLICES if name != "tail"], axis=0)
    made = replace(made, scored=made.scored & told, lists=np.zeros_like(made.lists))

    def trained(first: FirstPart) -> str:
        # A release of the strict replay: with all items announced at the start the new ones join it
        kind = "without" if system == NO_CONTENT else "with"
        out = wanted.out / f"release-{wanted.label}-{folder.name}-{seed}-{kind}"
        if not (out / "manifest.json").exists():
            clicks, items = recorded(first)
            options = TrainingOptions(
                budget_minutes=wanted.minutes, seed=seed, repeat_consumption=first.repeats,
                cache=TextCache(wanted.out / "texts"), clock=time.process_time, choice=choice,
            )  # fmt: skip
            # What was read before costs nothing: read within its time, a training would have less to learn in
            prepare(clicks, items, options)
            train_release(clicks, items, out, collect, options, _progress)
        return str(out)

    policy = Policy(exploration=0.0)
    outcome = play(part(system, trained, policy, blind=trained)(), made)
    asked = made.asked
    np.savez_compressed(
        file, position=outcome.position, user=made.stream.user[asked], all=drawn[asked],
        **{name: made.slices[name][asked] & (drawn[asked] | (name != "tail")) for name in SLICES},
    )  # fmt: skip
    took = f"{time.perf_counter() - begun:.0f} s, {time.process_time() - cpu:.0f} s of processor time"
    print(f"{file.name}: NDCG@10 {ndcg(outcome.position).mean():.4f}, {took}", flush=True)


def _read(folder: Path) -> tuple[Interactions, list[Item]]:
    files = [next(folder.glob(f"{name}.csv*")) for name in ("interactions", "items")]
    return read_pair(files[0], files[1], None)


def _progress(step: str, share: float, text: str) -> None:
    if share >= 1.0:
        print(f"  {step}: {text}", flush=True)


def _tell(wanted: argparse.Namespace) -> None:
    """A line for each data set and slice, and of all data sets pooled."""
    other_label, other = (wanted.over, MAIN) if wanted.over else (wanted.label, NO_CONTENT)
    pooled: list[tuple[dict[str, Any], dict[str, Any]]] = []
    heads = (f"{measure} | of the other | ratio" for measure in ("NDCG@10", "HR@10", "HR@50"))
    print(f"| data | slice | n | {' | '.join(heads)} |")
    print("|" + "---|" * 12)
    for data, seeds in _found(wanted, other_label, other):
        pairs = [
            (
                dict(np.load(_file(wanted, wanted.label, data, seed, MAIN))),
                dict(np.load(_file(wanted, other_label, data, seed, other))),
            )
            for seed in seeds
        ]
        _lines(f"{data} ({len(seeds)})", pairs)
        # Users of another data set are others.
        most = 1 + max((int(p["user"].max(initial=0)) for each in pooled for p in each), default=-1)
        for one, two in pairs:
            one["user"], two["user"] = one["user"] + most, two["user"] + most
        pooled += pairs
    _lines("pooled", pooled)


def _found(wanted: argparse.Namespace, label: str, system: str) -> Iterator[tuple[str, list[int]]]:
    """Data sets that both sides have, with their seeds."""
    seeds: dict[str, list[int]] = {}
    for file in sorted(wanted.out.glob(f"{wanted.label}-{wanted.announce}-*-{MAIN}.npz")):
        data, seed = (
            file.name.removeprefix(f"{wanted.label}-{wanted.announce}-")
            .removesuffix(f"-{MAIN}.npz")
            .rsplit("-", 1)
        )
        if _file(wanted, label, data, int(seed), system).exists():
            seeds.setdefault(data, []).append(int(seed))
    yield from seeds.items()


def _lines(name: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    if not pairs:
        return
    one = {key: np.concatenate([pair[0][key] for pair in pairs]) for key in pairs[0][0]}
    two = {key: np.concatenate([pair[1][key] for pair in pairs]) for key in pairs[0][1]}
    _, groups = np.unique(one["user"], return_inverse=True)
    for part_ in PARTS:
        mask = one[part_]
        if not mask.any():
            continue
        figures = []
        for measure in (ndcg, hit, lambda position: hit(position, 50)):
            values = np.stack([measure(each["position"]) * mask for each in (one, two)], axis=1)
            sums = per_group(groups, values, int(groups.max()) + 1)
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = resampled(sums, np.random.default_rng(0))
                found = interval(drawn[:, 0] / drawn[:, 1])
                ratio = values[:, 0].sum() / values[:, 1].sum()
            span = "" if found is None else f" ({found[0]:.3f}–{found[1]:.3f})"
            figures.append(
                (values[:, 0].sum() / mask.sum(), values[:, 1].sum() / mask.sum(), f"{ratio:.3f}{span}")
            )
        cells = [f"{figure:.4f} | {other:.4f} | {ratio}" for figure, other, ratio in figures]
        print(f"| {name} | {part_} | {mask.sum()} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
