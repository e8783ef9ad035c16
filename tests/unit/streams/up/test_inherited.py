"""A child has the settings of its parent, wherever these came from."""

from pathlib import Path

import pytest

from streams.settings import load_settings
from streams.up.inherited import inherited


def test_a_child_has_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'k = 7\nevent_names = {add_to_cart = "like"}\nevent_weights = {purchase = 5}\npin = true\n'
        'release_store = "s3://bucket/x"\n'
    )
    monkeypatch.setenv("NEXTCLICK_SASL_PASSWORD", 'secret, with "quotes"')
    given = load_settings(
        file, security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u",
        prefix="shop.", data_dir=tmp_path / "data", canary_minutes=30.0,
    )  # fmt: skip
    given = given.model_copy(update={"api_port": 0, "bootstrap_servers": "127.0.0.1:1234"})
    for name, value in inherited(given).items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    for name in type(given).model_fields:
        assert getattr(child, name) == getattr(given, name), name


def test_what_a_file_says_is_overruled_by_a_flag_that_says_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nextclick.toml").write_text("k = 7\n")
    for name, value in inherited(load_settings(k=10)).items():
        monkeypatch.setenv(name, value)
    assert load_settings().k == 10
