"""Which settings of student and ranker a training uses, and the file that `nextclick tune` writes them to.

Owns the file's form: TOML with a table for each model, whose keys are the fields of its configuration. A key
left out means the default. Knows no data.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from learner.models.settings import RankerConfig, StudentConfig


class TrainingSettingsError(ValueError):
    """A settings file that cannot be used: names the file, the key and what was expected."""


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training. `student.prior_weight` is chosen from the data unless `prior` fixes it.

    With `distil` student and rankers learn from teachers and from an ensemble too, which are trained first.
    """

    student: StudentConfig = field(default_factory=StudentConfig)
    ranker: RankerConfig = field(default_factory=RankerConfig)
    prior: float | None = None  # weight of the popularity prior; None: tried out in each training
    distil: bool = False  # costs several times the training, and gives little (docs/log.md)

    @classmethod
    def read(cls, path: Path) -> "TrainingSettings":
        """Reads a file; raises TrainingSettingsError."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TrainingSettingsError(f"cannot read the training settings {path}: {error}") from None
        for key in table:
            if key not in ("student", "ranker", "prior", "distil"):
                raise TrainingSettingsError(
                    f"{path}: expected the tables student and ranker, prior (a number) and distil (true or "
                    f"false), got {key}"
                )
        prior, distil = table.get("prior"), table.get("distil", False)
        if not isinstance(distil, bool):
            raise TrainingSettingsError(f"{path}: distil: expected true or false, got {distil!r}")
        return cls(
            student=_changed(StudentConfig(), table.get("student", {}), f"{path}: student"),
            ranker=_changed(RankerConfig(), table.get("ranker", {}), f"{path}: ranker"),
            prior=None if prior is None else float(prior),
            distil=distil,
        )

    def write(self, path: Path, remarks: str = "") -> None:
        """Writes what differs from the defaults, under `remarks` as comments."""
        table: dict[str, Any] = {} if self.prior is None else {"prior": self.prior}
        if self.distil:
            table["distil"] = True
        table["student"] = _differences(self.student, StudentConfig())
        table["ranker"] = _differences(self.ranker, RankerConfig())
        comments = "".join(f"# {line}\n" for line in remarks.splitlines())
        path.write_text(comments + tomli_w.dumps(table), encoding="utf-8")


Config = TypeVar("Config", StudentConfig, RankerConfig)


def _differences(config: Config, default: Config) -> dict[str, Any]:
    given, plain = asdict(config), asdict(default)
    return {name: value for name, value in given.items() if value != plain[name]}


def _changed(config: Config, table: Mapping[str, Any], where: str) -> Config:
    found: dict[str, Any] = {}
    for key, value in table.items():
        now = getattr(config, key, None)
        if now is None:
            names = ", ".join(each.name for each in fields(config))
            raise TrainingSettingsError(f"{where} has no setting {key}; there are {names}")
        if isinstance(now, tuple):
            value = tuple(value) if isinstance(value, list) else value
        elif isinstance(now, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(now):
            raise TrainingSettingsError(f"{where}.{key}: expected something like {now!r}, got {value!r}")
        found[key] = value
    return replace(config, **found)
