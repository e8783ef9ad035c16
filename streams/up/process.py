"""`nextclick up`: what is said on the screen, and how the process ends.

Owns the words for people. The parts and their order are `system`'s.
"""

import contextlib
import json
import re
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import psutil
from rich.console import Console

from streams.runtime import terminal
from streams.runtime.progress import Tell, bars
from streams.settings import Settings
from streams.up import asking
from streams.up.asking import Somebody, TakenIn
from streams.up.claim import Claim
from streams.up.system import Stage, System, Wishes, for_one_machine

_LOOK_SECONDS = 0.1
_ASK_SECONDS = 0.5  # between two looks at what takes time
# What the learner says that somebody who watches wants to know.
_TOLD = {
    "training begins": "another release is trained, beside everything else; the live one answers meanwhile",
    "learner ready": "the learner has counted the past",
}
READING_SECONDS = 5.0  # beside the training itself
_EVENTS = re.compile(r"([\d,]+) events")


def run(settings: Settings, wishes: Wishes) -> None:
    """Runs everything until Ctrl-C or SIGTERM. Raises what says, in a line, why it cannot go on."""
    console = terminal.console()
    settings = for_one_machine(settings)
    with Claim(settings.data_dir) as claim:
        watcher = Watcher(console)
        system = System(settings, wishes, claim, watcher.say, watcher.hear)
        try:
            with until_told_to_end():
                console.print(f"all that is said goes to {system.journal.file}; Ctrl-C ends it")
                system.start()
                with bars(console, width=14) as tell:
                    begin(system, watcher, tell)
                introduce(system, console)
                while True:
                    system.look()
                    time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            console.print("stopping …")
        finally:
            system.stop()
        console.print("stopped; the same command goes on where this ended")


@contextlib.contextmanager
def until_told_to_end() -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C raise KeyboardInterrupt within the block, once: the end is not cut short."""

    def end(*_: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        signals.append(signal.SIGHUP)
    for each in signals:
        signal.signal(each, end)
    yield


def begun() -> float:
    """When this process began, on the monotonic clock."""
    return time.monotonic() - (time.time() - psutil.Process().create_time())


@dataclass
class Watcher:
    """What parts have said that the screen shows."""

    console: Console
    events: int = 0  # clicks in the file, once the training has read it
    last: dict[str, str] = field(default_factory=dict)  # by part
    began: float = field(default_factory=begun)

    def say(self, line: str) -> None:
        """A line for people, with the time since the start."""
        self.console.print(f"{time.monotonic() - self.began:5.0f} s  {line}")

    def hear(self, name: str, line: str) -> None:
        """A line of a part, from a thread."""
        self.last[name] = line
        if name == "train" and (found := _EVENTS.match(line)):
            self.events = int(found[1].replace(",", ""))
        for words, told in _TOLD.items():
            if name == "learner" and words in line:
                self.say(told)


def begin(system: System, watcher: Watcher, tell: Tell, *, wholly: bool = False) -> None:
    """Until lists come, or nothing is left that they could come of; tells how far it is.

    `wholly`: until workers and learner have taken in all of the past.
    """
    shown = _Shown(system, watcher, tell)
    asked = 0.0
    with contextlib.closing(shown):
        while True:
            system.look()
            if system.stage is Stage.WAITING and asking.asked(system.address, "/healthz", 1.0)[0] == 200:
                return
            if time.monotonic() - asked >= _ASK_SECONDS:
                shown.look()
                if system.stage is Stage.STARTING and shown.has_list():
                    system.served()
                    watcher.say("the first list has come")
                if system.stage is Stage.SERVING and (not wholly or (system.counted and shown.taken_in)):
                    return
                asked = time.monotonic()
            time.sleep(_LOOK_SECONDS)


@dataclass
class _Shown:
    """The bars."""

    system: System
    watcher: Watcher
    tell: Tell
    taken_in: bool = False  # all of the past, by the workers
    _taking: TakenIn | None = None
    _somebody: Somebody | None = None
    _done: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Moves each bar to where its part is."""
        system, watcher = self.system, self.watcher
        seconds = time.monotonic() - watcher.began
        if system.is_running("train"):
            share = min(seconds / (60 * system.wishes.minutes + READING_SECONDS), 0.95)
            self.tell("first release", share, watcher.last.get("train", ""))
        elif system.notes.trained and "train" in watcher.last:
            self._finish("first release", watcher.last["train"])
        with contextlib.suppress(*asking.NO_ANSWER):
            self._ask()

    def _ask(self) -> None:
        system, watcher = self.system, self.watcher
        if system.is_running("load"):
            sent = asking.clicks_in(system.settings)
            share = min(sent / watcher.events, 0.99) if watcher.events else 0.0
            self.tell("the past", share, f"{sent:,} clicks loaded" if sent else "")
        elif "load" in watcher.last:
            self._finish("the past", watcher.last["load"])
        if system.stage in (Stage.STARTING, Stage.SERVING) and not self.taken_in:
            self._take_in()

    def has_list(self) -> bool:
        """Whether somebody gets one."""
        if self._somebody is None:
            self._somebody = asking.somebody(self.system.settings)
        found = asking.has_list(self.system.address, self._somebody.user if self._somebody else "anybody")
        return self.taken_in if found is None else found

    def close(self) -> None:
        """Ends the asking."""
        if self._taking is not None:
            self._taking.close()

    def _take_in(self) -> None:
        if self._taking is None:
            self._taking = TakenIn(self.system.settings)
        count, of = self._taking.count(), self._taking.all
        self.taken_in = count >= of
        if of:
            self.tell("taking it in", min(count / of, 1.0), f"{count:,} of {of:,} clicks by the workers")

    def _finish(self, step: str, text: str) -> None:
        if step not in self._done:
            self._done.add(step)
            self.tell(step, 1.0, text)


def introduce(system: System, console: Console) -> None:
    """The address, and three commands to try."""
    at = system.address
    console.print(f"\nNextclick is up at {at} (what can be asked: {at}/docs)")
    if system.stage is Stage.WAITING:
        console.print(
            "There is no release yet, so there are no lists: clicks are taken, and after the first 1,000 the "
            "learner trains a release of them. A file of old clicks gives one at once: start again with "
            "--interactions FILE."
        )
    keyed = asking.needs_key(at)
    if keyed:
        console.print(
            "The api has keys. For what follows put one of scope write into a variable: read -rs KEY"
        )
    console.print("A list, a click, and the lists that follow as they are made:")
    known = asking.somebody(system.settings) or Somebody("u1", "i1")
    for line in commands(at, known, keyed=keyed):
        console.print(f"  {line}")


def commands(at: str, known: Somebody, *, keyed: bool) -> list[str]:
    """Three lines for a shell; `keyed`: with the key that stands in the shell's variable KEY."""
    key = ' -H "authorization: Bearer $KEY"' if keyed else ""
    lists = f"{at}/v1/users/{quote(known.user, safe='')}/recommendations"
    click = json.dumps({"user_id": known.user, "item_id": known.item, "event": "click"})
    return [
        f"curl{key} '{lists}?k=5&fields=title'",
        f"curl{key} {at}/v1/clicks -H 'content-type: application/json' -d {shlex.quote(click)}",
        f"curl -N{key} '{lists}/stream?k=5'",
    ]
