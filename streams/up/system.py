"""All parts of one machine: which there are, in which order they begin, and when.

Training, the broker's start and the loading of the past go on beside each other; learner and workers begin
when there is a release. Knows no screen.
"""

import contextlib
import time
from dataclasses import dataclass
from enum import Enum

from streams.broker.node import BrokerError, EmbeddedBroker
from streams.settings import Settings, SettingsError
from streams.up.beginning import Files, Load, Notes
from streams.up.children import BrokerProcess, Children, Running
from streams.up.claim import Claim
from streams.up.inherited import inherited
from streams.up.journal import Hear, Journal
from streams.up.supervisor import Part, Say, Supervisor
from streams.up.tidings import Tidings

QUICK_MINUTES = 0.35
CANARY_MINUTES = 5.0  # unless set: one machine has few users, and somebody watches
FREE_SECONDS = 5.0  # that the port of a broker which was killed may take to come free


@dataclass(frozen=True)
class Wishes:
    """What was asked for.

    minutes: that the first release may take
    broker: whether one is to be run here
    """

    files: Files | None = None
    workers: int = 1
    minutes: float = QUICK_MINUTES
    seed: int = 0
    broker: bool = True


class Stage(Enum):
    """How far it is."""

    BEGINNING = "a first release is trained, or the past is loaded"
    STARTING = "the processes start, and take in the past"
    WAITING = "there is no release, so there are no lists"
    SERVING = "lists come"


