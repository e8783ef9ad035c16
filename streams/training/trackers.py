"""The trackers that there are, each around its library, which is imported when one is made.

Owns what these libraries are told: local files alone, nothing sent anywhere. Knows no settings.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

EXPERIMENT = "nextclick"
FLUSH_S = 5.0  # between two writes of what was logged
_AT_ONCE = 500  # points that are written together; MLflow takes 1,000


class TensorBoard:
    """Event files in a folder of the run's own; each process that logs to it adds a file."""

    def __init__(self, folder: Path, wall_s: Callable[[], float]) -> None:
        from tensorboard.summary import Writer

        self._wall_s, self._flushed_s = wall_s, wall_s()
        self._writer = Writer(str(folder))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds a point to each figure's curve."""
        now_s = self._wall_s()
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step, wall_time=now_s)
        if now_s - self._flushed_s >= FLUSH_S:
            self._writer.flush()
            self._flushed_s = now_s

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class MLflow:
    """A run in an SQLite file, found again by its name; `mlflow ui --backend-store-uri sqlite:///FILE`."""

    def __init__(self, file: Path, run: str, wall_s: Callable[[], float]) -> None:
        # Its figures of usage would go home, and where it is tidy it tells of each table that it makes.
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        import alembic  # noqa: F401 (MLflow hides which of them is missing)
        import sqlalchemy  # noqa: F401
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):  # it sets its own level when it is imported
            logging.getLogger(name).setLevel(logging.WARNING)
        self._metric, self._wall_s, self._flushed_s = Metric, wall_s, wall_s()
        with closing(sqlite3.connect(file)) as known:
            known.execute("PRAGMA schema_version")  # what is no database MLflow would ask again and again
        address = f"sqlite:///{file.resolve()}"
        self._client: Any = MlflowClient(tracking_uri=address, registry_uri=address)
        self._run = _found(self._client, run, file.resolve().with_name("mlflow-files"))
        self._waiting: list[Any] = []

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds a point to each figure's curve."""
        now_s = self._wall_s()
        for name, value in figures.items():
            allowed = re.sub(r"[^\w\-. /]", "_", name)
            self._waiting.append(self._metric(allowed, value, int(1000 * now_s), step))
        if now_s - self._flushed_s >= FLUSH_S or len(self._waiting) >= _AT_ONCE:
            self._flush()
            self._flushed_s = now_s

    def close(self) -> None:
        """Writes what is left, and ends the run."""
        self._flush()
        self._client.set_terminated(self._run)

    def _flush(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            self._client.log_batch(self._run, metrics=some)


def _found(client: Any, name: str, files: Path) -> str:
    """The id of the run of this name, begun where there is none."""
    known = client.get_experiment_by_name(EXPERIMENT)
    experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT, files.as_uri())
    runs = client.search_runs([experiment], f"attributes.run_name = '{name}'", max_results=1)
    if runs:
        client.update_run(runs[0].info.run_id, status="RUNNING")
        return str(runs[0].info.run_id)
    return str(client.create_run(experiment, run_name=name).info.run_id)
