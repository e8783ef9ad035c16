"""Sends the past of a shop, each click once: history from files that grow, move and come again.

Owns what "loaded" means: of each click by itself (`streams.traffic.known`), not of a file. What a crash left
unmentioned stands in the topic and is found there, so that going on sends nothing twice. Knows nothing of
how the file is read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from streams.recorded.clicks import RecordedClicks
from streams.runtime.slots import SlotError, take_slot
from streams.settings import Settings
from streams.traffic.admissible import check
from streams.traffic.known import Known, place_of
from streams.transport.delivery import Acknowledgement, Outgoing
from streams.transport.sending import sending
from streams.transport.topics import Names
from streams.wire.contract import Click, encode

# A chunk is in flight while the next is encoded; a second's worth at the least speed asked of it.
CHUNK = 20_000

Progress = Callable[[int], None]
Say = Callable[[str], None]


class LoadError(Exception):
    """Nothing was sent: says why, and what to do."""


@dataclass(frozen=True)
class Loaded:
    """`sent` by this call; `known`: clicks of the part that were there before and were not sent again."""

    sent: int
    known: int


def load(
    settings: Settings,
    clicks: RecordedClicks,
    part: range,
    *,
    again: bool = False,
    unseen: bool = False,
    progress: Progress = lambda _: None,
    say: Say = lambda _: None,
) -> Loaded:
    """Send a part of the recorded clicks as history, without those that were loaded before.

    `progress` is called with the number of clicks acknowledged or known so far, `say` with what a person
    should know meanwhile. With `again` known ones are sent too. Raises LoadError where workers would refuse
    some, where another load runs, and, unless `unseen`, where it cannot be told what was loaded before.
    """
    check(settings, clicks, part)
    place = place_of(settings)
    try:
        slot = take_slot(settings.data_dir, f"{settings.prefix}load", 0)
    except SlotError:
        raise LoadError(
            f"another `nextclick load` into {settings.prefix}clicks runs with the data folder "
            f"{settings.data_dir}; wait until it has ended"
        ) from None
    try:
        known = Known(settings, place)
        _catch_up(settings, known, unseen=again or unseen, say=say)
        loaded = asyncio.run(_load(settings, clicks, part, known, again, progress))
        known.sent(loaded.sent)
        return loaded
    finally:
        slot.release()


def _catch_up(settings: Settings, known: Known, *, unseen: bool, say: Say) -> None:
    topic, begun = Names(settings.prefix).clicks, known.begun
    if gone := known.catch_up(say):
        what = (
            f"{gone:,} records of {topic} were deleted (their retention has ended) before they were looked "
            f"at from the data folder {settings.data_dir}: clicks that were loaded with them, from "
            "elsewhere, cannot be recognised and would count twice"
        )
        if not begun and not unseen:
            raise LoadError(
                f"{what}; load with the --data-dir that was used before, or, where none of this file's "
                "clicks was loaded so long ago, add --unseen"
            )
        say(f"warning: {what}")
    known.remember()


async def _load(
    settings: Settings, clicks: RecordedClicks, part: range, known: Known, again: bool, progress: Progress
) -> Loaded:
    sent, topic = 0, Names(settings.prefix).clicks
    async with sending(settings) as delivery:
        in_flight: tuple[int, list[Click], list[Acknowledgement]] | None = None
        for start in range(part.start, part.stop, CHUNK):
            places = range(start, min(start + CHUNK, part.stop))
            some = list(clicks.clicks(places, history=True))
            held = known.holds(some)
            news = [click for click, before in zip(some, held.tolist(), strict=True) if again or not before]
            records = [Outgoing(click.user_id.encode(), encode(click)) for click in news]
            if in_flight is not None:
                await _settle(known, in_flight, progress)
            sent += len(records)
            futures = await delivery.send(topic, records)
            in_flight = places.stop - part.start, news, futures
        if in_flight is not None:
            await _settle(known, in_flight, progress)
    return Loaded(sent, len(part) - sent)


async def _settle(
    known: Known, in_flight: tuple[int, list[Click], list[Acknowledgement]], progress: Progress
) -> None:
    """Wait for a chunk's acknowledgements, then write down that it is sent."""
    done, news, futures = in_flight
    for future in futures:
        await future
    known.note(news)
    progress(done)
