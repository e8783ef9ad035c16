"""Signals, candidates and features said plainly: dictionaries, loops, every sum from its definition.

The specification that the kernels of `learner` answer to. Slow on purpose.
"""

import math
import zlib
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.events import AVERSION, INTEREST, Kind
from learner.data.times import DAY_MS
from learner.ranking.arrays import Asks, ModelArrays
from learner.ranking.columns import CENTRED, FOLLOWED, OWN_ITEM_COLUMNS, OWN_ITEMS, RAW
from learner.ranking.sources import SOURCES
from learner.signals.settings import DEPTH_HALF_LIVES, DEPTHS, SignalSettings
from learner.signals.state import Signals

YEAR_MS = 365.25 * DAY_MS
WEIGHTS = {"purchase": 5.0, "view": 0.2, "like": 0.0}
f32 = np.float32


@dataclass
class Event:
    user: str
    item: int
    time_ms: int
    kind: Kind
    value: float


@dataclass
class PlainSignals:
    """All clicks so far; every figure is a sum over them. No row is ever full."""

    settings: SignalSettings
    catalogue: Catalogue
    events: list[Event] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)  # of each event's user, before it
    pairs: dict[tuple[int, int], list[tuple[int, int, int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    histories: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def learn(self, event: Event) -> None:
        history = [e for e in self.histories[event.user] if e.kind in INTEREST]
        if event.kind in INTEREST and self.weight(event):
            self.events.append(event)
            self.depths.append(depth_of(len(history)))
            for distance, earlier in enumerate(reversed(history[-50:]), 1):
                if earlier.item != event.item:
                    self.pairs[earlier.item, event.item].append(
                        (distance, event.time_ms, min(len(history), 50), self.weight(event))
                    )
        if event.kind is not Kind.IMPRESSION:
            self.histories[event.user].append(event)

    def weight(self, event: Event) -> float:
        """To the nearest millionth part, so that sums of them are exact."""
        return round(self.settings.event_weights.get(event.kind.word, 1.0) * 2**20) / 2**20

    def of(self, item: int) -> list[Event]:
        return [event for event in self.events if event.item == item]

    def popularity(self, item: int, half_life: int, now: int) -> float:
        life = self.settings.half_lives_ms[half_life]
        return sum(self.weight(event) * 2 ** ((event.time_ms - now) / life) for event in self.of(item))

    def by_depth(self, item: int, depth: int, half_life: int, now: int) -> float:
        life = self.settings.half_lives_ms[half_life]
        return sum(
            self.weight(event) * 2 ** ((event.time_ms - now) / life)
            for event, of in zip(self.events, self.depths, strict=True)
            if event.item == item and of == depth
        )

    def category_popularity(self, category: int, half_life: int, now: int) -> float:
        members = np.flatnonzero((self.catalogue.categories[: self.catalogue.size] == category).any(1))
        return sum(self.popularity(item, half_life, now) for item in members.tolist())

    def count(self, item: int) -> float:
        return sum(map(self.weight, self.of(item)))

    def value(self, item: int) -> float:
        return sum(self.weight(event) * event.value for event in self.of(item))

    @property
    def total(self) -> float:
        return sum(map(self.weight, self.events))

    def pair(self, before: int, after: int, now: int) -> tuple[float, float, float, float, float]:
        """Weights count, decayed, rule, decayed_rule, inverse of the pair, as of now."""
        count = decayed = decayed_rule = inverse = 0.0
        rule = f32(0)  # in single precision, as it is stored: lists are compared to the last tie
        for d, time, activity, weight in self.pairs.get((before, after), ()):
            fading = 2 ** ((time - now) / self.settings.pair_half_life_ms)
            count += weight
            decayed += weight * fading * (d**-0.5 if d <= 20 else 1 / d)
            rule += f32(weight) * f32(1 / d if d <= 10 else 0)
            decayed_rule += weight * fading * d**-2 if d <= 3 else 0
            inverse += weight * (activity + 5) ** -0.5
        return count, decayed, float(rule), decayed_rule, inverse


def depth_of(events: int) -> int:
    return max(depth for depth, least in enumerate(DEPTHS) if events >= least)


def tie(catalogue: Catalogue, item: int) -> int:
    return zlib.crc32(catalogue.ids[item].encode())


def cosine(a, b) -> float:
    return float(a @ b) / ((math.sqrt(a @ a) + 1e-9) * (math.sqrt(b @ b) + 1e-9))


def age(now: int, then: int) -> float:
    return math.log1p(max(now - then, 0) / 1000)


def profile_of(items, model: ModelArrays):
    mean = np.zeros(model.content.shape[1])
    for d, item in enumerate(items[:20]):
        mean += 0.9**d * model.content[item]
    norm = np.linalg.norm(mean)
    return mean / norm if norm > 1e-9 else mean


def direction(items, model: ModelArrays):
    """Unit mean of the newest ten items' unit vectors; or 0."""
    mean = np.zeros(model.vectors.shape[1])
    for d, item in enumerate(items[:10]):
        mean += 0.9**d * model.vectors[item] / (math.sqrt(model.vectors[item] @ model.vectors[item]) + 1e-9)
    return mean / (math.sqrt(mean @ mean) + 1e-9)


def plain_features(asks: Asks, row: int, candidates, ranks, plain: PlainSignals, model: ModelArrays):
    """(C, F) for one ask, by name."""
    catalogue, now = plain.catalogue, int(asks.now_ms[row])
    length = int(asks.length[row])
    events = [
        Event(
            "",
            int(asks.items[row, k]),
            int(asks.times[row, k]),
            Kind(int(asks.kinds[row, k])),
            float(asks.values[row, k]),
        )
        for k in range(length)
    ]
    liked = [event for event in reversed(events) if event.kind in INTEREST]
    averse = [event.item for event in reversed(events) if event.kind in AVERSION][:5]
    everything, recent = liked, liked[:50]
    last = recent[0].item if recent else None
    taste_life = (model.popular_now + model.popular + 1) // 2
    year_now = 1970 + now / YEAR_MS
    log_popularity = lambda item, h: math.log(plain.popularity(item, h, now) + 0.05)  # noqa: E731
    first = lambda item: plain.of(item)[0].time_ms  # noqa: E731
    taste = dict.fromkeys(("popularity", "age", "year"), 0.0)
    weight_sum, dated_sum = 1e-6, 1e-6
    categories = lambda item: [c for c in catalogue.categories[item].tolist() if c >= 0]  # noqa: E731
    likes = defaultdict(float)
    for d, event in enumerate(recent[:20]):
        w = 0.9**d
        weight_sum += w
        taste["popularity"] += w * log_popularity(event.item, taste_life)
        taste["age"] += w * age(now, first(event.item)) if plain.count(event.item) else 0.0
        if not math.isnan(catalogue.published[event.item]):
            taste["year"] += w * (year_now - catalogue.published[event.item])
            dated_sum += w
        for c in categories(event.item):
            likes[c] += w
    taste = {
        "popularity": taste["popularity"] / weight_sum,
        "age": taste["age"] / weight_sum,
        "year": taste["year"] / dated_sum,
    }
    vector = asks.user_vector[row]
    raw = {j: float(vector @ model.vectors[j] + model.bias[j]) for j in candidates}
    student = {j: raw[j] + model.prior_weight * log_popularity(j, model.popular_now) for j in candidates}
    profile = profile_of([event.item for event in recent], model)
    session, after = 0, now
    for event in reversed(events):
        if after - event.time_ms > 1_800_000:
            break
        session, after = session + 1, event.time_ms
    rows = []
    for place, j in enumerate(candidates):
        count, x = plain.count(j), {}
        x["student"] = raw[j]
        x["student_mean"] = student[j] - sum(student.values()) / len(student)
        x["student_max"] = student[j] - max(student.values())
        x["student_rank"] = math.log1p(sum(other > student[j] for other in student.values()))
        x["student_cosine"] = cosine(model.vectors[last], model.vectors[j]) if recent else 0.0
        x["student_profile"] = cosine(direction([event.item for event in recent], model), model.vectors[j])
        for h in range(8):
            x[f"popularity_{h}"] = log_popularity(j, h)
        for h in range(7):
            x[f"trend_{h}"] = x[f"popularity_{h}"] - x[f"popularity_{h + 1}"]
        x["popularity_all"] = math.log(count + 1)
        item_age = age(now, first(j)) if count else -1.0
        x["last_seen"] = age(now, max(event.time_ms for event in plain.of(j))) if count else 22.0
        x["age"] = item_age
        x["popularity_per_age"] = x["popularity_all"] - max(item_age, 0.0)
        dated = not math.isnan(catalogue.published[j])
        x["year"] = year_now - catalogue.published[j] if dated else -5.0
        x["published_age"] = math.log1p(max(x["year"], 0) * 365.25) if dated else -1.0
        depth = depth_of(len(everything))
        for h in DEPTH_HALF_LIVES:
            same = plain.by_depth(j, depth, h, now)
            x[f"popularity_depth_{h}"] = math.log(same + 0.02 * plain.popularity(j, h, now) + 0.05)
        clicks = [plain.by_depth(j, d, DEPTH_HALF_LIVES[-1], now) for d in range(len(DEPTHS))]
        x["depth_mean"] = sum(d * c for d, c in enumerate(clicks)) / sum(clicks) if count else -1.0
        x["depth_gap"] = x["depth_mean"] - depth if count else 0.0
        x["user_events"] = math.log1p(int(asks.events[row]))
        x["user_day"] = math.log1p(sum(now - event.time_ms < DAY_MS for event in events))
        x["user_hour"] = math.log1p(sum(now - event.time_ms < DAY_MS / 24 for event in events))
        x["user_session"] = math.log1p(session)
        x["user_gap"] = age(now, events[-1].time_ms) if events else 20.0
        x["user_tenure"] = age(now, events[0].time_ms) if events else -1.0
        x["user_new"] = float(not events)
        for name, kind in (("view", Kind.VIEW), ("purchase", Kind.PURCHASE), ("rating", Kind.RATING)):
            x[f"last_{name}"] = float(bool(events) and events[-1].kind is kind)
        x["taste_popularity"] = taste["popularity"] if recent else -1.0
        x["taste_popularity_gap"] = x[f"popularity_{taste_life}"] - taste["popularity"] if recent else 0.0
        x["taste_popularity_distance"] = abs(x["taste_popularity_gap"])
        x["taste_age_gap"] = max(item_age, 0.0) - taste["age"] if recent else 0.0
        x["taste_year_gap"] = x["year"] - taste["year"] if recent and dated and dated_sum > 0.5 else 0.0
        # Pairs
        ahead = [plain.pair(event.item, j, now) if event.item != j else (0, 0, 0, 0, 0) for event in recent]
        back = [plain.pair(j, event.item, now) if event.item != j else (0, 0, 0, 0, 0) for event in recent]
        together = [a[0] + b[0] for a, b in zip(ahead, back, strict=True)]
        decayed = [a[1] + b[1] for a, b in zip(ahead, back, strict=True)]
        counts = [plain.count(event.item) for event in recent]
        slow = 1 / math.sqrt(count + 5)
        knn = [t / math.sqrt(c + 1) for t, c in zip(together, counts, strict=True)]
        jaccard = [t / (c + count - min(t, c, count) + 3) for t, c in zip(together, counts, strict=True)]
        for n in (1, 3, 10, 50):
            x[f"knn_{n}"] = math.log(sum(knn[:n]) * slow + 1e-3)
        for n in (1, 10):
            x[f"jaccard_{n}"] = math.log(sum(jaccard[:n]) + 1e-3)
            x[f"decayed_{n}"] = math.log(sum(decayed[:n]) + 0.02)
        inverse = [(a[4] + b[4]) / math.sqrt(c + 1) for a, b, c in zip(ahead, back, counts, strict=True)]
        for n in (3, 10, 50):
            x[f"inverse_{n}"] = math.log(sum(inverse[:n]) * slow + 1e-3)
        x["knn_max"] = math.log(max(knn, default=0.0) * slow + 1e-3)
        shares = [t / (c + 5) for t, c in zip(together[:10], counts[:10], strict=True)]
        x["conditional_10"] = math.log(sum(shares) + 1e-3)
        fading = [0.5 ** (max(now - event.time_ms, 0) / DAY_MS) for event in recent]
        x["knn_day"] = math.log(sum(k * f for k, f in zip(knn, fading, strict=True)) * slow + 1e-3)
        valued = sum(k * event.value for k, event in zip(knn[:10], recent[:10], strict=True))
        x["value_near"] = valued / (sum(knn[:10]) + 0.05)
        x["conditional_1"] = math.log((together[0] / (counts[0] + 5) if recent else 0) + 1e-3)
        x["lift_1"] = (
            math.log((together[0] + 0.05) / ((counts[0] + 1) * (count + 1)) * (plain.total + 1))
            if recent
            else 0.0
        )
        rules = sum(a[2] / d for d, a in enumerate(ahead[:10], 1))
        x["rules"], x["rules_raw"] = math.log(rules * slow + 1e-3), math.log(rules + 0.02)
        for d in range(3):
            x[f"rule_{d + 1}"] = math.log((ahead[d][2] if d < len(ahead) else 0) + 0.05)
        x["decayed_rule_1"] = math.log((ahead[0][3] if ahead else 0) + 0.02)
        x["decayed_rules"] = math.log(sum(a[3] / d for d, a in enumerate(ahead[:10], 1)) + 0.02)
        x["nearest_companion"] = next((float(d) for d, t in enumerate(together[:10]) if t > 2), 10.0)
        x["companions"] = float(sum(t > 0 for t in together[:10]))
        # Content
        likeness = [float(model.content[event.item] @ model.content[j]) for event in recent[:5]]
        x["content_1"] = likeness[0] if likeness else 0.0
        x["content_profile"] = float(profile @ model.content[j])
        x["content_max"] = max(likeness) if likeness else -1.0
        x["dislike_similarity"] = max(
            [0.0]
            + [float(model.content[q] @ model.content[j]) for q in averse]
            + [cosine(model.vectors[q], model.vectors[j]) for q in averse]
        )
        own, idf = categories(j), catalogue.category_weight
        x["category_profile"] = sum(likes[c] * idf[c] for c in own) / math.sqrt(len(own) + 0.5)
        newest = set(categories(last)) if recent else set()
        x["category_last"] = sum(idf[c] for c in own if c in newest) / math.sqrt(len(own) + 0.5)
        warmest = max((plain.category_popularity(c, model.popular_now, now) for c in own), default=None)
        x["category_popularity"] = math.log(warmest + 0.05) if own else -9.0
        x["category_share"] = log_popularity(j, model.popular_now) - math.log(warmest + 1) if own else 0.0
        # The rest
        x["value_item"] = plain.value(j) / (count + 3)
        x["value_user"] = float(np.mean([event.value for event in recent[:10]])) if recent else 0.0
        x["value_last"] = recent[0].value if recent else 0.0
        repeats = [d for d, event in enumerate(everything) if event.item == j]
        x["own_count"] = math.log1p(len(repeats))
        x["own_since"] = age(now, everything[repeats[0]].time_ms) if repeats else 22.0
        x["own_due"] = 0.0
        if len(repeats) > 1:
            span = everything[repeats[0]].time_ms - everything[repeats[-1]].time_ms
            x["own_due"] = x["own_since"] - math.log1p(max(span / 1000 / (len(repeats) - 1), 0.0))
        x["own_distance"] = math.log1p(repeats[0]) if repeats else 5.0
        ease = [
            sum(
                float(model.ease_weight[event.item, k])
                for k in range(model.ease_item.shape[1])
                if event.item < len(model.ease_item) and model.ease_item[event.item, k] == j
            )
            for event in everything
        ]
        x["ease_10"], x["ease_all"] = sum(ease[:10]), sum(ease)
        for s, source in enumerate(SOURCES):
            rank = int(ranks[place, s])
            x[f"rank_{source}"] = math.log1p(rank if rank >= 0 else 200)
        places = np.zeros((OWN_ITEMS, len(OWN_ITEM_COLUMNS)))
        for d, event in enumerate(recent[:OWN_ITEMS]):
            rarity = slow / math.sqrt(counts[d] + 1)
            places[d] = [
                1.0, math.log(d + 1), age(now, event.time_ms), event.value, math.log(counts[d] + 1),
                math.log(count + 1), math.log(together[d] * rarity + 0.01),
                math.log(ahead[d][2] * rarity + 0.01),
            ]  # fmt: skip
        x |= {f"follows_{name}": 0.0 for name in FOLLOWED}  # below, where all columns are known
        rows.append([*(x[name] for name in RAW), *places.ravel()])
    table = np.array(rows)
    back = looked_back(everything, plain, model, now)
    for name in FOLLOWED:
        share, weights = 0.8, 1.0
        for d, values in enumerate(back):
            column = table[:, RAW.index(name)]
            below = (column < values[name] - 3e-5).mean() + (column <= values[name] + 3e-5).mean()
            share, weights = share + 0.85**d * below / 2, weights + 0.85**d
        table[:, RAW.index(f"follows_{name}")] = share / weights
    raw, columns = table[:, : len(RAW)], [RAW.index(name) for name in CENTRED]
    return np.hstack([raw, raw[:, columns] - raw[:, columns].mean(0), table[:, len(RAW) :]])


def looked_back(everything, plain: PlainSignals, model: ModelArrays, now: int):
    """For each of the newest twelve own items that another came before: its values of `FOLLOWED`."""
    recent, found = everything[:50], []
    for d, event in enumerate(recent[:12]):
        older = recent[d + 1 : d + 11]
        if not older:
            break
        item, heard = event.item, any(e.time_ms >= event.time_ms for e in plain.of(event.item))
        counted = heard * plain.weight(event)
        clicks = plain.count(item) - counted
        slow = 1 / math.sqrt(clicks + 5)
        depth, depth_then = depth_of(len(everything)), depth_of(len(everything) - 1 - d)
        lives = plain.settings.half_lives_ms
        mine = {h: counted * 2 ** ((event.time_ms - now) / lives[h]) for h in range(8)}
        others = {h: max(plain.popularity(item, h, now) - mine[h], 0) for h in range(8)}
        ahead, together = [], []
        for distance, before in enumerate(older, 1):
            forward = plain.pair(before.item, item, now) if before.item != item else (0, 0, 0, 0, 0)
            backward = plain.pair(item, before.item, now) if before.item != item else (0, 0, 0, 0, 0)
            ahead.append(max(forward[2] - counted / distance, 0))
            together.append(max(forward[0] - counted, 0) + backward[0])
        knn = [t / math.sqrt(plain.count(e.item) + 1) for t, e in zip(together, older, strict=True)]
        likeness = [float(model.content[e.item] @ model.content[item]) for e in older[:5]]
        ease = [
            float(model.ease_weight[e.item, k])
            for e in older
            for k in range(model.ease_item.shape[1])
            if e.item < len(model.ease_item) and model.ease_item[e.item, k] == item
        ]
        same = plain.by_depth(item, depth, 4, now) - (mine[4] if depth_then == depth else 0)
        published = plain.catalogue.published[item]
        before_it = profile_of([e.item for e in recent[d + 1 :]], model)
        found.append({
            "student_cosine": cosine(model.vectors[older[0].item], model.vectors[item]),
            "student_profile": cosine(direction([e.item for e in older], model), model.vectors[item]),
            **{f"popularity_{h}": math.log(others[h] + 0.05) for h in (1, 3, 5)},
            "popularity_all": math.log(clicks + 1),
            "popularity_depth_4": math.log(max(same, 0) + 0.02 * others[4] + 0.05),
            "age": age(now, plain.of(item)[0].time_ms) if clicks else -1.0,
            "year": -5.0 if math.isnan(published) else 1970 + now / YEAR_MS - published,
            "knn_1": math.log(knn[0] * slow + 1e-3),
            "knn_10": math.log(sum(knn) * slow + 1e-3),
            "rules": math.log(sum(a / n for n, a in enumerate(ahead, 1)) * slow + 1e-3),
            "rule_1": math.log(ahead[0] + 0.05),
            "content_1": likeness[0],
            "content_profile": float(before_it @ model.content[item]),
            "content_max": max(likeness),
            "ease_10": sum(ease),
            "value_item": (plain.value(item) - counted * event.value) / (clicks + 3),
        })  # fmt: skip
    return found


def plain_candidates(asks: Asks, row: int, ann, plain: PlainSignals, model: ModelArrays, size: int):
    """[(item, source)] for one ask, by scoring the whole catalogue from every source."""
    catalogue, now = plain.catalogue, int(asks.now_ms[row])
    barred = set(asks.excluded[asks.excluded_from[row] : asks.excluded_from[row + 1]].tolist())
    eligible = [j for j in range(catalogue.size) if catalogue.available[j] and j not in barred]
    places = [k for k in range(int(asks.length[row])) if Kind(int(asks.kinds[row, k])) in INTEREST]
    whole = [int(asks.items[row, k]) for k in reversed(places)]
    recent = whole[:50]
    count = {j: plain.count(j) for j in range(catalogue.size)}
    popularity = lambda j, h: plain.popularity(j, h, now)  # noqa: E731
    scores = {source: {} for source in (*SOURCES, "few", "new")}
    for j in eligible:
        if j in ann:
            prior = model.prior_weight * math.log(popularity(j, model.popular_now) + 0.05)
            scores["ann"][j] = float(asks.user_vector[row] @ model.vectors[j] + model.bias[j]) + prior
        if count[j]:
            scores["popular_now"][j] = popularity(j, model.popular_now)
            scores["popular"][j] = popularity(j, model.popular)
            lives = plain.settings.half_lives_ms
            nearest = min(DEPTH_HALF_LIVES, key=lambda h: abs(math.log(lives[h] / lives[model.popular_now])))
            same = plain.by_depth(j, depth_of(len(whole)), nearest, now)
            if same:
                scores["popular_by_depth"][j] = same
        slow = f32(1 / math.sqrt(count[j] + 5))
        rules = knn = together = f32(0)
        for d, q in enumerate(recent[:10]):
            ahead = [f32(w) for w in plain.pair(q, j, now)] if q != j else [f32(0)] * 5
            back = [f32(w) for w in plain.pair(j, q, now)] if q != j else [f32(0)] * 5
            share = f32(1 / math.sqrt(count[q] + 1))
            knn = knn + share * back[0] + share * ahead[0]
            rules = rules + f32(1 / (d + 1)) * ahead[2]
            if d == 0:
                together = back[1] + ahead[1] + f32(2) * ahead[3]
        for source, score in (("rules", rules), ("knn", knn), ("together", together)):
            if score > 0:
                scores[source][j] = float(score * slow)
        if j in whole:
            scores["own"][j] = float(sum(f32(1 / (d + 1)) for d, q in enumerate(whole) if q == j))
        if count[j] <= 5:
            since = (catalogue.published[j] - 1970) * YEAR_MS
            since = 0.0 if math.isnan(since) else since
            if count[j]:
                since = max(since, plain.of(j)[0].time_ms)
            weeks = max(now - since, 0) / (7 * DAY_MS)
            match = float(profile_of(recent, model) @ model.content[j])
            scores["few" if count[j] else "new"][j] = match - 0.15 * math.log1p(weeks)
    orders = {
        source: sorted(found, key=lambda j: (-found[j], tie(catalogue, j)))
        for source, found in scores.items()
    }
    few, new = orders["few"], orders["new"]
    for rank in range(len(few) + len(new)):
        orders["fresh"].append((few if not new or (rank % 2 and few) else new).pop(0))
    listed: dict[int, str] = {}
    for rank in range(catalogue.size):
        for source in SOURCES:
            if rank < len(orders[source]) and len(listed) < size:
                listed.setdefault(orders[source][rank], source)
    for j in sorted(eligible, key=lambda j: (-popularity(j, model.popular), tie(catalogue, j))):
        if len(listed) < size:
            listed.setdefault(j, "popular")
    return list(listed.items())


def a_world(seed: int, items: int = 40, users: int = 6, clicks: int = 300):
    """A small random world: catalogue, events in order of time, a model; dislikes and repeats included."""
    rng = np.random.default_rng(seed)
    catalogue = Catalogue()
    for k in range(items):
        published = int(rng.integers(1.2e12, 1.4e12)) if rng.random() < 0.6 else None
        kinds = rng.choice(["a", "b", "c", "d"], rng.integers(0, 4), replace=False).tolist()
        catalogue.announce(Item(item_id=f"i{k}", categories=kinds, published_at=published))
    liking = rng.permutation(items)
    time, events = 1_400_000_000_000, []
    for _ in range(clicks):
        time += int(rng.exponential(1e6)) * int(rng.choice([0, 1, 1, 1, 150]))
        item = int(liking[min(int(rng.exponential(items / 4)), items - 1)])
        kind = Kind(int(rng.choice(8, p=[0.1, 0.4, 0.1, 0.2, 0.05, 0.05, 0.05, 0.05])))
        events.append(Event(f"u{rng.integers(users)}", item, time, kind, round(float(rng.normal()), 3)))
    vectors = rng.normal(size=(items, 8)).astype(f32)
    content = rng.normal(size=(items, 5)).astype(f32)
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    content[rng.random(items) < 0.2] = 0
    ease_item = np.array([rng.permutation(items + 6)[:6] % items for _ in range(items // 2 + 1)], np.int32)
    ease_item[:, 4:] = -1
    model = ModelArrays(
        vectors, rng.normal(size=items).astype(f32), content, 0.4, 1, 4,
        ease_item, rng.normal(size=ease_item.shape).astype(f32),
    )  # fmt: skip
    return catalogue, events, model


def asks_of(histories, now: int, rng, dims: int = 8, *, barred=True) -> Asks:
    """Asks for the given lists of events, each excluding what the user has seen if `barred`."""
    batch = len(histories)
    asks = Asks(
        np.full((batch, 128), -1, np.int32), np.zeros((batch, 128), np.int64),
        np.zeros((batch, 128), np.uint8),
        np.zeros((batch, 128), f32), np.zeros(batch, np.int32), np.zeros(batch, np.int64),
        np.full(batch, now, np.int64), rng.normal(size=(batch, dims)).astype(f32),
        np.zeros(batch + 1, np.int64), np.zeros(0, np.int32),
    )  # fmt: skip
    excluded: list[int] = []
    for row, history in enumerate(histories):
        last = history[-128:]
        asks.length[row], asks.events[row] = len(last), len(history)
        asks.items[row, : len(last)] = [event.item for event in last]
        asks.times[row, : len(last)] = [event.time_ms for event in last]
        asks.kinds[row, : len(last)] = [event.kind for event in last]
        asks.values[row, : len(last)] = [event.value for event in last]
        if barred:
            excluded += sorted({event.item for event in history})
        asks.excluded_from[row + 1] = len(excluded)
    return asks._replace(excluded=np.array(excluded, np.int32))


SETTINGS = SignalSettings(pair_half_life_ms=5 * DAY_MS, neighbours=200)


def fold(events, *signals):
    """Folds events into signals and plain signals alike; returns everyone's history."""
    histories: dict[str, list[Event]] = {}
    for event in events:
        history = histories.setdefault(event.user, [])
        for each in signals:
            if isinstance(each, Signals):
                liked = [e.item for e in history if e.kind in INTEREST]
                each.learn(event.item, event.time_ms, event.kind, event.value, np.array(liked, np.int32))
            else:
                each.learn(event)
        if event.kind is not Kind.IMPRESSION:
            history.append(event)
    return histories
