"""Settings: which source wins, where a value came from, and what a wrong one is told."""

from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError, load_settings, strange_variables


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_command_line_beats_environment_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("nextclick.toml").write_text('k = 5\nprefix = "file."\nclock = "stream"\n')
    monkeypatch.setenv("NEXTCLICK_K", "6")
    monkeypatch.setenv("NEXTCLICK_PREFIX", "env.")
    settings = load_settings(k=7)
    assert (settings.k, settings.prefix, settings.clock, settings.pin) == (7, "env.", "stream", False)
    assert settings.provenance["k"] == "command line"
    assert settings.provenance["prefix"] == "environment NEXTCLICK_PREFIX"
    assert settings.provenance["clock"] == "file nextclick.toml"
    assert settings.provenance["pin"] == "default"


def test_flags_not_given_count_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_K", "6")
    assert load_settings(k=None).k == 6


def test_every_setting_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "broker_port": "1234",
        "pin": "true",
        "data_dir": "/somewhere",
        "exploration": "0.5",
        "slot": "3",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"NEXTCLICK_{name.upper()}", value)
    settings = load_settings()
    assert settings.broker_port == 1234
    assert settings.pin is True
    assert settings.data_dir == Path("/somewhere")
    assert settings.exploration == 0.5
    assert settings.slot == 3


def test_a_table_of_the_file_is_a_prefix(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('k = 3\n[broker]\nport = 1234\nheap = "1g"\n')
    settings = load_settings(file)
    assert (settings.k, settings.broker_port, settings.broker_heap) == (3, 1234, "1g")
    assert settings.provenance["broker_port"] == f"file {file}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("k = 'many'", r"k \(file nextclick.toml\): .*integer.*got 'many'"),
        ("kk = 3", r"kk \(file nextclick.toml\) is no setting"),
        ("k = ", "is no TOML"),
        ("k = 0", "greater than or equal to 1"),
        ("prefix = 'a b'", "prefix"),
        ("broker_heap = 'lots'", "broker_heap"),
        ("security_protocol = 'SASL_SSL'", "needs sasl_mechanism"),
        ("security_protocol = 'SASL_SSL'\nsasl_mechanism = 'PLAIN'", "sasl_username"),
        ("security_protocol = 'SASL_SSL'\nsasl_mechanism = 'OAUTHBEARER'", "sasl_token_command"),
        ("sasl_password = 'a'\nsasl_password_file = 'b'", "which of them holds"),
    ],
)
def test_a_wrong_value_is_named_with_its_source(text: str, told: str) -> None:
    Path("nextclick.toml").write_text(text)
    with pytest.raises(SettingsError, match=told):
        load_settings()


def test_a_missing_file_that_was_asked_for_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_settings(Path("nowhere.toml"))


def test_secrets_are_masked_where_settings_are_shown() -> None:
    settings = load_settings(sasl_password="hush")
    assert "hush" not in str(settings.shown())
    assert "hush" not in repr(settings)
    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == "hush"


def test_a_wrong_secret_is_not_told() -> None:
    Path("nextclick.toml").write_text("sasl_password = 12345")
    with pytest.raises(SettingsError, match="sasl_password") as error:
        load_settings()
    assert "12345" not in str(error.value)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_login_and_certificates_reach_the_clients(tmp_path: Path) -> None:
    from streams.transport.clients import async_connection, connection

    plain = load_settings(bootstrap_servers="a:1,b:2")
    assert connection(plain)["bootstrap_servers"] == ["a:1", "b:2"]
    assert "sasl_mechanism" not in async_connection(plain)
    login = load_settings(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="me",
        sasl_password="hush", ssl_check_hostname=False,
    )  # fmt: skip
    for arguments in (connection(login), async_connection(login)):
        assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
        assert arguments["sasl_plain_username"] == "me"
        assert arguments["sasl_plain_password"] == "hush"
        assert arguments["ssl_context"].check_hostname is False


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant() -> None:
    said = list(
        strange_variables(
            {
                "NEXTCLICK_K": "5", "nextclick_slot": "1", "NEXTCLICK_BOOTSTRAP_SERVER": "x", "PATH": "/bin",
                "NEXTCLICK_TEAPOT": "1", "NEXTCLICK_DATA": "/d", "NEXTCLICK_TEST_RELEASE": "/r",
                "NEXTCLICK_SERVICE_HOST": "10.0.0.1", "NEXTCLICK_PORT_8000_TCP_ADDR": "10.0.0.1",
                "NEXTCLICK_WORKER_SERVICE_PORT": "80",
            }
        )
    )  # fmt: skip
    assert len(said) == 2
    assert "NEXTCLICK_BOOTSTRAP_SERVER is no setting" in said[0]
    assert "did you mean NEXTCLICK_BOOTSTRAP_SERVERS?" in said[0]
    assert "NEXTCLICK_TEAPOT is no setting" in said[1]


def test_weights_of_events_come_from_everywhere_and_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings().event_weights == {}
    file = tmp_path / "n.toml"
    file.write_text("event_weights = {purchase = 5, View = 0.2, click = 1}")
    in_file = load_settings(file).event_weights
    file.write_text("[event_weights]\npurchase = 5\nview = 0.2")
    assert in_file == load_settings(file).event_weights == {"purchase": 5.0, "view": 0.2}
    for written in ("purchase=5, view=.2", "{purchase = 5, view = 0.2}"):
        assert load_settings(event_weights=written).event_weights == in_file
    monkeypatch.setenv("NEXTCLICK_EVENT_WEIGHTS", '{"purchase": 5, "view": 0.2}')
    assert load_settings().event_weights == in_file
    assert load_settings().shown()["event_weights"] == "purchase=5,view=0.2"
    assert load_settings(event_weights="like=0").event_weights == {"like": 0.0}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("purchase", "expected EVENT=NUMBER"),
        ("buy=5", "'buy' is no event; there are view, click, purchase, rating, like"),
        ("dislike=2", "dislike is never counted"),
        ("purchase=-1", "purchase=-1: a weight is 0, or from 0.001 to 1000"),
        ("purchase=nan", "a weight is 0, or from"),
        ("purchase=inf", "a weight is 0, or from"),
        ("purchase=much", "purchase=much: expected a number"),
        ('{"view": true}', "a weight is 0, or from"),
        ("[1]", "expected a table"),
    ],
)
def test_weights_that_cannot_be_are_told_in_a_line(wrong: str, told: str) -> None:
    with pytest.raises(SettingsError, match=r"^event_weights \(command line\): [^\n]*$") as error:
        load_settings(event_weights=wrong)
    assert told in str(error.value)
    assert error.value.exit_code == 78
