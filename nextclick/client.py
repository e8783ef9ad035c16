"""`Client`: all of Nextclick's HTTP interface, for programs with threads or without any.

Owns the connections, the pauses, and the thread that sends the clicks of the buffer. What is said on the line
is `nextclick.exchange`'s business, what can be asked `nextclick.reading`'s and `nextclick.operating`'s.
"""

import atexit
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from nextclick import operating, reading, sending
from nextclick.errors import ClicksNotSent, NextclickError
from nextclick.events import SILENT_SECONDS, Following
from nextclick.exchange import Call, Line, Lost, Patience, Reply, Talk
from nextclick.paths import path
from nextclick.pending import Bounds, Pending, joined
from nextclick.records import Click, Event, Item, NotTaken, Recommendations, Status
from nextclick.seen import Seen
from nextclick.wire import checked, headers_of, lost, params_of, request_of

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
log = logging.getLogger("nextclick")


def _method(build: Callable[P, Call[T]]) -> "Callable[Concatenate[Client, P], T]":
    """A method that makes the call and waits for its answer."""

    @functools.wraps(build)
    def method(self: "Client", /, *given: P.args, **named: P.kwargs) -> T:
        return self._run(build(*given, **named).talk(self._line))

    return method


class Client:
    """A line to `nextclick api`. Safe for several threads.

    url: where it listens; key: sent as `Authorization: Bearer`
    timeout_s: for an answer; patience: how often is tried again (`Patience(retries=0)`: never)
    buffer: of `clicks`; http: a client of httpx to use, which stays the caller's to close
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8080", *, key: str | None = None, timeout_s: float = 10.0,
        patience: Patience | None = None, buffer: Bounds | None = None, http: httpx.Client | None = None,
    ) -> None:  # fmt: skip
        self._url, self._headers, self._timeout_s = checked(url), headers_of(key), timeout_s
        self._http, self._owned = http or httpx.Client(), http is None
        self._line = Line(patience or Patience(), Seen())
        self.clicks = Clicks(self, buffer or Bounds())

    click = _method(sending.click)
    click_many = _method(sending.click_many)
    recommendations = _method(reading.recommendations)
    recommend = _method(reading.recommend)
    batch = _method(reading.batch)
    similar = _method(reading.similar)
    rank = _method(reading.rank)
    search = _method(reading.search)
    popular = _method(reading.popular)
    user = _method(reading.user)
    items = _method(operating.items)
    item = _method(operating.item)
    put_item = _method(operating.put_item)
    patch_item = _method(operating.patch_item)
    delete_item = _method(operating.delete_item)
    put_items = _method(operating.put_items)
    forget_user = _method(operating.forget_user)
    merge_users = _method(operating.merge_users)
    scenarios = _method(operating.scenarios)
    scenario = _method(operating.scenario)
    put_scenario = _method(operating.put_scenario)
    try_scenario = _method(operating.try_scenario)
    delete_scenario = _method(operating.delete_scenario)
    releases = _method(operating.releases)
    release = _method(operating.release)
    promote = _method(operating.promote)
    rollback = _method(operating.rollback)
    pin = _method(operating.pin)
    unpin = _method(operating.unpin)
    dead_letters = _method(operating.dead_letters)
    retry_dead_letters = _method(operating.retry_dead_letters)
    ready = _method(operating.ready)
    status = _method(operating.status)

    def all_items(self, q: str = "", *, limit: int = 500) -> Iterator[Item]:
        """The whole catalogue, read a page at a time as it is asked for."""
        cursor: str | None = None
        while True:
            page = self.items(q, cursor=cursor, limit=limit)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def stream(
        self, user_id: str, *, scenario: str | None = None, k: int | None = None, fields: Iterable[str] = (),
        last_event_id: str = "", give_up_s: float = 300.0,
    ) -> Iterator[Recommendations]:  # fmt: skip
        """A user's newest list at once, then each as it is made, for as long as one asks for the next.

        A line that breaks is opened again, with the id of the last list. Raises Unreachable where none could
        be opened for `give_up_s`, and a Problem where the server does not want to.
        """
        where = path("v1", "users", user_id, "recommendations", "stream")
        asked = {"scenario": scenario, "k": k, "fields": list(fields)}
        following = Following(Recommendations, "recommendation", last_event_id, give_up_s)
        return self._follow(where, asked, following)

    def status_stream(self, *, give_up_s: float = 300.0) -> Iterator[Status]:
        """What all processes say of themselves, once a second; it comes back as `stream` does."""
        return self._follow("/v1/status/stream", {}, Following(Status, "status", "", give_up_s))

    def close(self, timeout_s: float = 10.0) -> None:
        """Sends what waits in `clicks`, for so long at most. Raises ClicksNotSent with the rest."""
        try:
            self.clicks.close(timeout_s)
        finally:
            if self._owned:
                self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, talk: Talk[T]) -> T:
        reply: Reply | Lost | None = None
        while True:
            try:
                step = talk.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Call):
                reply = self._reply(step)
            else:
                time.sleep(step)
                reply = None

    def _reply(self, call: Call[Any]) -> Reply | Lost:
        try:
            got = self._http.request(**request_of(call, self._url, self._headers, self._timeout_s))
        except httpx.RequestError as error:
            return lost(error)
        return Reply(got.status_code, got.headers, got.content)

    def _follow(self, where: str, asked: dict[str, Any], following: Following[A]) -> Iterator[A]:
        timeout = httpx.Timeout(self._timeout_s, read=SILENT_SECONDS)
        while True:
            error: Exception | None = None
            try:
                with self._http.stream(
                    "GET", self._url + where, params=params_of(asked), timeout=timeout,
                    headers=self._headers | following.headers,
                ) as got:  # fmt: skip
                    if got.status_code == 200:
                        following.opened()
                        for some in got.iter_bytes():
                            yield from following.feed(some)
                        wait = following.lost(None, time.monotonic())
                    else:
                        body = got.read()
                        wait = following.refused(got.status_code, got.headers, body, time.monotonic())
            except httpx.RequestError as broken:
                error = broken
            if error is not None:
                wait = following.lost(error, time.monotonic())
            time.sleep(wait)


class Clicks:
    """The buffer: clicks that are sent together, by a thread of its own that begins with the first one.

    They go when there are enough of them, when the first has waited long enough, and at the end. What the
    server refuses is logged, and told by `flush` and `close`.
    """

    def __init__(self, client: Client, bounds: Bounds) -> None:
        self._client, self._pending = client, Pending(bounds)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._at_once = self._closed = False
        self._idle = True  # nothing is on its way

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, user_id: str, item_id: str = "", event: Event | str = "click", **more: Any) -> None:
        """A click that may wait a moment; `more`: further fields of `Click`. Raises BufferFull."""
        click = Click(user_id=user_id, item_id=item_id, event=event, **more)
        with self._changed:
            if self._closed:
                raise NextclickError("the client is closed")
            if not self._changed.wait_for(lambda: not self._pending.is_full, self._pending.bounds.full_s):
                raise self._pending.full()
            if self._closed:  # while this one waited
                raise NextclickError("the client is closed")
            self._pending.add(click, time.monotonic())
            if self._thread is None or not self._thread.is_alive():  # a forked process has none of its own
                self._idle = True
                self._thread = threading.Thread(target=self._send, name="nextclick-clicks", daemon=True)
                self._thread.start()
                atexit.register(self._at_exit)
            self._changed.notify_all()

    def flush(self, timeout_s: float = 10.0) -> int:
        """Sends all that waits; returns how many wait on, where the time did not do.

        Raises ClicksNotSent where any was refused since the last flush.
        """
        with self._changed:
            self._at_once = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not len(self._pending) and self._idle, timeout_s)
            self._at_once = False
            told, left = self._pending.told(ending=False), len(self._pending)
        if told is not None:
            raise told
        return left

    def close(self, timeout_s: float = 10.0) -> None:
        """The end. Raises ClicksNotSent with all that was refused or not sent."""
        refused: ClicksNotSent | None = None
        try:
            self.flush(timeout_s)
        except ClicksNotSent as error:
            refused = error
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            told = self._pending.told(ending=True)
        atexit.unregister(self._at_exit)
        if (trouble := joined(refused, told)) is not None:
            raise trouble

    def _send(self) -> None:
        while True:
            with self._changed:
                while not self._closed:
                    wait = self._pending.due_in(time.monotonic(), at_once=self._at_once)
                    if wait is not None and wait <= 0:
                        break
                    self._changed.wait(wait)
                if self._closed:
                    return
                some, self._idle = self._pending.first(), False
            errors = self._sent(some)
            with self._changed:
                if not self._closed:
                    self._pending.settle(some, errors, time.monotonic())
                self._idle = True
                self._changed.notify_all()

    def _sent(self, some: list[Click]) -> list[NotTaken]:
        try:
            return self._client.click_many(some).errors
        except Exception as error:  # this thread must not end: nobody would send any more
            return sending.none_taken(error, len(some))

    def _at_exit(self) -> None:
        """The program ends without having closed the client: what waits is sent all the same."""
        try:
            self.close()
        except ClicksNotSent as error:
            log.error("at the end of the program: %s", error)
