"""`/metrics`: off unless a port is set, and no reason to end where that is taken."""

import socket
import urllib.request

import pytest
from structlog.testing import capture_logs

from streams.figures.registry import Figures
from streams.figures.scraped import serve_metrics
from streams.settings import load_settings


def test_no_port_no_metrics() -> None:
    assert load_settings().metrics_port is None
    assert serve_metrics(load_settings(), Figures("worker")) is None


def test_any_free_port_serves_what_the_process_measures() -> None:
    figures = Figures("worker")
    figures.tells("nextclick_clicks_total", lambda: 81)
    port = serve_metrics(load_settings(metrics_port=0), figures, above=1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        said = answer.read().decode()
    assert "nextclick_clicks_total 81.0" in said
    assert "process_resident_memory_bytes" in said
    assert "python_info" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.7"])
def test_a_port_that_is_taken_is_said_and_the_process_goes_on(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load_settings(metrics_port=taken.getsockname()[1], metrics_host=host)
        with capture_logs() as logs:
            assert serve_metrics(settings, Figures("worker")) is None
    assert logs[0]["port"] == settings.metrics_port
    assert "metrics_port of its own" in logs[0]["mend"]
