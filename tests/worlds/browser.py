"""A browser on this machine, and a server for the page that it shows: another origin than the api's."""

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SECONDS = 200  # for whatever is waited for


class Shop(SimpleHTTPRequestHandler):
    """Serves files."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def shop(folder: Path) -> Iterator[int]:
    """Serves the folder's files, at 127.0.0.1 and localhost; the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Shop, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser_page() -> Iterator[tuple[Any, list[str]]]:
    """A page of Playwright's and what goes wrong in it; the test is skipped where there is no Chromium."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    chromium = next(found, None)
    if chromium is None:
        pytest.skip("no Chromium on this machine; on Debian: apt install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    wrong: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(f"{said.text} {said.location}"))
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        try:
            yield page, wrong
        finally:
            browser.close()
