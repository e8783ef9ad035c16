"""Measures what an encoder learns from clicks: how well texts tell the next item, before and after.

    python tests/bench/bench_adaptation.py DATA… [--variants default …] [--seeds 0 1 2] [--out FOLDER]

DATA are folders with interactions.csv.gz and items.csv.gz. Each variant adapts the default encoder to the
first 80 % of the clicks and the texts of the items in them, and is judged by what comes after: how often a
user's next item is among the first 6 of 101 (`learner.judging.next_by_text`). What stands in --out already is
not made again, and a killed adaptation goes on. Minutes are processor time of one thread.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from learner.data.dataset import load_interactions, load_items
from learner.judging.click_chance import calibration_error
from learner.judging.next_by_text import Pairs, neighbours_in_common, next_by_text, pairs_of
from learner.text.adaptation.adapt import adapt
from learner.text.adaptation.network import Network
from learner.text.adaptation.options import AdaptationOptions
from learner.text.cache import TextCache
from learner.text.card import EncoderChoice
from learner.text.content import text_of
from learner.text.encoder import open_encoder, projection_of, weights_of
from learner.text.pretrained import find

SPLIT = 0.8
DEFAULT = AdaptationOptions()
VARIANTS: dict[str, AdaptationOptions] = {
    "default": DEFAULT,
    "one layer alone": replace(DEFAULT, layers=(1,), passes=(2.0,), projection=False),
    "two layers alone": replace(DEFAULT, layers=(2,), passes=(2.0,), projection=False),
    "and then one layer": replace(DEFAULT, layers=(0, 1), passes=(4.0, 1.0)),
    "and then two layers": replace(DEFAULT, layers=(0, 2), passes=(4.0, 1.0)),
    "hidden words first": replace(DEFAULT, layers=(1,), passes=(2.0,), words=1.0),
    "a text with itself first": replace(DEFAULT, layers=(1,), passes=(2.0,), twins=1.0),
    "and whether clicked": replace(DEFAULT, tasks={"next": 1.0, "click": 0.5}),
    "and ratings": replace(DEFAULT, tasks={"next": 1.0, "rating": 0.2}),
    "and categories": replace(DEFAULT, tasks={"next": 1.0, "category": 0.5}),
    "and what was": replace(DEFAULT, tasks={"next": 1.0, "keep": 1.0}),
    "whether clicked alone": replace(DEFAULT, tasks={"click": 1.0}),
    "negatives of the batch": replace(DEFAULT, memory=False),
    "popularity is the text's": replace(DEFAULT, popularity=0.0),
    "window 1": replace(DEFAULT, window=1),
    "window 3": replace(DEFAULT, window=3),
    "temperature .05": replace(DEFAULT, temperature=0.05),
    "temperature .2": replace(DEFAULT, temperature=0.2),
    "no dropout": replace(DEFAULT, dropout=0.0),
    "more L2": replace(DEFAULT, weight_decay=1.0),
}


def main() -> None:
    """Prints a row of the table for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--variants", nargs="*", default=["default"], choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=DEFAULT.minutes)
    parser.add_argument("--set", nargs="*", default=[], help="other options, as name=value, for a look")
    parser.add_argument("--out", type=Path, default=Path("adaptation"))
    wished = parser.parse_args()
    torch.set_num_threads(1)
    wished.out.mkdir(parents=True, exist_ok=True)
    kept = wished.out / "rows.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    cache = TextCache(wished.out)
    changed = {name: json.loads(value) for name, value in (each.split("=") for each in wished.set)}
    print(
        "| data | variant | seed | plain | adapted | ratio | known | with a new one | alike | min | steps |"
    )
    for data in wished.data:
        events = load_interactions(data / "interactions.csv.gz").in_order(0)
        items = load_items(data / "items.csv.gz")
        train, rest = events.split(SPLIT)
        seen = np.bincount(train.item, minlength=len(events.item_ids)) > 0
        known = {name for name, there in zip(events.item_ids, seen.tolist(), strict=True) if there}
        then = [item for item in items if item.item_id in known]
        pairs = pairs_of(rest, 0)
        said = {item.item_id: text_of(item) for item in items}
        texts = [said.get(name, "") for name in events.item_ids]
        plain: NDArray[np.float32] | None = None
        for variant in wished.variants:
            for seed in wished.seeds:
                key = {
                    "data": data.name,
                    "variant": variant,
                    "seed": seed,
                    "minutes": wished.minutes,
                    **changed,
                }
                row = next((each for each in done if each["key"] == key), None)
                if row is None:
                    lists = {name: tuple(each) for name, each in changed.items() if isinstance(each, list)}
                    options = replace(VARIANTS[variant], minutes=wished.minutes, **{**changed, **lists})
                    place = wished.out / "-".join(str(each).replace(" ", "_") for each in key.values())
                    adapted = adapt(
                        EncoderChoice(), then, train, place, options, seed=seed, tell=tell, cache=cache,
                        clock=time.process_time,
                    )  # fmt: skip
                    plain = read(EncoderChoice(), texts, cache) if plain is None else plain
                    after = read(EncoderChoice(str(place)), texts, cache)
                    row = {
                        "key": key, "figures": dict(adapted.figures),
                        **judged(plain, after, pairs, seen),
                    }  # fmt: skip
                    if "click_slope" in adapted.figures:
                        ways = (adapted.figures["click_slope"], adapted.figures["click_bias"])
                        row["click_error"] = calibration_error(*ways, after, pairs)
                    with kept.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                show(row)


