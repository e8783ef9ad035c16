"""An image built and run without a container engine: the steps of a Dockerfile, carried out in bare roots.

Owns what `docker build` and `docker run --read-only` would do, as far as this project's Dockerfile asks for
it: debootstrap makes the base, bwrap runs each step in its root and, at last, the command as its user, who
can read everything and write to one folder. Knows no layers and no registries. Needs root, both programs.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.worlds.places import ROOT

# What a build has from the machine that it runs on: how names are found, and whom package registries trust.
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf")
NETWORK_VARIABLES = re.compile(r"PIP_\w+|UV_\w+|REQUESTS_CA_BUNDLE|SSL_CERT_FILE|\w+_proxy|\w+_PROXY")
TRUSTED, TRUSTED_THERE = "/etc/ssl/certs/ca-certificates.crt", "/run/trusted.crt"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Debian's slim images leave these out.
_NOT_SLIM = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/lib/apt/lists")
_RIGHTS = ("CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE")  # until setpriv has become the user, who has none
SHARED_BYTES = str(64 * 1024 * 1024)  # of /dev/shm, as engines and Kubernetes have it
_CACHED = re.compile(r"--mount=type=cache,target=(\S+)\s+")
Instruction = tuple[str, str]


@dataclass(frozen=True)
class Image:
    """A root folder, and what a container of it begins with."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What its files hold, each once."""
        files = (path.lstat() for path in self.root.rglob("*") if path.is_symlink() or not path.is_dir())
        return sum({(each.st_dev, each.st_ino): each.st_size for each in files}.values())

    def running(self, *command: str, data: Path, **environment: str) -> list[str]:
        """A command line that runs it as its user, read-only but for `data` at /data, which is given them."""
        uid, gid = self.user.split(":")
        for path in (data, *data.rglob("*")):
            os.chown(path, int(uid), int(gid), follow_symlinks=False)
        return [
            "bwrap", "--ro-bind", str(self.root), "/", "--bind", str(data), "/data", "--proc", "/proc",
            "--dev", "/dev", "--size", SHARED_BYTES, "--perms", "1777", "--tmpfs", "/dev/shm",
            "--unshare-ipc", "--unshare-uts", "--die-with-parent",
            "--cap-drop", "ALL",
            *(word for right in _RIGHTS for word in ("--cap-add", right)),
            "--clearenv", *_set({**self.environment, **environment}), "--chdir", self.workdir, "--",
            "setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs", *command,
        ]  # fmt: skip


def instructions(dockerfile: Path) -> list[Instruction]:
    """Name and text of each instruction, with its continued lines joined and comments left out."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined) if name]


def build(dockerfile: Path, target: str, work: Path, context: Path = ROOT) -> Image:
    """Carries out the stages that `target` needs, in folders of `work`; raises CalledProcessError."""
    stages: dict[str, list[Instruction]] = {}
    given: dict[str, str] = {}
    for name, text in instructions(dockerfile):
        if name == "FROM":
            origin, _, stage = text.partition(" AS ")
            stages[stage] = [("FROM", origin)]
        elif not stages:
            given |= [text.split("=", 1)]
        else:
            stages[list(stages)[-1]].append((name, text))
    built: dict[str, Image] = {}

    def stage_of(name: str) -> Image:
        if name not in built:
            built[name] = carried_out(name)
        return built[name]

    def carried_out(name: str) -> Image:
        (_, origin), *steps = stages[name]
        root = work / name
        if origin in stages:
            image = replace(stage_of(origin), root=root)
            subprocess.run(["cp", "-a", "--reflink=auto", str(built[origin].root), str(root)], check=True)
        else:
            debian(_expanded(origin, given), root)
            image = Image(root)
        arguments = dict(given)
        for step, text in steps:
            if step == "COPY":
                words = text.split()
                origin = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
                _copy(stage_of(origin).root if origin else context, words, root, image.workdir)
            else:
                image = _done(step, text, image, arguments)
        return image

    return stage_of(target)


def debian(image: str, root: Path) -> None:
    """What `debian:SUITE-slim` holds, from the machine's own mirror."""
    suite = image.removeprefix("debian:").removesuffix("-slim")
    told = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    known = subprocess.run(told, check=True, capture_output=True, text=True).stdout.split()
    mirror = next(each for each in known if each.startswith("http") and each.rstrip("/").endswith("/debian"))
    subprocess.run(
        ["debootstrap", "--variant=minbase", suite, str(root), mirror],
        check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip
    for folder in _NOT_SLIM:
        shutil.rmtree(root / folder, ignore_errors=True)
    for package in (root / "var/cache/apt").rglob("*.*"):
        package.unlink()


def _done(step: str, text: str, image: Image, arguments: dict[str, str]) -> Image:
    """The image after a step; `arguments` are those of the build so far."""
    if step == "RUN":
        cached = _CACHED.match(text)
        _run(text[cached.end() :] if cached else text, image, arguments, cached and cached.group(1))
        return image
    if step == "ARG":
        name, _, value = text.partition("=")
        arguments.setdefault(name, value)
        return image
    if step == "ENV":
        known = {**arguments, **image.environment}
        pairs = [word.partition("=")[::2] for word in shlex.split(text)]
        more = {name: _expanded(value, known) for name, value in pairs}
        return replace(image, environment={**image.environment, **more})
    if step == "WORKDIR":
        (image.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return replace(image, workdir=text)
    if step == "USER":
        return replace(image, user=text)
    if step in ("ENTRYPOINT", "CMD"):
        words = tuple(re.findall(r'"([^"]*)"', text))
        return replace(image, **{"entrypoint" if step == "ENTRYPOINT" else "command": words})
    if step in ("VOLUME", "EXPOSE", "HEALTHCHECK"):
        return image
    raise ValueError(f"{step} {text}: no such step is known here")


def _run(text: str, image: Image, arguments: Mapping[str, str], cached: str | None) -> None:
    inherited = {
        name: value.replace(TRUSTED, TRUSTED_THERE)
        for name, value in os.environ.items()
        if NETWORK_VARIABLES.fullmatch(name)
    }
    for path in NETWORK:  # a file can only be laid over one that is there
        if Path(path).exists() and not (image.root / path[1:]).exists():
            (image.root / path[1:]).touch()
    cache = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    shown = [*NETWORK, *filter(None, [os.environ.get("PIP_FIND_LINKS")])]
    command = [
        "bwrap", "--bind", str(image.root), "/", "--proc", "/proc", "--dev", "/dev",
        "--perms", "1777", "--tmpfs", "/tmp", *(("--bind", str(cache), cached) if cached else ()),
        *(word for path in shown for word in ("--ro-bind-try", path, path)),
        "--ro-bind-try", TRUSTED, TRUSTED_THERE, "--cap-add", "ALL", "--clearenv",
        *_set({**inherited, "HOME": "/root", "PATH": PATH, **arguments, **image.environment}),
        "--chdir", image.workdir, "--", "/bin/sh", "-c", text,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def _copy(source: Path, words: Iterable[str], root: Path, workdir: str) -> None:
    *names, to = words
    target = root / Path(workdir, to).as_posix().lstrip("/")
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            left_out = shutil.ignore_patterns("__pycache__") if source == ROOT else None  # .dockerignore's
            shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True, ignore=left_out)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, target / origin.name)


def _expanded(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: known[found.group(1)], text)


def _set(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        yield from ("--setenv", name, value)
