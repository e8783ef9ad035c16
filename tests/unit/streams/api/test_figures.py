"""Requests as an api counts them: by route and status, however they end."""

import asyncio
from typing import Any

import pytest

from streams.api.figures import Measured
from streams.figures.record import Speaker

ROUTE = "/v1/users/{user_id}/recommendations"


def asked(measured: Measured, *, route: str | None, status: int | None, fails: bool = False) -> None:
    """One request to an application that behaves so."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if route is not None:
            scope["path_template"] = route
        if status is not None:
            await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})
        if fails:
            raise ConnectionError("the client went away")

    async def ignore(_message: Any) -> None:
        return

    asyncio.run(measured.around(app)({"type": "http", "method": "GET"}, None, ignore))


def told(measured: Measured) -> dict[str, float]:
    return Speaker(measured.figures, "api").record().counters


def test_requests_count_by_route_and_status() -> None:
    measured = Measured()
    for status in (200, 200, 503):
        asked(measured, route=ROUTE, status=status)
    asked(measured, route=None, status=404)
    counters = told(measured)
    assert counters["api_requests"] == 4
    assert counters[f'api_requests{{method="GET",route="{ROUTE}",status="200"}}'] == 2
    assert counters[f'api_requests{{method="GET",route="{ROUTE}",status="503"}}'] == 1
    assert counters['api_requests{method="any",route="none",status="404"}'] == 1
    durations = Speaker(measured.figures, "api").record().histograms
    assert durations[f'api_request_ms{{route="{ROUTE}"}}'].n[-1] == 3


def test_a_request_whose_client_went_counts_too() -> None:
    measured = Measured()
    with pytest.raises(ConnectionError):
        asked(measured, route=ROUTE, status=None, fails=True)
    assert told(measured)[f'api_requests{{method="GET",route="{ROUTE}",status="none"}}'] == 1


def test_a_stream_that_lasts_for_hours_is_no_slow_request() -> None:
    measured = Measured()
    asked(measured, route=f"{ROUTE}/stream", status=200)
    assert told(measured)["api_requests"] == 1
    assert not any(
        name.startswith("api_request_ms") for name in Speaker(measured.figures, "a").record().histograms
    )