class System:
    """Everything of one `up`, in a folder that is claimed; `stop` ends all of it.

    settings: as the parts have them; the broker's address is known after `start`
    """

    def __init__(self, settings: Settings, wishes: Wishes, claim: Claim, say: Say, hear: Hear) -> None:
        self.settings, self.wishes = settings, wishes
        self.notes = Notes(claim.folder)
        self.journal = Journal(claim.folder / "up.log", self._heard)
        self.address = ""
        self.tidings: Tidings | None = None
        self.counted = False  # the learner has counted the past
        self._hear = hear
        self._say = say
        self._children = Children(claim.children, self.journal)
        self._killed = bool(claim.killed)
        self._supervisor = Supervisor(say, time.monotonic, time.sleep)
        self._broker: EmbeddedBroker | None = None
        self._load: Load | None = None
        self._working = False  # learner and workers are started
        self._served = False

    # -- the order of things ------------------------------------------------------------------------

    def start(self) -> None:
        """Starts whatever need not wait. Raises what says that it cannot be, in a line."""
        files, notes = self.wishes.files, self.notes
        if files is not None:
            files.check()
        if files is not None and not notes.trained:
            self._train(files)
        self._begin_broker(patient=self._killed)
        live = self._look_around()
        if live is not None or files is None:
            if "train" in self._supervisor.parts:
                self._supervisor.drop("train")
            self._begin_work()
        self._begin_api()
        if self._load is not None:
            flags = self._load.flags
            self._part("load", *flags, ends=True, stage=0)
        self.tidings = Tidings(self.settings, self._say, live)

    def look(self) -> None:
        """To be called all the time: starts again what has ended, begins what is due. Raises PartFailed."""
        self._supervisor.look()
        if self._load is not None and self._is_done("load"):
            self.notes.loaded(self._load)
            self._load = None
        if not self._working and self._load is None and self._is_done("train"):
            self._begin_work()

    def stop(self) -> None:
        """Ends all, in order, in about ten seconds."""
        self._supervisor.stop()
        if self._broker is not None:
            self._broker.kill()  # what is left of it
        self.journal.close()

    @property
    def stage(self) -> Stage:
        """How far it is; `served` makes it SERVING."""
        if not self._working:
            return Stage.BEGINNING
        if self.wishes.files is None and self.tidings is not None and self.tidings.live is None:
            return Stage.WAITING
        return Stage.SERVING if self._served else Stage.STARTING

    def served(self) -> None:
        """A list has come."""
        self._served = True

    def run(self, name: str, *words: str) -> Part:
        """Starts a command that ends by itself, such as one that plays clicks; see `Part.done`."""
        return self._part(name, *words, ends=True, stage=0)

    def is_running(self, name: str) -> bool:
        """Whether a part that ends by itself has still to do so."""
        return not self._is_done(name)

    # -- the parts ----------------------------------------------------------------------------------

    def _train(self, files: Files) -> None:
        settings, wishes = self.settings, self.wishes
        self._part(
            "train", *files.flags(), "--quick", "--time-budget", f"{wishes.minutes:g}",
            "--hold-back", str(settings.gate_clicks), "--seed", str(wishes.seed),
            "--out", str(self.notes.release), ends=True, stage=0, at=False,
        )  # fmt: skip

    def _begin_broker(self, *, patient: bool) -> None:
        """Starts the embedded broker, unless another one is to be used."""
        settings = self.settings
        if not self.wishes.broker:
            return
        broker = self._broker = EmbeddedBroker.from_settings(
            settings, lambda line: self.journal.note("broker", line)
        )

        def start() -> Running:
            broker.start()
            running = BrokerProcess(broker)
            self._children.note(running.pid)
            return running

        def why() -> str:
            return broker.epitaph().partition("\n")[0]

        deadline = time.monotonic() + (FREE_SECONDS if patient else 0.0)
        while True:
            try:
                self._supervisor.add(Part("broker", start, why, stage=2))
                break
            except BrokerError as error:
                if time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                hint = str(error).replace("--port", "--broker-port").replace("--data", "--data-dir")
                raise SettingsError(hint) from None
        self.settings = settings.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})

    def _look_around(self) -> str | None:
        """Makes sure of the topics, and says what is to be loaded; returns the live release."""
        from streams.releases.topic import roles_now
        from streams.transport import clients, topics
        from streams.transport.changed_topics import look
        from streams.transport.topics import Names

        with clients.admin(self.settings) as admin:
            topics.create_missing(admin, self.settings)
            topics.check(admin, self.settings)
        if self.wishes.files is not None:
            seen = look(self.settings)[Names(self.settings.prefix).clicks]
            self._load = self.notes.to_load(self.wishes.files, seen.identity)
        live = roles_now(self.settings).live
        return None if live is None else live.release

    def _begin_api(self) -> None:
        from streams.api.process import listening

        with contextlib.closing(listening(self.settings)) as bound:  # a port that is taken is said at once
            host, port = bound.getsockname()[:2]
        self.settings = self.settings.model_copy(update={"api_port": port})
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._part("api", stage=0)

    def _begin_work(self) -> None:
        """Learner and workers."""
        first = ("--release", str(self.notes.release)) if self.notes.trained else ()
        self._part("learner", *first)
        for number in range(self.wishes.workers):
            self._part(f"worker-{number}" if self.wishes.workers > 1 else "worker", command="worker")
        self._working = True

    def _part(
        self, name: str, *words: str, command: str = "", ends: bool = False, stage: int = 1, at: bool = True
    ) -> Part:
        """A command of ours as a part; `at`: it talks to the brokers."""

        def start() -> Running:
            settings = self.settings
            where = ("--prefix", settings.prefix, "--bootstrap-servers", settings.bootstrap_servers)
            return self._children.start(
                name, command or name, *(where if at else ()), *words, env=inherited(settings)
            )

        return self._supervisor.add(Part(name, start, lambda: self.journal.why(name), ends, stage))

    def _is_done(self, name: str) -> bool:
        part = self._supervisor.parts.get(name)
        return part is None or part.done

    def _heard(self, name: str, line: str) -> None:
        if name == "learner" and "learner ready" in line:
            self.counted = True
        self._hear(name, line)


def for_one_machine(settings: Settings) -> Settings:
    """What is usual on one machine, where nothing else was said."""
    if settings.provenance["canary_minutes"] != "default":
        return settings
    return settings.model_copy(update={"canary_minutes": CANARY_MINUTES})