def read(choice: EncoderChoice, texts: list[str], cache: TextCache) -> NDArray[np.float32]:
    """Vectors (V, W) of all texts, 0 where there is none.

    Where nothing but the projection has changed, it is put behind what the plain encoder made of the texts.
    """
    found, plain = find(choice), find(EncoderChoice())
    there = [place for place, text in enumerate(texts) if text]
    network = Network(
        plain,
        [texts[place] for place in there],
        len(there),
        replace(DEFAULT, layers=(0,), passes=(1,)),
        cache,
    )
    network.thaw(0)
    for _ in network.read_below():
        pass
    own, before = weights_of(found), weights_of(plain)
    if all(name in before and np.array_equal(own[name], before[name]) for name in own):
        turn = projection_of(found)
        made = network.pooled if turn is None else network.pooled @ turn[0] + turn[1]
    else:
        made = open_encoder(choice, 1).read([texts[place] for place in there])
    rows = np.zeros((len(texts), made.shape[1]), np.float32)
    rows[there] = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)
    return rows


def judged(
    plain: NDArray[np.float32], after: NDArray[np.float32], pairs: Pairs, seen: NDArray[np.bool_]
) -> dict[str, Any]:
    """The measure of both, over all pairs, those of known items, and those with one that came later."""
    both = seen[pairs.last] & seen[pairs.next]
    found: dict[str, Any] = {"alike": neighbours_in_common(plain, after, 0)}
    for name, chosen in {"all": np.ones(len(both), bool), "known": both, "new": ~both}.items():
        part = Pairs(pairs.last[chosen], pairs.next[chosen], pairs.users[chosen], pairs.others[chosen])
        first, second = next_by_text(plain, part), next_by_text(after, part)
        found[name] = {
            "pairs": len(part.last), "plain": first.first, "adapted": second.first, "error": second.error,
            "below": (first.below, second.below),
        }  # fmt: skip
    return found


def tell(step: int, figures: Any) -> None:
    """The judgements of an adaptation, as they come."""
    if "valid/first_6" in figures:
        print(
            f"    step {step}: { ({name: round(value, 4) for name, value in figures.items()}) }", flush=True
        )


def show(row: dict[str, Any]) -> None:
    """One line of the table."""
    key, whole = row["key"], row["all"]
    ratios = [f"{row[part]['adapted'] / max(row[part]['plain'], 1e-9):.2f}" for part in ("known", "new")]
    print(
        f"| {key['data']} | {key['variant']} | {key['seed']} | {whole['plain']:.3f} | "
        f"{whole['adapted']:.3f} ± {whole['error']:.3f} | {whole['adapted'] / whole['plain']:.2f} | "
        f"{ratios[0]} | {ratios[1]} | {row['alike']:.2f} | {row['figures']['seconds'] / 60:.1f} | "
        f"{row['figures']['steps']:.0f} |",
        flush=True,
    )
    if "click_error" in row:
        print(f"    calibration error of the chance of a click: {row['click_error']:.4f}", flush=True)


if __name__ == "__main__":
    main()
