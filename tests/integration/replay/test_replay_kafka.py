"""A replay through Kafka gives the lists of the offline replay: the wire changes nothing."""

import numpy as np

from learner.evaluation.plan import plan
from learner.evaluation.replay import play
from learner.evaluation.system import Ask
from streams.hot_path.policy import Policy
from streams.replay.systems import Nextclick
from streams.replay.through_kafka import ThroughKafka
from tests.worlds.replay_world import stream, untrained_release


class Kept:
    """A system whose answers are written down; with `known`, those that it gives right after a click too."""

    def __init__(self, system, id_rank, known=False):
        self.system, self.id_rank, self.asked, self.triggered = system, id_rank, [], []
        self.known = [] if known else None

    def __getattr__(self, name):
        return getattr(self.system, name)

    def rank(self, ask):
        ranking = self.system.rank(ask)
        self.asked.append(ranking.top(10, self.id_rank).tolist())
        return ranking

    def learn(self, event, listed):
        shown = self.system.learn(event, listed)
        if event.number >= self.system._first.size and shown is not None:
            self.triggered.append(np.asarray(shown)[:10].tolist())
            if self.known is not None:
                ranking = self.system.rank(Ask(event.user, event.time_ms, None))
                self.known.append(ranking.top(10, self.id_rank).tolist())
        return shown


def test_the_lists_through_kafka_are_those_of_the_offline_replay(settings, tmp_path) -> None:
    made = plan(stream(), split=0.8, repeats=True)
    release = lambda first: untrained_release(first, tmp_path / "release")  # noqa: E731
    offline = Kept(Nextclick(release, Policy(exploration=0.0)), made.id_rank, known=True)
    through = Kept(ThroughKafka(release, settings, tmp_path / "kafka"), made.id_rank)
    try:
        theirs = play(through, made)
    finally:
        through.close()
    ours = play(offline, made)
    assert len(offline.asked) > 50
    assert offline.asked == through.asked
    # A click's own list is made while the learner reads the same click: now and then it knows it already.
    for ours_, known, theirs_ in zip(offline.triggered, offline.known, through.triggered, strict=True):
        assert theirs_ in (ours_, known)
    found = np.isfinite(theirs.position)
    np.testing.assert_array_equal(ours.position[found], theirs.position[found])
    assert (ours.position[~found] > 20).all()
