"""A call and its answer, as a conversation that does no I/O: what to send, how long to wait, what it means.

Owns what is tried again and how often. A conversation is a generator: it yields a `Call` to send or seconds
to wait, is given a `Reply` or a `Lost` for each call, and returns the answer. `Client` and `AsyncClient`
differ in who drives it.
"""

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from nextclick.errors import BadAnswer, Problem, Unreachable, problem_of, seconds_of
from nextclick.records import Receipt
from nextclick.seen import Seen
from nextclick.tokens import HEADER, TokenOf

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass
class Reply:
    """What came back. headers: their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Lost:
    """Nothing came back. sent: whether the server may have got the call all the same."""

    error: Exception
    sent: bool


@dataclass
class Patience:
    """How often a call is tried again, and how long is waited in all cases at most.

    Without a word of the server: `first_wait_s`, then twice as long each time, less a random part so that
    clients that were sent away together do not come back together.
    """

    retries: int = 3
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0
    rng: random.Random = field(default_factory=random.Random)

    def pause(self, attempt: int) -> float:
        """Seconds after try number `attempt`, from 0."""
        return min(self.longest_wait_s, self.first_wait_s * 2.0**attempt) * (1 - 0.5 * self.rng.random())


@dataclass
class Line:
    """What all calls of a client share."""

    patience: Patience
    seen: Seen
    token_of: TokenOf | None = None

    def forked(self) -> "Line":
        """Another one for a forked process, which has seen nothing and draws pauses of its own."""
        self.patience.rng.seed()  # else all forks of a process would come back together
        return Line(self.patience, Seen(), self.token_of)

    def headers_of(self, user_id: str | None) -> dict[str, str]:
        """What goes with a call that names the user: the user's token, where there are any."""
        if self.token_of is None or user_id is None:
            return {}
        return {HEADER: self.token_of(user_id)}


@dataclass
class Call(Generic[T_co]):
    """One request, and how its answer is read.

    query: None and empty ones are left out; body: is sent as JSON
    repeatable: sent twice it does what it does once
    user_id: whom it names; rows: parts of the body that name users, each with its own
    asked: users whose lists are asked for, each with the mapping that takes the token of the newest click
    also: statuses above 400 whose body is an answer; timeout_s: longer than the client's own, if need be
    """

    method: str
    path: str
    answer: type[T_co]
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    repeatable: bool = True
    user_id: str | None = None
    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    also: tuple[int, ...] = ()
    timeout_s: float = 0.0

    def talk(self, line: Line) -> "Talk[T_co]":
        """The conversation. Raises a Problem, Unreachable or BadAnswer."""
        for user_id, wanted in self.asked:
            if wanted.get("seen") is None and (token := line.seen.of(user_id)) is not None:
                wanted["seen"] = token
        self.headers = self.headers | line.headers_of(self.user_id)
        if line.token_of is not None:
            for user_id, row in self.rows:
                row.setdefault("user_token", line.token_of(user_id))
        for attempt in range(line.patience.retries + 1):
            reply = yield self
            wait = self._wait(reply, line.patience, attempt)
            if wait is None:
                assert isinstance(reply, Reply)
                return self._read(reply, line.seen)
            yield wait
        raise AssertionError("the last try has ended it")

    def _wait(self, reply: "Reply | Lost | None", patience: Patience, attempt: int) -> float | None:
        """Seconds until the next try; None where the reply is the answer."""
        last = attempt >= patience.retries
        if isinstance(reply, Lost):
            if last or (reply.sent and not self.repeatable):
                raise Unreachable(f"{self.method} {self.path}: {reply.error}") from reply.error
            return patience.pause(attempt)
        assert reply is not None
        if reply.status < 400 or reply.status in self.also:
            return None
        after = seconds_of(reply.headers.get("retry-after"))
        if last or reply.status not in (429, 503) or after is None or after > patience.longest_wait_s:
            raise problem_of(reply.status, reply.headers, reply.body)
        return max(after, patience.pause(attempt))

    def _read(self, reply: Reply, seen: Seen) -> T_co:
        if self.answer is type(None):
            return None  # type: ignore[return-value,unused-ignore]
        try:
            told = msgspec.json.decode(reply.body, type=self.answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadAnswer(
                f"{self.method} {self.path}: {reply.status}, and no answer of Nextclick's: {error}"
            ) from error
        if isinstance(told, Receipt):
            for user_id, token in told.tokens.items():
                seen.note(user_id, token)
        if hasattr(told, "etag"):
            told.etag = reply.headers.get("etag", "")
        return told


Talk = Generator["Call[Any] | float", "Reply | Lost | None", T]


def is_final(error: Exception) -> bool:
    """Whether the same again would be refused again."""
    if not isinstance(error, Problem):
        return False
    # A 403 that names places is of what was sent; one that names none is of the key, which may be given more.
    return error.status in (400, 413, 415, 422) or (error.status == 403 and bool(error.errors))
