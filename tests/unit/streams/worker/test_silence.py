"""A word on a silent learner: once, and only while there is something to tell of."""

from structlog.testing import capture_logs

from streams.worker.silence import STALE_SECONDS, Silence


def test_it_warns_once_while_clicks_flow_and_says_when_it_is_over() -> None:
    now = [0.0]
    silence = Silence(lambda: now[0])
    clicks = 0
    with capture_logs() as said:
        for _ in range(20):  # nobody clicks: there is nothing to tell of
            now[0] += 1
            silence.watch(clicks)
        assert said == []
        assert silence.seconds <= STALE_SECONDS / 2
        for _ in range(20):
            now[0] += 1
            clicks += 3
            silence.watch(clicks)
        assert [(line["log_level"], line["event"]) for line in said] == [
            ("warning", "signals are stale: nothing from the learner")
        ]
        silence.end()
        silence.watch(clicks + 1)
    assert said[1]["event"] == "signals are fresh again"
