"""Measures an encoder made smaller: size, memory and time of a query against what it still knows.

    python tests/bench/bench_encoder.py DATA… [--items 1500] [--variants 1 3] [--out FILE]

DATA are folders with interactions.csv.gz and items.csv.gz. Each variant of the default encoder is exported,
reads the texts of the most clicked items and 300 queries, and is judged by how often a user's next item is
among the first 6 of 101 (`learner.judging.next_by_text`), by its agreement with 32 bits, and by what
queries find. Times are processor time of one thread, so a busy machine matters little. What stands in --out
already is not measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from learner.data.dataset import Interactions, load_interactions, load_items
from learner.judging.next_by_text import neighbours_in_common, next_by_text, pairs_of
from learner.text.bert_graph import bert_model
from learner.text.card import EncoderChoice
from learner.text.compact import Numbers, compacted
from learner.text.content import text_of
from learner.text.encoder import open_encoder, tokenizer_of, weights_of
from learner.text.pretrained import find
from learner.text.query_encoder import CARD, FORMAT, GRAPH, TOKENIZER, QueryEncoder, WrittenCard

QUERIES = 300
WORDS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Variant:
    """How the encoder is made smaller: numbers, the layers that stay, how many common pieces of words do."""

    name: str
    numbers: Numbers | str = "fp32"
    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    common: int | None = None  # of the vocabulary's first pieces, beside all that the catalogue's texts have


VARIANTS = (
    Variant("32 bits"),
    Variant("16 bits", "fp16"),
    Variant("8 bits by block", "int8"),
    Variant("8 bits by tensor", "dynamic"),
    Variant("8 bits by block, 5 layers", "int8", (0, 1, 2, 3, 5)),
    Variant("8 bits by block, 4 layers", "int8", (0, 1, 3, 5)),
    Variant("8 bits by block, 3 layers", "int8", (0, 2, 5)),
    Variant("8 bits by block, 15,000 pieces", "int8", common=15_000),
    Variant("8 bits by block, 8,000 pieces", "int8", common=8_000),
)


def main() -> None:
    """Prints a table a data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--items", type=int, default=1500, help="most clicked items that are read; 0: all")
    parser.add_argument("--variants", type=int, nargs="*", help="only these, by their place from 1")
    parser.add_argument("--out", type=Path, default=Path("encoder.jsonl"))
    wished = parser.parse_args()
    lines = wished.out.read_text().splitlines() if wished.out.exists() else []
    done = {(row["data"], row["variant"], row["items"]): row for row in map(json.loads, lines)}
    for folder in wished.data:
        events, texts = of_clicked(folder, wished.items)
        pairs = pairs_of(events, 0)
        queries = queries_of(folder)
        plain = open_encoder(EncoderChoice(), 1)
        rows, asked = None, None
        print(f"{folder.name}: {len(texts):,} texts, {len(pairs.last):,} pairs")
        chosen = [VARIANTS[place - 1] for place in wished.variants or range(1, len(VARIANTS) + 1)]
        for variant in chosen:
            key = (folder.name, variant.name, wished.items)
            if key not in done:
                if rows is None:
                    rows, asked = plain.read(texts), plain.read(queries, query=True)
                with tempfile.TemporaryDirectory() as scratch:
                    place = Path(scratch)
                    export_variant(variant, texts, place)
                    found = measured(place, texts, queries, rows, asked, partial(next_by_text, pairs=pairs))
                done[key] = {"data": folder.name, "variant": variant.name, "items": wished.items, **found}
                with wished.out.open("a") as file:
                    file.write(json.dumps(done[key]) + "\n")
            tell(done[key])


def of_clicked(folder: Path, most: int) -> tuple[Interactions, list[str]]:
    """The clicks on the `most` most clicked items with a text, and these texts by the items' numbers."""
    events = load_interactions(folder / "interactions.csv.gz")
    said = {item.item_id: text_of(item) for item in load_items(folder / "items.csv.gz")}
    clicks = np.bincount(events.item, minlength=len(events.item_ids))
    clicks[[not said.get(name) for name in events.item_ids]] = 0
    kept = np.argsort(-clicks, kind="stable")[: most or None]
    kept = np.sort(kept[clicks[kept] > 0])
    number = np.full(len(clicks), -1, np.int32)
    number[kept] = np.arange(len(kept))
    events = events.at(np.flatnonzero(number[events.item] >= 0))
    ids = [events.item_ids[n] for n in kept]
    return replace(events, item=number[events.item], item_ids=ids), [said[name] for name in ids]


def queries_of(folder: Path) -> list[str]:
    """Two or three words of an item's text: what somebody might type."""
    rng = np.random.default_rng(0)
    texts = [text_of(item) for item in load_items(folder / "items.csv.gz")]
    words = [text.replace(",", " ").replace(".", " ").split() for text in texts]
    words = [each for each in words if len(each) >= 3]
    drawn = [words[n] for n in rng.integers(0, len(words), QUERIES)]
    return [
        " ".join(rng.choice(each, min(int(rng.integers(2, 5)), len(each)), replace=False)) for each in drawn
    ]


