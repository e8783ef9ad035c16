"""What queries in plain words find: the table of docs/texts.md.

    PYTHONPATH=. python tests/bench/bench_search.py recall --release DIR --data DIR
    PYTHONPATH=. python tests/bench/bench_search.py clicks --release DIR --data DIR [--count 2000]
    PYTHONPATH=. python tests/bench/bench_search.py latency --release DIR --data DIR
    PYTHONPATH=. python tests/bench/bench_search.py wishes --release DIR --data DIR --wishes FILE
    PYTHONPATH=. python tests/bench/bench_search.py size --items 1000000

recall: half of the tags (or of the words of tags, where each item has a tag of its own) are held out of all
items' texts and asked for; of the items that had them, how many stand among the first 10, by words, by
meaning and joined. clicks: recorded clicks after the split are answered one by one, as a replay does; before
each that counts the user asks for the categories of what is clicked next; how often it stands among the first
10, with the user's state and as a stranger. latency: wall and processor time of a query, one at a time.
wishes: lists for a stranger. size: what reading a made-up catalogue's texts takes. The release is one that
was trained on the part before the split.
"""

import argparse
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import streams  # noqa: F401 (before numpy: one thread of BLAS, as in a worker)

# isort: split
import msgspec
import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import load_items
from learner.release.text_vectors import TextVectors
from learner.release.word_vectors import WordVectors, most_words
from learner.search.joining import Found, best_of, joined
from learner.search.texts import Texts
from learner.search.vocabulary import words_most_said
from learner.search.words import words_of
from learner.text.content import text_of
from learner.text.query_encoder import QueryEncoder
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.recommend import recommend
from streams.hot_path.user_states import UserStates
from streams.recorded.clicks import RecordedClicks
from streams.recorded.world import Offline
from streams.wire.contract import Click, Recommendation, Request
from streams.wire.intake import Arrival

SPLIT = 0.8
DRAWS = 2000  # of the bootstrap


def recall(release: Path, data: Path, count: int) -> None:
    """Recall@10 of queries that are held out of the texts; a set of queries a seed, half of the tags each."""
    encoder = QueryEncoder.open(release)
    items = load_items(data / "items.csv.gz")
    rows: dict[str, list[float]] = {}
    for seed in range(3):
        held, wanted = _held_out(items, random.Random(seed), count)
        left = [held(item) for item in items]
        catalogue = Catalogue()
        catalogue.admit_all(left)
        texts = Texts(catalogue)
        texts.build(breath_s=0.0)
        texts.follow()
        assert texts.stems is not None
        vectors = encoder.encode([text_of(item) for item in left])
        meanings = TextVectors.of(np.arange(len(left), dtype=np.int32), vectors)
        said_words = words_most_said(left, most_words(encoder.width))
        near_words = WordVectors.of(said_words, encoder.read(said_words))
        found: dict[str, list[float]] = {}
        for query, relevant in wanted.items():
            words = texts.stems.telling(words_of(query)) or words_of(query)
            stem, own = texts.stems.stem, {texts.stems.stem(word) for word in words}
            meant, spelt = encoder.encode([query]), texts.numbers(words)
            scores = texts.scores(spelt)
            said = np.flatnonzero(scores > 0).astype(np.int32)
            by_words = best_of(said, scores)
            whole = best_of(said[texts.saying_all(words)[said]], scores)
            near = np.zeros(len(items), np.float32)
            near[meanings.items] = meanings.cosines(meant)[0]
            by_meaning = best_of(np.flatnonzero(near > 0).astype(np.int32), near)
            both = [by_words, by_meaning]
            beside = near_words.near(meant[0], lambda word: stem(word) in own)  # noqa: B023
            wide = texts.scores(texts.numbers_beside(beside, len(items)) | spelt)
            by_more = best_of(np.flatnonzero(wide > 0).astype(np.int32), wide)
            every = [by_more, by_meaning, best_of(whole.items, wide)]
            answers = {
                "words": by_words, "meaning": by_meaning,
                "by ranks": joined([each for each in both if len(each.items)]),
                "by scores": _by_scores(both),
                "and near words": by_more,
                "without near words": joined([each for each in (*both, whole) if len(each.items)]),
                "joined": joined([each for each in every if len(each.items)]),
            }  # fmt: skip
            for name, each in answers.items():
                hits = len(relevant & set(each.items[:10].tolist()))
                found.setdefault(name, []).append(hits / min(10, len(relevant)))
        base = max(np.mean(found["words"]), np.mean(found["meaning"]))
        means = ", ".join(f"{name} {np.mean(values):.4f}" for name, values in found.items())
        print(f"seed {seed}, {len(wanted)} queries: {means},",
              f"joined / better {np.mean(found['joined']) / base:.3f}", flush=True)  # fmt: skip
        for name, values in found.items():
            rows.setdefault(name, []).extend(values)
    _ratio(
        "joined over the better one",
        rows["joined"],
        rows[max(("words", "meaning"), key=lambda n: np.mean(rows[n]))],
    )


