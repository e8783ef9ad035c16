"""Clicks on their way: each with an id before it is first sent, so that it counts once however often it goes.

Owns how many go in one body, and what becomes of those that were not taken.
"""

import uuid
from collections.abc import Iterable, Iterator

import msgspec

from nextclick.errors import Fault, Forbidden, NextclickError, Problem
from nextclick.exchange import Call, Line, Talk, is_final
from nextclick.records import Click, Event, NotTaken, Receipt, encode
from nextclick.tokens import TokenOf

MOST_CLICKS = 1_000
MOST_BYTES = 900_000  # of a body; the server takes 1 MiB
_NO_TOKEN = "no token of this user could be made"  # noqa: S105 (what is said, no token)


def with_id(click: Click) -> Click:
    """The click, with an event id."""
    return click if click.event_id else msgspec.structs.replace(click, event_id=uuid.uuid4().hex)


def click(
    user_id: str, item_id: str = "", event: Event | str = "click", *, value: float | None = None,
    timestamp: int | str | None = None, scenario: str | None = None, recommendation_id: str | None = None,
    position: int | None = None, history: bool = False, undo: bool = False, items: Iterable[str] = (),
    event_id: str = "",
) -> Call[Receipt]:  # fmt: skip
    """Send one click, and wait until the broker has it. Raises Unprocessable where it is no click."""
    made = Click(
        user_id=user_id, item_id=item_id, event=event, value=value, timestamp=timestamp, scenario=scenario,
        recommendation_id=recommendation_id, position=position, history=history, undo=undo,
        items=list(items), event_id=event_id,
    )  # fmt: skip
    return Call("POST", "/v1/clicks", Receipt, {"tokens": "true"}, with_id(made), user_id=user_id)


def click_many(clicks: Iterable[Click]) -> "Many":
    """Send clicks, as many as you like, 1,000 at a time.

    The receipt names those that were not taken, by their place, also those for whose users no token could be
    made. Raises where not one was, for one reason: Unprocessable, Forbidden, Unavailable, Unreachable.
    """
    return Many([with_id(each) for each in clicks])


class Many(Call[Receipt]):
    """Several clicks; what was not acknowledged goes again, the rest of it does not."""

    def __init__(self, clicks: list[Click]) -> None:
        super().__init__("POST", "/v1/clicks", Receipt)
        self.clicks = clicks

    def talk(self, line: Line) -> Talk[Receipt]:
        """The conversation; see `click_many`."""
        told = Receipt(accepted=0)
        waiting = list(enumerate(self.clicks))
        failed: NextclickError | None = None
        unsigned: list[NotTaken] = []
        for attempt in range(line.patience.retries + 1):
            again: list[tuple[int, Click]] = []
            for some in bodies(waiting):
                if failed is not None and not is_final(failed):
                    again += some  # the server does not answer: not asked any more in this round
                    continue
                some, without = _signed(some, line.token_of)
                unsigned += without
                if not some:
                    continue
                try:
                    receipt = yield from _body(some).talk(line)
                except NextclickError as error:
                    failed = error
                    receipt = Receipt(accepted=0, errors=none_taken(error, len(some)))
                told.accepted += receipt.accepted
                told.seen = receipt.seen or told.seen
                told.tokens |= receipt.tokens
                again += [some[each.index] for each in receipt.errors if each.retry]
                told.errors += [
                    msgspec.structs.replace(each, index=some[each.index][0])
                    for each in receipt.errors
                    if not each.retry
                ]
            waiting = again
            if not waiting or failed is not None or attempt == line.patience.retries:
                break
            yield line.patience.pause(attempt)
        if failed is not None and not told.accepted and not unsigned:
            raise failed
        if unsigned and len(unsigned) == len(self.clicks):
            faults = [Fault(f"/clicks/{each.index}{each.pointer}", each.detail) for each in unsigned]
            raise Forbidden(403, "not sent", "no token could be made for any of the clicks", faults)
        told.errors += unsigned
        why = str(failed or "the broker has not acknowledged it")
        told.errors += [NotTaken(index, why, "", True) for index, _ in waiting]
        told.errors.sort(key=lambda each: each.index)
        return told


def bodies(clicks: list[tuple[int, Click]]) -> Iterator[list[tuple[int, Click]]]:
    """The clicks in the portions that one body takes."""
    some: list[tuple[int, Click]] = []
    size = 0
    for index, each in clicks:
        more = len(encode(each)) + 1
        if some and (len(some) == MOST_CLICKS or size + more > MOST_BYTES):
            yield some
            some, size = [], 0
        some.append((index, each))
        size += more
    if some:
        yield some


def none_taken(error: Exception, count: int) -> list[NotTaken]:
    """What an error says of each click of a body."""
    why = {}
    for fault in error.errors if isinstance(error, Problem) else ():
        _, _, rest = fault.pointer.partition("/clicks/")
        index, _, inside = rest.partition("/")
        if index.isdigit():
            why[int(index)] = NotTaken(int(index), fault.detail, "/" + inside if inside else "")
    return [why.get(n) or NotTaken(n, str(error), "", not is_final(error)) for n in range(count)]


def _body(some: list[tuple[int, Click]]) -> Call[Receipt]:
    return Call("POST", "/v1/clicks", Receipt, {"tokens": "true"}, {"clicks": [each for _, each in some]})


def _signed(
    some: list[tuple[int, Click]], token_of: TokenOf | None
) -> tuple[list[tuple[int, Click]], list[NotTaken]]:
    """The clicks with their users' tokens, and those without: one of them must not hold up the others."""
    if token_of is None:
        return some, []
    signed: list[tuple[int, Click]] = []
    without: list[NotTaken] = []
    for index, each in some:
        try:
            token = each.user_token or token_of(each.user_id)
        except Exception:  # it is the caller's, and what it says may be the user's id
            token = ""
        if isinstance(token, str) and token and token.isascii():
            signed.append((index, msgspec.structs.replace(each, user_token=token)))
        else:
            without.append(NotTaken(index, _NO_TOKEN, "/user_token"))
    return signed, without