def export_variant(variant: Variant, texts: list[str], folder: Path) -> None:
    """Writes the files of a smaller encoder."""
    found = find(EncoderChoice())
    weights, config = weights_of(found), dict(found.config)
    for place, layer in enumerate(variant.layers):
        for name in [name for name in weights if name.startswith(f"encoder.layer.{layer}.")]:
            weights[name.replace(f"layer.{layer}.", f"layer.{place}.", 1)] = weights[name]
    config["num_hidden_layers"] = len(variant.layers)
    tokenizer = tokenizer_of(found)
    if variant.common is not None:
        tokenizer, kept = fewer_pieces(tokenizer, texts, variant.common)
        weights[WORDS] = weights[WORDS][kept]
    graph = bert_model(weights, config, found.card.max_tokens, found.card.pooling)
    numbers: Any = variant.numbers
    graph = by_tensor(graph, folder) if numbers == "dynamic" else compacted(graph, numbers)
    (folder / GRAPH).write_bytes(graph)
    (folder / TOKENIZER).write_text(tokenizer, "utf-8")
    card = msgspec.structs.replace(found.card, name=variant.name)
    (folder / CARD).write_bytes(msgspec.json.encode(WrittenCard(format=FORMAT, card=card)))


def fewer_pieces(tokenizer: str, texts: list[str], common: int) -> tuple[str, list[int]]:
    """A tokenizer with the first `common` pieces and those of `texts`, and which of the old ones they are."""
    from tokenizers import Tokenizer

    whole = Tokenizer.from_str(tokenizer)
    whole.no_padding()
    used = {piece for encoding in whole.encode_batch(texts) for piece in encoding.ids}
    kept = sorted(used | set(range(common)))
    number = {old: new for new, old in enumerate(kept)}
    split = json.loads(tokenizer)
    split["model"]["vocab"] = {
        piece: number[old] for piece, old in split["model"]["vocab"].items() if old in number
    }
    for special in split["added_tokens"]:
        special["id"] = number[special["id"]]
    for special in split["post_processor"]["special_tokens"].values():
        special["ids"] = [number[old] for old in special["ids"]]
    split["padding"] = split["truncation"] = None
    return json.dumps(split), kept


def by_tensor(graph: bytes, folder: Path) -> bytes:
    """8 bits as ONNX Runtime's own tool makes them: one scale an output, one for all inputs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "plain.onnx").write_bytes(graph)
    quantize_dynamic(
        folder / "plain.onnx", folder / "small.onnx", weight_type=QuantType.QInt8, per_channel=True,
        extra_options={"DefaultTensorType": 1},
    )  # fmt: skip
    return (folder / "small.onnx").read_bytes()


def measured(
    folder: Path, texts: list[str], queries: list[str], rows: Any, asked: Any, judge: Callable[[Any], Any]
) -> dict[str, float]:
    """What a variant costs, and what is left of what it knows."""
    encoder = QueryEncoder.open(folder)
    own = encoder.read(texts)
    took, said = [], []
    for query in queries:
        begun = time.thread_time()
        said.append(encoder.encode([query])[0])
        took.append(1000 * (time.thread_time() - begun))
    found = [np.argsort(-(each @ rows.T), axis=1)[:, :10].tolist() for each in (asked, np.array(said))]
    judged = judge(own)
    return {
        "megabytes": sum((folder / name).stat().st_size for name in (GRAPH, TOKENIZER, CARD)) / 1e6,
        "memory_mb": memory_mb(folder),
        "ms_p50": float(np.median(took)), "ms_p99": float(np.quantile(took, 0.99)),
        "cosine": float((own * rows).sum(1).mean()), "cosine_least": float((own * rows).sum(1).min()),
        "first": judged.first, "error": judged.error, "below": judged.below,
        "neighbours": neighbours_in_common(rows, own, 0),
        "queries": float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*found, strict=True)])),
    }  # fmt: skip


def memory_mb(folder: Path) -> float:
    """What a process that has ONNX Runtime already grows by when it opens the encoder and reads queries."""
    program = (
        "import psutil, onnxruntime, learner.graphs.running; from pathlib import Path\n"
        "from learner.text.query_encoder import QueryEncoder\n"
        "before = psutil.Process().memory_info().rss\n"
        f"encoder = QueryEncoder.open(Path({str(folder)!r}))\n"
        "for n in range(50): encoder.encode([f'a film of the year {n}'])\n"
        "print((psutil.Process().memory_info().rss - before) / 1e6)\n"
    )
    return float(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    )


def tell(row: dict[str, Any]) -> None:
    """One line of the table."""
    print(
        f"{row['variant']:<32} {row['megabytes']:5.1f} MB on disk {row['memory_mb']:6.1f} MB in memory "
        f"{row['ms_p50']:6.2f} ms p50 {row['ms_p99']:6.2f} p99   "
        f"first 6: {row['first']:.3f} ± {row['error']:.3f} "
        f"cosine {row['cosine']:.4f} neighbours {row['neighbours']:.3f} queries {row['queries']:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
