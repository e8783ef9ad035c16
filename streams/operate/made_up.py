"""A tiny world that nobody trained or recorded, in which every kernel is called once with what it takes.

Owns a release, its items and a few dozen clicks by chance. Needs no torch, no files and no network. What it
walks through is what workers, the learner, its trainer and a replay do; how they do it is theirs.
"""

from base64 import b64decode
from collections.abc import Callable

import numpy as np

from learner.data.catalogue import Catalogue, Item
from learner.data.dataset import Interactions
from learner.data.events import Kind
from learner.data.times import DAY_MS, YEAR_MS
from learner.evaluation.plan import plan, stream_from
from learner.evaluation.system import Ranking
from learner.models.calibration import Calibration
from learner.ranking.columns import FEATURES, OWN_ITEM_COLUMNS, OWN_ITEMS
from learner.ranking.lists import Wanted
from learner.ranking.own_items import OwnItemLayer
from learner.release.bundle import Arrays, Bundle, Dims, Manifest, Window
from learner.release.live import LiveRelease
from learner.signals.settings import SignalSettings
from learner.signals.state import Signals
from learner.text.card import EncoderCard
from learner.training.tuning import tune
from streams.hot_path.live import Live
from streams.hot_path.policy import Policy
from streams.hot_path.warm_up import warm_up
from streams.recorded.collecting import click_of, collect
from streams.recorded.world import Offline

ITEMS, USERS, CLICKS = 400, 9, 200  # `tune` needs more items than any three have neighbours
VECTOR, CONTENT = 8, 4
START_MS = 1_700_000_000_000

# Two graphs of ONNX: `hidden_after` is `hidden`, and `user_vector` is `item_vector`; `scores` are sums of
# `features`. As bytes, for where workers run is no package that writes them (a test writes them anew).
STUDENT = b64decode(
    "CAkSCW5leHRjbGljazqOAgogCgZoaWRkZW4SDGhpZGRlbl9hZnRlciIISWRlbnRpdHkKJAoLaXRlbV92ZWN0b3ISC3VzZXJfdmVjdG9y"
    "IghJZGVudGl0eRIBc1ofCgtpdGVtX3ZlY3RvchIQCg4IARIKCgMSAUIKAxIBRFoTCgRraW5kEgsKCQgHEgUKAxIBQloWCgdsb2dfZ2Fw"
    "EgsKCQgBEgUKAxIBQloUCgV2YWx1ZRILCgkIARIFCgMSAUJaGgoGaGlkZGVuEhAKDggBEgoKAxIBQgoDEgFTYiAKDGhpZGRlbl9hZnRl"
    "chIQCg4IARIKCgMSAUIKAxIBU2IfCgt1c2VyX3ZlY3RvchIQCg4IARIKCgMSAUIKAxIBREIECgAQFA=="
)
RANKER = b64decode(
    "CAkSCW5leHRjbGljazqKAQoyCghmZWF0dXJlcwoCYzASBnNjb3JlcyIJUmVkdWNlU3VtKg8KCGtlZXBkaW1zGACgAQISAXIqEggBEAdC"
    "AmMwSggCAAAAAAAAAFohCghmZWF0dXJlcxIVChMIARIPCgMSAUIKAxIBQwoDEgFGYhoKBnNjb3JlcxIQCg4IARIKCgMSAUIKAxIBQ0IE"
    "CgAQFA=="
)


Step = tuple[str, Callable[[], None]]


def steps() -> list[Step]:
    """What is to be done, each with words for it."""
    world = MadeUp()
    return [
        ("counting clicks", world.count),
        ("making lists", world.recommend),
        ("replaying", world.replay),
        ("learning from lists", world.learn),
    ]


