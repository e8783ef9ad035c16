"""Settings of the signals: JSON, limits, and where the depths of users begin."""

import json

import pytest

from learner.data.times import DAY_MS
from learner.signals.kernels import depth_of
from learner.signals.pair_weights import WINDOW
from learner.signals.settings import DEPTHS, SignalSettings


def test_settings_survive_json():
    settings = SignalSettings(pair_half_life_ms=3.5 * DAY_MS, neighbours=99)
    assert SignalSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    assert [SignalSettings().limit(n) for n in (0, 1000, 10_000, 10**6)] == [256, 256, 250, 32]
    with pytest.raises(ValueError, match="half_lives_ms"):
        SignalSettings(half_lives_ms=(1.0,))


def test_a_depth_begins_with_its_number_of_events():
    assert DEPTHS[0] == 0
    assert DEPTHS[-1] <= WINDOW
    for depth, least in enumerate(DEPTHS[1:], 1):
        assert (depth_of(least - 1), depth_of(least)) == (depth - 1, depth)
