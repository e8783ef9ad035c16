"""What must hold of the pairs that signals keep, at any time."""

from learner.signals.heads import HEAD
from tests.worlds.plain_signals import tie


def check_pairs(signals):
    """Rows after mirror rows before, and each head holds the strongest pairs."""
    pairs, followers = signals.neighbours, {}
    before, after = pairs.before, pairs.after
    for item in range(signals.catalogue.size):
        for source, weights in zip(*pairs.row(item), strict=True):
            followers.setdefault(int(source), []).append((-weights[1], tie(signals.catalogue, item), item))
    for item in range(signals.catalogue.size):
        want = sorted(followers.get(item, []))
        start, count, room = after.rows[item].tolist()
        assert count == len(want) <= room
        assert set(pairs.followers(item).tolist()) == {j for _, _, j in want[:HEAD]}
        for k in range(start, start + count):
            j = after.item[k]
            slot = before.rows[j, 0] + after.place[k]
            assert before.item[slot] == item
            assert before.place[slot] == k - start
            assert after.weight[k, 0] == before.weight[slot, 1]
    assert (signals.marks == -1).all()