class MadeUp:
    """The world, and its ways through the kernels."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.items = [
            Item(item_id=f"i{n}", categories=[f"c{n % 5}", f"c{n % 7}"], published_at=START_MS)
            for n in range(ITEMS)
        ]
        self.clicks = self._clicks()

    def count(self) -> None:
        """The learner's part: clicks into signals, over years so that sums are moved, and records."""
        catalogue = Catalogue()
        catalogue.admit_all(self.items)
        counted, restored = (Signals(SignalSettings(), catalogue, keep_offsets=True) for _ in range(2))
        apart = 3 * YEAR_MS / CLICKS
        for n, item in enumerate(self.clicks.item.tolist()):
            before = self.clicks.item[max(0, n - 8) : n].copy()
            counted.learn(item, START_MS + int(n * apart), int(Kind.CLICK), 0.5, before)
        for item in counted.drain():
            restored.apply(catalogue.ids[item], counted.record(item))

    def recommend(self) -> None:
        """A worker's part, with an item that joins late."""
        offline = self._offline()
        offline.announce("late", Item(item_id="late", title="Late", categories=["c1"]))
        warm_up(offline.world)

    def replay(self) -> None:
        """A replay's part: its plan, the clicks one by one, and where answers stand in rankings."""
        made = plan(stream_from(self.clicks, self.items), split=0.5)
        offline = self._offline()
        for n in range(CLICKS // 2):
            click = click_of(self.clicks, n)
            offline.learn(click, answer=n % 3 == 0)
            asks = offline.ask(offline.slot(click.user_id), click.timestamp + 1)
            ranked = offline.rank(asks)
            offline.candidates(asks, 20)
            self._layer().sums(ranked.features, 0, 1)
        items, scores = offline.rank_all(offline.slot(self.clicks.user_ids[0]), START_MS + DAY_MS)
        for ranking in (Ranking(items, scores), Ranking.ordered(items)):
            ranking.position(int(items[0]))
            ranking.top(10, made.id_rank)

    def learn(self) -> None:
        """A training's part that needs no torch: its lists, what is chosen from the data, and calibration."""
        tune(self.clicks, CLICKS, ITEMS, SignalSettings().half_lives_ms, repeats=False)
        lists = collect(self._release(), self.clicks, CLICKS // 2, CLICKS, Wanted(negatives=20))
        scores = self.rng.normal(size=lists.mask.shape).astype(np.float32)
        Calibration().learn(lists, scores)

    def _offline(self) -> Offline:
        release = self._release()
        return Offline(Live(release, release.catalogue), release.catalogue, Policy())

    def _release(self) -> LiveRelease:
        draw = self.rng.standard_normal
        manifest = Manifest(
            release="r-made-up",
            created_at=START_MS,
            data=Window(first_ms=0, last_ms=START_MS, events=CLICKS, users=USERS),
            items=ITEMS,
            dims=Dims(vector=VECTOR, hidden=VECTOR, content=CONTENT, features=len(FEATURES)),
            signals=SignalSettings().as_dict(),
            encoder=EncoderCard(name="none", licence="none"),
            features=list(FEATURES),
            categories=["c1", "c2"],
            value_scale={Kind.RATING.word: (3.0, 1.0)},
            repeat_consumption=False,
            views_consume=False,
        )
        arrays = Arrays(
            vectors=draw((ITEMS, VECTOR)).astype(np.float32),
            bias=np.zeros(ITEMS, np.float32),
            content=draw((ITEMS, CONTENT)).astype(np.float32),
            initial=np.ones(VECTOR, np.float32),
            tail_mean=np.zeros(VECTOR, np.float32),
            cold_bias=np.zeros(1, np.float32),
            ease_item=self.rng.integers(0, ITEMS, (ITEMS, 3)).astype(np.int32),
            ease_weight=np.ones((ITEMS, 3), np.float32),
        )
        return LiveRelease(Bundle(manifest, STUDENT, RANKER, arrays, self.items), Catalogue())

    def _layer(self) -> OwnItemLayer:
        columns = len(OWN_ITEM_COLUMNS)
        mean = np.zeros(OWN_ITEMS * columns, np.float32)
        weights, bias = np.ones((columns, 2), np.float32), np.zeros(2, np.float32)
        return OwnItemLayer.of(mean, mean + 1, np.array(3.0, np.float32), weights, bias)

    def _clicks(self) -> Interactions:
        """Clicks of every kind, most of them plain, in order of time."""
        kinds = np.array([Kind.CLICK] * 9 + list(Kind), np.uint8)
        kind = self.rng.choice(kinds, CLICKS)
        return Interactions(
            user=self.rng.integers(0, USERS, CLICKS).astype(np.int32),
            item=self.rng.integers(0, ITEMS, CLICKS).astype(np.int32),
            time_ms=START_MS + np.arange(CLICKS) * 60_000,
            kind=kind,
            value=np.where(kind == Kind.RATING, 4.0, np.nan).astype(np.float32),
            place=np.zeros(CLICKS, np.int32),
            occurrence=np.zeros(CLICKS, np.int32),
            user_ids=[f"u{n}" for n in range(USERS)],
            item_ids=[item.item_id for item in self.items],
            scenarios=[None],
        )
