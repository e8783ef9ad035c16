"""What a trainer tells of its trainings and of the gate."""

import pytest

from streams.figures.record import Speaker
from streams.training.figures import Measured


def test_trainings_count_by_how_they_end() -> None:
    measured = Measured()
    speaker = Speaker(measured.figures, "trainer")
    with measured.training("full"):
        assert speaker.record().gauges["training"] == 1
        sum(range(300_000))
    with pytest.raises(ValueError, match="no disk"), measured.training("ranker"):
        raise ValueError("no disk")
    measured.judged("passed")
    measured.failed()
    told = speaker.record()
    assert told.gauges["training"] == 0
    assert "new_clicks" not in told.gauges
    assert {name: value for name, value in told.counters.items() if name.startswith("trainings{")} == {
        'trainings{kind="full",outcome="done"}': 1, 'trainings{kind="ranker",outcome="failed"}': 1,
    }  # fmt: skip
    assert told.counters['training_ms{kind="full"}'] > 0
    assert (told.counters['gate_decisions{decision="passed"}'], told.counters["trainer_failures"]) == (1, 1)
    measured.new_clicks = 81
    assert speaker.record().gauges["new_clicks"] == 81