def _by_scores(both: Sequence[Found]) -> Found:
    """Joined by standardised scores, to compare with."""
    items = np.unique(np.concatenate([each.items for each in both]))
    total = np.zeros(len(items))
    for each in both:
        if len(each.items) > 1:
            own = np.full(len(items), float(each.relevance.min()))
            own[np.searchsorted(items, each.items)] = each.relevance
            total += (own - own.mean()) / max(own.std(), 1e-9)
    return Found(items.astype(np.int32), total.astype(np.float32)).in_order()


def _held_out(
    items: Sequence[Item], rng: random.Random, count: int
) -> tuple[Callable[[Item], Item], dict[str, set[int]]]:
    """What an item says without the held out half, and what is asked for with the items that had it."""
    tags = sorted({tag for item in items for tag in item.tags})
    if len(tags) < len(items) / 2:  # tags that items share
        held = set(rng.sample(tags, len(tags) // 2))

        def without(item: Item) -> Item:
            return msgspec.structs.replace(item, tags=[tag for tag in item.tags if tag not in held])

        had = {tag: {n for n, item in enumerate(items) if tag in item.tags} for tag in sorted(held)}
        return without, had
    saying: dict[str, set[int]] = {}
    for n, item in enumerate(items):
        for word in {word for tag in item.tags for word in words_of(tag)}:
            saying.setdefault(word, set()).add(n)
    usual = sorted(
        word for word, said in saying.items() if 5 <= len(said) <= 200 and word.isalpha() and len(word) > 3
    )
    words = set(rng.sample(usual, min(count, len(usual) // 2)))

    def bare(item: Item) -> Item:
        tags = [" ".join(word for word in words_of(tag) if word not in words) for tag in item.tags]
        return msgspec.structs.replace(item, tags=tags)

    return bare, {word: saying[word] for word in sorted(words)}


def clicks(release: Path, data: Path, count: int) -> None:
    """The user's next click among the first 10 of its categories, with the user's state over without."""
    with_state: list[float] = []
    without: list[float] = []
    users: list[str] = []
    world, later = _world(release, data)
    for click in later:
        number = world.world.catalogue.index.get(click.item_id)
        record = world.world.catalogue.records.get(number) if number is not None else None
        slot = world.states.index.get(click.user_id, -1)
        if record is not None and record.categories and slot >= 0:
            query = " ".join(record.categories[:2])
            asked = [
                Arrival(Request(request_id="r", user_id=user, query=query, timestamp=click.timestamp), 0, 0)
                for user in (click.user_id, None)
            ]
            made = [
                each.recommendation
                for each in recommend(asked, world.states, world.world, click.timestamp, None)
            ]
            for hits, each in zip((with_state, without), made, strict=True):
                assert each is not None
                hits.append(float(click.item_id in {one.item_id for one in each.items[:10]}))
            users.append(click.user_id)
            if len(users) % 100 == 0:
                print(len(users), np.mean(with_state), np.mean(without), flush=True)
            if len(users) == count:
                break
        world.learn(click, answer=False)
    print(
        f"{len(users)} queries of {len(set(users))} users: "
        f"with {np.mean(with_state):.4f}, without {np.mean(without):.4f}"
    )
    _ratio("with the user's state over without", with_state, without, users)


def _ratio(
    what: str, one: Sequence[float], other: Sequence[float], groups: Sequence[str] | None = None
) -> None:
    """The ratio of two means with its interval, by a bootstrap over groups."""
    names = np.unique(np.array(groups if groups is not None else np.arange(len(one))), return_inverse=True)[1]
    sums = [np.bincount(names, np.array(values)) for values in (one, other)]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(sums[0]), (DRAWS, len(sums[0])))
    ratios = sums[0][drawn].sum(axis=1) / np.maximum(sums[1][drawn].sum(axis=1), 1e-9)
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(f"{what}: {np.mean(one) / max(np.mean(other), 1e-9):.3f} [{low:.3f}, {high:.3f}]")


def latency(release: Path, data: Path, count: int) -> None:
    """Milliseconds of queries, one at a time."""
    world, _ = _world(release, data)
    items = [item for item in load_items(data / "items.csv.gz") if text_of(item)]
    rng = random.Random(0)
    users = list(world.states.index)
    spent: list[tuple[float, float]] = []
    for n in range(count + 50):
        said = words_of(text_of(rng.choice(items)))
        query = " ".join(rng.sample(said, min(len(said), 1 + n % 6)))
        arrival = Arrival(Request(request_id="r", user_id=rng.choice(users), query=query), 0, 0)
        began = time.perf_counter(), time.process_time()
        recommend([arrival], world.states, world.world, 1_700_000_000_000, None)
        spent.append((1000 * (time.perf_counter() - began[0]), 1000 * (time.process_time() - began[1])))
    for name, values in zip(("wall", "processor"), zip(*spent[50:], strict=True), strict=True):
        print(f"{name}: median {np.median(values):.1f} ms, p99 {np.quantile(values, 0.99):.1f} ms")


def wishes(release: Path, data: Path, file: Path) -> None:
    """The lists of a stranger."""
    world, _ = _world(release, data)
    catalogue = world.world.catalogue
    states = UserStates(world.world.live.release.hidden_size, world.world.live.release.vector_size)
    for query in file.read_text(encoding="utf-8").splitlines():
        if query.startswith("#"):
            continue
        arrival = Arrival(Request(request_id="r", query=query), 0, 0)
        made = recommend([arrival], states, world.world, 1_700_000_000_000, None)[0].recommendation
        assert isinstance(made, Recommendation)
        said = msgspec.json.encode(made.understood).decode()
        print(f"{query}\n    {said}\n    {'; '.join(_named(catalogue, one.item_id) for one in made.items)}")


def _named(catalogue: Catalogue, item_id: str) -> str:
    record = catalogue.records[catalogue.index[item_id]]
    return record.title or ", ".join(record.tags)


def size(count: int) -> None:
    """Time and memory of reading made-up items: titles of 4 words, 2 categories, 6 words of description."""
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(60_000)]
    drawn = np.minimum(rng.zipf(1.2, (count, 10)), len(words)) - 1
    catalogue = Catalogue()
    catalogue.admit_all([
        Item(item_id=f"i{n}", title=" ".join(words[w] for w in row[:4]),
             categories=[f"c{row[4] % 40}", f"c{row[5] % 40}"],
             description=" ".join(words[w] for w in row[4:]))
        for n, row in enumerate(drawn.tolist())
    ])  # fmt: skip
    texts = Texts(catalogue)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    texts.build()
    print(f"{count} items: read in {time.process_time() - began:.1f} s of processor time,", end=" ")
    texts.follow()
    print(
        f"arrays {texts.nbytes >> 20} MB, "
        f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10} MB at most"
    )
    spent = []
    for n in range(300):
        began = time.perf_counter()
        scores = texts.scores(texts.numbers([words[w] for w in drawn[n, :3].tolist()]))
        best_of(np.flatnonzero(scores > 0).astype(np.int32), scores)
        spent.append(1000 * (time.perf_counter() - began))
    print(f"a search by three words: median {np.median(spent):.1f} ms, p99 {np.quantile(spent, 0.99):.1f} ms")
    for n in range(500):
        catalogue.announce(Item(item_id=f"new{n}", title="w1 w2 w3 w4", description="w5 w6 w7"))
    announced = time.process_time()
    texts.follow()
    print(
        f"500 new items are taken in by {1000 * (time.process_time() - announced):.1f} ms of processor time"
    )


def _world(release: Path, data: Path) -> tuple[Offline, Iterator[Click]]:
    """Everything as it is at the split, and the clicks after it."""
    catalogue = Catalogue()
    live = Live.load(release, catalogue)
    offline = Offline(live, catalogue, Policy(exploration=0.0))
    for item in load_items(data / "items.csv.gz"):
        if item.item_id not in catalogue.index:
            offline.announce(item.item_id, item)
    recorded = RecordedClicks(data / "interactions.csv.gz")
    every = list(recorded.clicks(range(len(recorded)), history=False))
    split = int(SPLIT * len(every))
    for click in every[:split]:
        offline.remember(click)
    offline.encode()
    return offline, iter(every[split:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["recall", "clicks", "latency", "wishes", "size"])
    parser.add_argument("--release", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--wishes", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--items", type=int, default=10_000)
    options: Any = parser.parse_args()
    if options.part == "size":
        size(options.items)
    elif options.part == "wishes":
        wishes(options.release, options.data, options.wishes)
    else:
        parts: dict[str, Callable[[Path, Path, int], None]] = {
            "recall": recall,
            "clicks": clicks,
            "latency": latency,
        }
        parts[options.part](options.release, options.data, options.count)


if __name__ == "__main__":
    main()
