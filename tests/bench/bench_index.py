"""Speed and recall of every kind of index, one thread: the figures behind `indexer/choose.py`.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=. python tests/bench/bench_index.py \
        [--items 10000 100000] [--kinds flat ivf] [--noise 0.7] [--flat] [--churn] [--report out.json]

Clustered vectors: sqrt(n) / 2 centres, noise of the given length about them, lengths log-normal, a bias as
the last dimension; queries are drawn as the vectors are. Noise 0.7 gives clear clusters, 1.0 blurred ones.
Each search gets queries of its own: with one query again and again, branch prediction learns it by heart.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexer import flat
from indexer.item_index import ItemIndex, queries, use_threads, with_bias
from indexer.recall import recall_at_k
from indexer.rows import Floats

D = 64  # and the bias
K = 100
BATCH = 64

# All work is done in this thread, whose own time does not count what else runs on the machine.
clock: Callable[[], float] = time.thread_time


def world(n: int, asked: int, noise: float, seed: int) -> tuple[Floats, Floats]:
    """Vectors (n, D + 1) and queries (asked, D + 1) float32."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(20, int(n**0.5) // 2), D), np.float32)

    def near(m: int) -> Floats:
        points = centres[rng.integers(len(centres), size=m)] + noise * rng.standard_normal((m, D), np.float32)
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    lengths = 2 * np.exp(0.25 * rng.standard_normal((n, 1))).astype(np.float32)
    bias = 0.5 * rng.standard_normal(n).astype(np.float32)
    return with_bias(near(n) * lengths, bias), queries(3 * near(asked))


def median_us(search: Callable[[Floats], Any], asked: Sequence[Floats]) -> float:
    """Median µs of a call over different queries."""
    search(asked[0])
    took = []
    for each in asked:
        begin = clock()
        search(each)
        took.append(clock() - begin)
    return round(float(np.median(took)) * 1e6, 1)


def timings(search: Callable[[Floats], Any], asked: Floats, batches: int) -> dict[str, float]:
    """Median µs of one query and of a batch."""
    return {
        "us_1": median_us(search, list(asked[:200, None])),
        "us_64": median_us(search, [asked[BATCH * i : BATCH * (i + 1)] for i in range(batches)]),
    }


def measure(name: str, n: int, noise: float, vectors: Floats, asked: Floats) -> dict[str, Any]:
    """Build time, memory, recall@100 and times of a kind."""
    items = np.arange(n, dtype=np.int32)
    begin = clock()
    index = ItemIndex.build(items, vectors, name)  # type: ignore[arg-type]
    built = clock() - begin
    found = np.concatenate([index.search(asked[i : i + 1], K)[0] for i in range(64)])
    begin = clock()
    for i in range(100):
        index.update([n + i], vectors[i : i + 1])
    put_us = (clock() - begin) * 1e4
    begin = clock()
    for i in range(100):
        index.remove([n + i])
    drop_us = (clock() - begin) * 1e4
    return {
        "kind": name, "items": n, "noise": noise, "k": K, "build_s": round(built, 1),
        "bytes_an_item": round(index.memory_bytes / n), "put_us": round(put_us, 1),
        "drop_us": round(drop_us, 1),
        "recall@100": round(float(recall_at_k(items, vectors, asked[:64], found).mean()), 3),
    } | timings(lambda q: index.search(q, K), asked, 2 if n > 200_000 and name == "flat" else 6)  # fmt: skip


def measure_flat(n: int) -> list[dict[str, Any]]:
    """FAISS's heap beside BLAS with a bound, for lists of 100 and 400."""
    vectors, asked = world(n, BATCH * 6, 0.7, 0)
    raw = faiss.IndexFlatIP(D + 1)
    raw.add(vectors)
    index = ItemIndex.build(np.arange(n), vectors, "flat")
    rows = []
    for k in (100, 400):
        flat.BLAS_ROWS = n
        own = timings(lambda q, k=k: index.search(q, k), asked, 6)
        rows.append({"items": n, "k": k, "way": "blas"} | own)
        rows.append({"items": n, "k": k, "way": "faiss"} | timings(lambda q, k=k: raw.search(q, k), asked, 6))
    return rows


