"""Whether the files of `deploy/` are what the tools that read them expect: `make deploy-check`.

Owns what is asked of each. A tool that is missing is a failure with CI=true and a line elsewhere; helm, which
Go builds in a minute or two where it can, is a line everywhere. Runs no container.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deploy.chart_check import chart
from deploy.tools import IN_CI, ROOT, Missing, Wrong, build_helm, install, run, tool

DEPLOY = ROOT / "deploy"
BUILD_SECONDS = 200  # for helm, from the beginning on
OLDEST_SYSTEMD = 250  # that judges units without running them
MOST_EXPOSED = 20  # of 100, as `systemd-analyze security` counts


def containers() -> str:
    """hadolint over the Dockerfile; each thing that it copies is there, and in the build's context."""
    file = DEPLOY / "containers" / "Dockerfile"
    run(tool("hadolint"), file)
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+)$", file.read_text(), re.M):
        for name in line.split()[:-1]:
            if not (ROOT / name).exists() or name not in let_in:
                raise Wrong(f"COPY {name}: not there, or not let in by .dockerignore")
    return "hadolint finds nothing"


def scripts() -> str:
    """shellcheck over what a shell runs."""
    files = sorted(DEPLOY.rglob("*.sh"))
    run(tool("shellcheck"), *files)
    return f"shellcheck finds nothing in {', '.join(file.name for file in files)}"


def compose() -> str:
    """compose.yaml as docker compose reads it; what it mounts is there, and each image has a tag."""
    command = [tool("docker-compose"), "-f", DEPLOY / "compose.yaml", "--profile", "*", "config"]
    services = json.loads(run(*command, "--format", "json"))["services"]
    for name, service in services.items():
        if "build" not in service and not re.search(r":[\w.-]+$", service["image"]):
            raise Wrong(f"compose.yaml: {name} has an image without a tag")
        for volume in service.get("volumes", ()):
            source = Path(volume["source"])  # a folder that is not there is made
            if volume["type"] == "bind" and source.suffix and not source.exists():
                raise Wrong(f"compose.yaml: {name} mounts {source}, which is not there")
    return f"docker compose reads {len(services)} services"


def units() -> str:
    """systemd-analyze over the units, with a program of this machine in the place of the installed one."""
    analyze = tool("systemd-analyze")
    version = re.search(r"systemd (\d+)", run(analyze, "--version"))
    if version is None or int(version[1]) < OLDEST_SYSTEMD:
        raise Missing(f"systemd-analyze {OLDEST_SYSTEMD} or later is not here")
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for file in sorted((DEPLOY / "systemd").glob("*.service")):
            text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", file.read_text())
            copies.append(Path(folder) / file.name.replace("@", "@0"))
            copies[-1].write_text(text)
        run(analyze, "--man=no", "verify", *copies)
        for copy in copies:
            run(analyze, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", copy)
    return f"systemd-analyze verifies {len(copies)} units, none exposed more than {MOST_EXPOSED / 10} of 10"


def rules() -> str:
    """promtool over rules and their tests, told apart by their first key, and over compose's scraping."""
    promtool = tool("promtool")
    files = [file for file in sorted((DEPLOY / "prometheus").rglob("*.y*ml")) if file.is_file()]
    tests = [file for file in files if re.search(r"^tests:", file.read_text(), re.M)]
    checked = [file for file in files if re.search(r"^groups:", file.read_text(), re.M)]
    for file in checked:
        run(promtool, "check", "rules", file)
    for file in tests:
        run(promtool, "test", "rules", file)
    run(promtool, "check", "config", "--syntax-only", DEPLOY / "compose" / "prometheus.yml")
    return f"promtool accepts {len(checked)} files of rules and {len(tests)} of their tests"


STEPS = (containers, scripts, compose, units, rules, chart)


def main() -> int:
    """Runs all checks; returns how many have failed."""
    began, failed = time.monotonic(), 0
    try:
        install()
    except Missing as missing:
        print(f"deploy-check: SKIPPED, {missing}", flush=True)
        return int(IN_CI)
    helm = build_helm()
    for step in STEPS:
        try:
            if step is chart and helm is not None:
                helm.wait(max(1.0, BUILD_SECONDS - (time.monotonic() - began)))
            print(f"deploy-check: {step.__name__}: {step()}", flush=True)
        except (Missing, subprocess.TimeoutExpired) as missing:
            failed += IN_CI and step is not chart
            print(f"deploy-check: {step.__name__}: SKIPPED, {missing}", flush=True)
        except Wrong as wrong:
            failed += 1
            print(f"deploy-check: {step.__name__}: FAILED\n{wrong}", flush=True)
    if helm is not None and helm.poll() is None:
        helm.kill()
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
