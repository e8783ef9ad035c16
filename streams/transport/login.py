"""How this process proves to the brokers who it is, and knows them: password, token, certificates.

Owns the secrets from where they lie to the connection that is made with them. Passwords and certificates in
files and tokens are looked at again for each new connection, since others renew them while processes run.
Knows no client's life; nothing of it is ever logged.
"""

import base64
import binascii
import functools
import json
import shlex
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr

from streams.settings import Settings, SettingsError

TOKEN_SECONDS = 20.0  # that the command for a token may take
_UNDATED_SECONDS = 60.0  # for which a token that does not say when it expires is used
_EARLY = 0.2  # share of a token's life that is left when the next one is asked for


class TokenError(SettingsError):
    """The command for a token has failed: says how, and never what it printed."""


class FromFile(str):
    """A password as its file held it; `again` is what the file holds now."""

    __slots__ = ("_path",)
    _path: Path

    @classmethod
    def read(cls, name: str, path: Path) -> Self:
        """The file's text without the line's end. Raises SettingsError."""
        try:
            text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SettingsError(f"{name}: cannot read {path} ({why})") from None
        if not text:
            raise SettingsError(f"{name}: {path} is empty; expected the password in its first line")
        password = cls(text)
        password._path = path
        return password

    def again(self) -> str:
        """The password now; this one where the file is just being written anew."""
        try:
            return FromFile.read("", self._path)
        except SettingsError:
            return self


class Certificates(ssl.SSLContext):
    """A client's TLS context that knows its files."""

    _settings: Settings
    _seen: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The context that the ssl_* settings describe. Raises SettingsError."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = settings.ssl_check_hostname
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context._settings = settings
        context._seen = context._stamps()
        _load(settings, context)
        return context

    def renew(self) -> None:
        """Loads what has changed in the files; what is just being written anew is loaded at the next call."""
        now = self._stamps()
        if now == self._seen:
            return
        try:
            _load(self._settings, self)
        except SettingsError:
            return
        self._seen = now

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        """What changes when a file is written anew, or another one is put in its place."""
        settings = self._settings
        files = (settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile)
        stats = [file.stat() for file in files if file is not None and file.exists()]
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)


class Token:
    """What `sasl_token_command` prints: the token alone, or JSON with `access_token`.

    Run again when a fifth of the token's life is left. May be asked by several threads.
    """

    def __init__(self, command: str, clock: Callable[[], float] = time.time) -> None:
        self._command, self._clock = command, clock
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    @property
    def lasts(self) -> bool:
        """Whether `get` returns at once, and runs nothing."""
        return self._clock() < self._until

    def get(self) -> str:
        """The token now. Raises TokenError."""
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._token, lives_s = self._ask(now)
                self._until = now + lives_s * (1 - _EARLY)
            return self._token

    def _ask(self, now: float) -> tuple[str, float]:
        try:
            done = subprocess.run(
                shlex.split(self._command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=TOKEN_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TokenError(f"sasl_token_command did not end within {TOKEN_SECONDS:g} s") from None
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise TokenError(f"sasl_token_command cannot be run ({why})") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:]
            raise TokenError(f"sasl_token_command ended with exit code {done.returncode}: {''.join(said)}")
        token, lives_s = done.stdout.strip(), None
        if token.startswith("{"):
            try:
                answer = json.loads(token)
                token, lives_s = str(answer["access_token"]), answer.get("expires_in")
            except (ValueError, KeyError):
                raise TokenError("sasl_token_command printed JSON without access_token") from None
        if not token or any(character.isspace() for character in token):
            raise TokenError("sasl_token_command printed no token: expected one word, or JSON")
        return token, float(lives_s or _lives_s(token, now))


def password(settings: Settings) -> str | None:
    """The password for PLAIN and SCRAM, None without one. Raises SettingsError where its file has none."""
    if settings.sasl_password_file is not None:
        return FromFile.read("sasl_password_file", settings.sasl_password_file)
    return _revealed(settings.sasl_password)


@functools.lru_cache(maxsize=4)
def token_of(command: str) -> Token:
    """The one token of a command, for all clients of this process."""
    return Token(command)


def kafka_token(command: str) -> Any:
    """What kafka-python asks for tokens."""
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            return token_of(command).get()

    return Provider()


def async_token(command: str) -> Any:
    """What aiokafka asks for tokens."""
    import asyncio

    from aiokafka.abc import AbstractTokenProvider
    from aiokafka.errors import AuthenticationFailedError

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        async def token(self) -> str:
            asked = token_of(command)
            try:
                return asked.get() if asked.lasts else await asyncio.to_thread(asked.get)
            except TokenError as error:  # another kind would end a client that should try again
                raise AuthenticationFailedError(str(error)) from None

    return Provider()


def renewing(client: Any) -> None:
    """Makes an aiokafka client look for a new password and new certificates before it connects."""
    from aiokafka.client import ConnectionGroup

    get = client._get_conn

    async def got(node: Any, *, group: Any = ConnectionGroup.DEFAULT, **options: Any) -> Any:
        there = client._conns.get((node, group))
        if there is None or not there.connected():
            renew(client)
        return await get(node, group=group, **options)

    if isinstance(client._sasl_plain_password, FromFile) or isinstance(client._ssl_context, Certificates):
        client._get_conn = got


def renew(client: Any) -> None:
    """The client connects the next time with what its files hold now."""
    if isinstance(client._sasl_plain_password, FromFile):
        client._sasl_plain_password = client._sasl_plain_password.again()
    if isinstance(client._ssl_context, Certificates):
        client._ssl_context.renew()


def _load(settings: Settings, context: ssl.SSLContext) -> None:
    """Authorities and this client's certificate into the context. Raises SettingsError."""
    try:
        if settings.ssl_cafile is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(settings.ssl_cafile)
    except OSError as error:  # an SSLError is one
        raise SettingsError(
            f"ssl_cafile: {settings.ssl_cafile} holds no certificates in PEM form ({error})"
        ) from None
    if settings.ssl_certfile is None:
        return
    key_password = _revealed(settings.ssl_password)
    if settings.ssl_password_file is not None:
        key_password = FromFile.read("ssl_password_file", settings.ssl_password_file)
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, key_password or "")
    except OSError as error:
        raise SettingsError(
            f"ssl_certfile, ssl_keyfile and ssl_password do not fit together: {settings.ssl_certfile} "
            f"with the key in {settings.ssl_keyfile or settings.ssl_certfile} cannot be loaded ({error})"
        ) from None


def _lives_s(token: str, now: float) -> float:
    """How long a JWT lives by its own word, s; another token is used for a while."""
    try:
        body = token.split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return max(0.0, float(told["exp"]) - now)
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return _UNDATED_SECONDS


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