def measure_churn(name: str, n: int) -> list[dict[str, Any]]:
    """Recall and time while all items are replaced, quarter by quarter, by others with other centres."""
    vectors, asked = world(n, BATCH * 6, 0.7, 0)
    later, asked_later = world(n, BATCH * 6, 0.7, 1)
    items = np.arange(n, dtype=np.int32)
    index = ItemIndex.build(items, vectors, name)  # type: ignore[arg-type]
    now, rows = vectors.copy(), []

    def note(share: float, what: str) -> None:
        mixed = np.concatenate([asked[:32], asked_later[:32]]) if 0 < share < 1 else asked_later[:64]
        if share == 0:
            mixed = asked[:64]
        found = index.search(mixed, K)[0]
        rows.append(
            {"kind": name, "items": n, "replaced": share, "what": what,
             "recall@100": round(float(recall_at_k(items, now, mixed, found).mean()), 3),
             "us_1": median_us(lambda q: index.search(q, K), list(mixed[:, None])),
             "wants_compaction": index.wants_compaction}
        )  # fmt: skip

    note(0, "built")
    for quarter in range(4):
        part = items[quarter * n // 4 : (quarter + 1) * n // 4]
        index.update(part, later[part])
        now[part] = later[part]
        note((quarter + 1) / 4, "changed")
    index.compact()
    note(1, "compacted")
    return rows


def measure_real(path: Path) -> dict[str, Any]:
    """Recall on item vectors factored from recorded clicks, lists forced although the catalogue is small."""
    import csv
    import gzip

    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    users: dict[str, int] = {}
    known: dict[str, int] = {}
    pairs = []
    with gzip.open(path / "interactions.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            pairs.append(
                (users.setdefault(row["user_id"], len(users)), known.setdefault(row["item_id"], len(known)))
            )
    user, item = np.array(pairs).T
    clicks = csr_matrix((np.ones(len(user), np.float32), (user, item)), (len(users), len(known)))
    popularity = np.asarray(clicks.sum(0)).ravel()
    scaled = clicks.multiply(1 / np.sqrt(popularity + 1)).tocsr()
    left, strength, right = svds(scaled, D, random_state=0)
    vectors = with_bias((right.T * np.sqrt(strength) * 4).astype(np.float32), 0.5 * np.log(popularity))
    asked = left * np.sqrt(strength)
    asked = asked[np.random.default_rng(1).permutation(len(users))[: BATCH * 6]]
    asked = queries((4 * asked / np.linalg.norm(asked, axis=1, keepdims=True).clip(1e-6)).astype(np.float32))
    items = np.arange(len(known), dtype=np.int32)
    row: dict[str, Any] = {"data": path.name, "items": len(known)}
    for name in ("hnsw", "ivf", "ivfpq"):
        index = ItemIndex.build(items, vectors, name)  # type: ignore[arg-type]
        found = index.search(asked[:128], K)[0]
        row[name] = round(float(recall_at_k(items, vectors, asked[:128], found).mean()), 3)
    return row


def main() -> None:
    """Prints a line of JSON for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="*", default=["flat", "hnsw", "ivf", "ivfpq"])
    parser.add_argument("--noise", type=float, default=0.7)
    parser.add_argument("--flat", action="store_true", help="compare the two ways of an exact search")
    parser.add_argument("--churn", action="store_true", help="replace all items and compact")
    parser.add_argument("--data", type=Path, nargs="*", help="folders with interactions.csv.gz")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--wall", action="store_true", help="wall time, which counts what a GPU does")
    options = parser.parse_args()
    use_threads(1)
    if options.wall:
        global clock
        clock = time.perf_counter
    report: list[dict[str, Any]] = []

    def note(rows: list[dict[str, Any]]) -> None:
        report.extend(rows)
        for row in rows:
            print(json.dumps(row), flush=True)

    for path in options.data or []:
        note([measure_real(path)])
    for n in options.items:
        if options.flat:
            note(measure_flat(n))
        elif options.churn:
            for name in options.kinds:
                note(measure_churn(name, n))
        else:
            vectors, asked = world(n, BATCH * 6, options.noise, 0)
            for name in options.kinds:
                note([measure(name, n, options.noise, vectors, asked)])
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
