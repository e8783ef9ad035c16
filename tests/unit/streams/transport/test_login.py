"""Secrets on their way to a connection: read again when they change, and never said."""

import os
import ssl
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.settings import SettingsError, load_settings
from streams.transport import login
from tests.worlds.guarded import Authority, unsigned_token


def test_a_password_from_a_file_is_what_the_file_holds_now(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("with spaces \r\n")
    password = login.password(load_settings(sasl_password_file=file))
    assert password == "with spaces "
    assert isinstance(password, login.FromFile)
    file.write_text("second")
    assert password.again() == "second"
    file.write_text("")  # being written
    assert password.again() == "with spaces "


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot read"), (b"", "empty"), (b"\xff\xfe", "no text")]
)
def test_a_file_without_a_password_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"sasl_password_file.*{told}|sasl_password_file: .* {told}"):
        login.password(load_settings(sasl_password_file=file))


def test_certificates_that_are_renewed_are_loaded_again(tmp_path: Path) -> None:
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    cafile = tmp_path / "ca.pem"
    cafile.write_bytes(first.cafile.read_bytes())
    settings = load_settings(security_protocol="SSL", ssl_cafile=cafile)
    context = login.Certificates.of(settings)
    known = context.get_ca_certs()
    context.renew()
    assert context.get_ca_certs() == known
    cafile.write_text("half a certific")
    context.renew()
    assert context.get_ca_certs() == known
    new = tmp_path / "new.pem"
    new.write_bytes(second.cafile.read_bytes())
    new.replace(cafile)
    context.renew()
    assert len(context.get_ca_certs()) == len(known) + 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_key_behind_a_password_opens_with_its_file(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key = Authority(tmp_path).vouch("me")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"hush")
    key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    given = {"security_protocol": "SSL", "ssl_certfile": certificate, "ssl_keyfile": key}
    login.Certificates.of(load_settings(**given, ssl_password_file=secret))
    with pytest.raises(SettingsError, match="do not fit together"):
        login.Certificates.of(load_settings(**given))


def test_a_token_is_asked_for_again_before_it_expires(tmp_path: Path) -> None:
    file, now = tmp_path / "token", [1_000.0]
    token = login.Token(f"cat {file}", lambda: now[0])
    file.write_text('{"access_token": "one", "expires_in": 100}')
    assert token.get() == "one"
    file.write_text('{"access_token": "two", "expires_in": 100}')
    now[0] += 79
    assert token.get() == "one"
    now[0] += 2
    assert token.get() == "two"


def test_a_token_says_itself_when_it_expires(tmp_path: Path) -> None:
    file = tmp_path / "token"
    import time

    now = [time.time()]
    token = login.Token(f"cat {file}", lambda: now[0])
    file.write_text(first := unsigned_token(1000))
    assert token.get() == first
    file.write_text("an-opaque-one")
    now[0] += 700
    assert token.get() == first
    now[0] += 200
    assert token.get() == "an-opaque-one"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("sh -c 'echo told >&2; exit 3'", "exit code 3: told"),
        ("/nowhere/at/all", "cannot be run"),
        ("true", "printed no token"),
        ("echo two words", "printed no token"),
        ("""echo '{"token": "secret-one"}'""", "JSON without access_token"),
        ("echo 'unclosed", "cannot be run"),
    ],
)
def test_a_command_without_a_token_is_told(command: str, told: str) -> None:
    with pytest.raises(login.TokenError, match=told) as error:
        login.Token(command).get()
    assert "secret-one" not in str(error.value)
    assert error.value.exit_code == os.EX_CONFIG


def test_secrets_are_refused_on_the_command_line() -> None:
    said = CliRunner().invoke(app, ["settings", "--set", "sasl_password=hush"])
    assert said.exit_code == 2
    assert "NEXTCLICK_SASL_PASSWORD" in said.output
    assert "hush" not in said.output
