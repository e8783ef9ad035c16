"""The files of `deploy/` beside each other and beside what they speak of: settings, users, the README."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.chart_check import fitting_settings, known_metrics
from deploy.tools import Wrong
from streams.settings import Settings
from tests.worlds.places import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "containers" / "Dockerfile").read_text()
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def named() -> Iterator[tuple[Path, str]]:
    """Each variable of ours that a file gives to a process."""
    for file in (
        DEPLOY / "containers" / "Dockerfile",
        DEPLOY / "compose.yaml",
        *(DEPLOY / "systemd").iterdir(),
    ):
        for name in re.findall(r"\bNEXTCLICK_([A-Z_]+)[=:]", file.read_text()):
            yield file, name.lower()


def test_each_variable_is_a_setting() -> None:
    assert {(file.name, name) for file, name in named() if name not in Settings.model_fields} == set()
    assert len(list(named())) > 10


def test_what_the_chart_sets_and_asks_for_is_looked_up() -> None:
    safe = {"NEXTCLICK_SECURITY_PROTOCOL": "SASL_SSL", "NEXTCLICK_SSL_CAFILE": "/secrets/kafka-ca/ca.crt"}
    login = {"NEXTCLICK_SASL_MECHANISM": "PLAIN", "NEXTCLICK_SASL_USERNAME": "me"}
    password = {"NEXTCLICK_SASL_PASSWORD_FILE": "/secrets/kafka-user/password"}
    fitting_settings(safe | login | password | {"AWS_ENDPOINT_URL": "http://s3"})
    known_metrics(["max(nextclick_lag_seconds)", "rate(nextclick_freshness_seconds_bucket[1m])"])
    with pytest.raises(Wrong, match="slots"):
        fitting_settings({"NEXTCLICK_SLOTS": "1"})
    with pytest.raises(Wrong, match="needs sasl_username, and sasl_password or"):
        fitting_settings(safe | login)
    with pytest.raises(Wrong, match=r"nobody tells: nextclick_lag$"):
        known_metrics(["max(nextclick_lag)"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_says_what_the_readme_says(unit: Path) -> None:
    text = unit.read_text()
    (shown,) = re.findall(r"```ini\n\[Service\]\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    for line in shown.strip().splitlines():
        assert line in text or line.startswith("ExecStart=/opt/nextclick/.venv/bin/nextclick "), line
    assert re.search(r"^ExecStart=/opt/nextclick/\.venv/bin/nextclick ", text, re.M)
    assert os.EX_CONFIG == 78


def test_all_run_as_the_images_user() -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.M)
    assert f"runAsUser: {user}" in (DEPLOY / "chart" / "templates" / "_helpers.tpl").read_text()
    assert f'[chown, "{user}:{user}", /releases]' in (DEPLOY / "compose.yaml").read_text()


def test_compose_builds_stages_that_there_are() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M)
    asked = re.findall(r"\btarget: ([\w-]+)", (DEPLOY / "compose.yaml").read_text())
    assert set(asked) == {"serve", "learner"}
    assert {*asked} <= {*stages}
    bases = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.M)
    assert all(re.search(r":[\w.-]+$", base) and not base.endswith(":latest") for base in bases)
    assert len(bases) == 1


def test_images_install_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    serve, learner = (set(named.split(",")) for named in re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE))
    assert serve | learner <= extras.keys()
    assert "learner" in learner
    assert not {"learner", "broker", "dev"} & serve  # neither torch nor a Java
    assert "s3" in serve & learner  # the store of the chart, and of compose's profile
