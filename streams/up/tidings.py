"""What happens to releases, as sentences for who watches: trained, judged, tried, live.

Owns the words, and the thread that reads the topic `releases`. `streams.releases.roles` owns what they mean.
"""

import contextlib
import threading
import time
from collections.abc import Callable

import structlog

from streams.releases.roles import DRIFTED, PINNED, REPLACED, SHARE
from streams.settings import Settings
from streams.transport.topic_reader import follow
from streams.transport.topics import Names
from streams.wire.contract import UNREADABLE, ReleaseRecord, decode_release

log = structlog.get_logger()

AGAIN_SECONDS = 2.0


def sentence(record: ReleaseRecord) -> str:
    """What a record tells; "" for one that follows from another."""
    name, reason = record.release, record.reason
    if record.decision in (REPLACED, "unpinned"):
        return ""
    if record.decision == DRIFTED:
        return f"the live release {name} hits less than it did: {reason}"
    if record.decision == PINNED:
        return f"release {name} is pinned: nothing replaces it"
    if record.role == "candidate":
        return f"release {name} is trained; the gate compares it with the live one"
    if record.role == "canary":
        share = float(record.evidence.get(SHARE, 0.0))
        return f"release {name} passed the gate ({reason}); {share:.0%} of the users get it now, as a canary"
    if record.role == "live" and record.decision == "first":
        return f"the first release {name} is live"
    if record.role == "live":
        return f"release {name} is live: {reason or record.decision}"
    return f"release {name} is {record.role}: {reason or record.decision}"


class Tidings:
    """Tells what comes to the topic `releases` from now on; `live` is the release that is live."""

    def __init__(self, settings: Settings, say: Callable[[str], None], live: str | None) -> None:
        self._settings, self._say = settings, say
        self.live = live
        self._told_ms = 0 if live is None else int(time.time() * 1000)  # what led to it is known
        threading.Thread(target=self._read, name="releases", daemon=True).start()

    def _read(self) -> None:
        topic = Names(self._settings.prefix).releases
        while True:
            try:
                for record in follow(self._settings, {topic: "beginning"}):
                    if record is not None and record.value is not None:
                        with contextlib.suppress(*UNREADABLE):
                            self._take(decode_release(record.value))
            except Exception as error:  # of a client while the broker is away; nothing depends on tidings
                log.debug("the topic of releases could not be read", error=str(error))
                time.sleep(AGAIN_SECONDS)

    def _take(self, record: ReleaseRecord) -> None:
        if record.role == "live":
            self.live = record.release
        if record.at < self._told_ms:
            return
        self._told_ms = record.at + 1
        if told := sentence(record):
            self._say(told)
