"""The tracking store: mirrors journals of stages, and results of DVC experiments, into MLflow. Beside this, `models.logged` imports it.

Files are the truth, the store mirrors them. All that is sent carries the name of the journal or the key of the cell that
it comes from, so that sending it again adds nothing.

| run | parent | tags | holds |
|---|---|---|---|
| DVC experiment | - | journal, dvc_lock | params.yaml, reports/metrics.json; the report, its figures and tables as artifacts |
| stage execution | DVC experiment | journal, stage, dvc_experiment | settings, metrics by epoch, system metrics, hashes of files |
| cell | stage execution | cell, diverged | source, target, blocks, n_images, seed, source_model; accuracy by epoch; its model |

An execution has no parent before `track` has sent the experiment that it belongs to; what several experiments share stays with the first.
"""

import json
import logging
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody's runs are reported anywhere
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is away is tried for seconds, not for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for each of hundreds of runs

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from stages.lib.store import files, journal
from stages.lib.store.address import address, artifacts, settle, writable
from stages.lib.store.tables import DIVERGED

AWAY = (MlflowException, RequestException, SQLAlchemyError, sqlite3.Error, ImportError, OSError)
"""Errors that a store raises when it cannot be reached or written: a server that is away, a database without its driver, a bad file."""
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # MLflow's limits of one log_batch
LONGEST_PARAM = 6000  # MLflow's limit
LONGEST_DIGEST = 36  # MLflow's limit
PARENT = "mlflow.parentRunId"  # a tag that MLflow's UI shows runs below one another by
KIND = {"mlflow.experimentKind": "custom_model_development"}  # a tag by which MLflow's UI shows runs and models, not agents
IMAGES = "data/images/"  # inputs that are data sets; all others, such as weights, are noted by their hash alone


class Store:
    """One MLflow experiment of the store at `address()`; making the object makes the experiment and the store where they are missing.

    Raises:
        one of `AWAY` when the store cannot be reached.
    """

    def __init__(self, experiment: str):
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        with files.locked(journal.folder() / "store.lock", "the tracking store", lambda line: None):  # two migrations spoil each other
            if not os.environ.get("MLFLOW_TRACKING_URI"):
                settle()
            writable(address())
            self.client = MlflowClient(address(), registry_uri=address())  # not for the whole process, as `mlflow.set_tracking_uri` does
            stored = self.client.get_experiment_by_name(experiment)
            place = artifacts() if address().startswith("sqlite:") else None
            self.experiment = stored.experiment_id if stored else self.client.create_experiment(experiment, place, KIND)

    def runs(self, filter_string: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment], filter_string, max_results=1000, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def run(self, tag: str, value: str, **create: Any) -> Run:
        """The run of the experiment that carries the tag; it is created where there is none."""
        tags = create.pop("tags", {}) | {tag: value}
        run = next(self.runs(f"tags.{tag} = '{value}'"), None)
        return run or self.client.create_run(self.experiment, tags=tags, **create)

    def orphans(self, dvc_experiment: str) -> list[Run]:
        """Executions of stages of a DVC experiment of this name that belong to none yet."""
        found = self.runs(f"tags.dvc_experiment = '{dvc_experiment}' and tags.stage != 'experiment'")
        return [run for run in found if PARENT not in run.data.tags]

    def log(self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()) -> None:
        """Send metrics, parameters and tags of a run in as few calls as MLflow's limits allow."""
        parts = [_batches(metrics, MOST_METRICS), _batches(params, MOST_PARAMS), _batches(tags, MOST_TAGS)]
        for batch in zip_longest(*parts, fillvalue=()):
            self.client.log_batch(run_id, *batch, synchronous=True)


def _batches(items: Sequence, most: int) -> list[Sequence]:
    return [items[i : i + most] for i in range(0, len(items), most)]


class Mirror:
    """Sends one journal to the store, as far as it has been written."""

    def __init__(self, store: Store, path: Path):
        self.store, self.path = store, path
        self.sent = 0  # events
        self.run_id = ""
        self.cells: dict[str, Run] = {}

    def update(self) -> bool:
        """Send the events that are new; True once the stage has ended and all of its journal has arrived."""
        events, alive = journal.reading(self.path)
        new = events[self.sent :]
        if not self.run_id and new:
            self._begin(new[0])
        self._send(new)
        self.sent = len(events)
        if alive or not events:
            return not events and not alive
        last = events[-1]
        self.store.client.set_terminated(self.run_id, last.get("status", "KILLED"), last["time_ms"])
        return True

    def _begin(self, start: dict) -> None:
        tags = {name: str(start[name]) for name in ("stage", "dvc_experiment", "git_commit") if start.get(name)}
        run = self.store.run("journal", self.path.stem, run_name=start["name"], start_time=start["time_ms"], tags=tags)
        self.run_id = run.info.run_id
        self.cells = {c.data.tags["cell"]: c for c in self.store.runs(f"tags.`{PARENT}` = '{self.run_id}'") if "cell" in c.data.tags}

    def _send(self, events: list[dict]) -> None:
        of = lambda kind: [e for e in events if e["event"] == kind]  # noqa: E731
        metrics = [Metric(name, value, e["time_ms"], e["step"]) for e in of("metrics") for name, value in e["values"].items()]
        params = [Param(name, str(value)[:LONGEST_PARAM]) for e in of("params") for name, value in e["values"].items()]
        hashes = [RunTag(f"{e['role']}.{e['path']}", str(e["digest"])) for e in of("file")]
        notes = [RunTag("mlflow.note.content", e["text"]) for e in of("note")[-1:]]
        self.store.log(self.run_id, metrics, params, hashes + notes)
        images = [e for e in of("file") if e["role"] == "input" and e["digest"] and e["path"].startswith(IMAGES)]
        if images:
            self.store.client.log_inputs(self.run_id, [dataset_input(Path(e["path"]).parts[2], e["digest"]) for e in images])
        for cell in of("cell"):
            send_cell(self.store, self.run_id, cell, self.cells.get(cell["key"]))


def dataset_input(name: str, digest: str, split: str | None = None) -> DatasetInput:
    """An image set, or one of its splits, as the input of a run."""
    source = json.dumps({"uri": f"{IMAGES}{name}"})
    return DatasetInput(Dataset(name, digest[:LONGEST_DIGEST], "local", source), [InputTag("mlflow.data.context", split)] if split else [])


def send_cell(store: Store, parent: str, cell: dict, run: Run | None = None) -> None:
    """Send a cell as a child run, with its metrics by epoch; a run that arrived whole is left as it is.

    Args:
        cell: key, params, history [(epoch, {metric: value})], time_ms of its end, seconds that it took, where they are known. Values that
            are no numbers are not sent; where the history says that the run has `diverged`, the run has a tag of that name:
            `tags.diverged = 'true'` finds all of them.
        run: the cell's run in the store, finished or begun; None where none is known, so that it is looked for.
    """
    with files.locked(journal.folder() / "cells.lock", "the tracking store", lambda line: None):  # two experiments may send at once
        _send_cell(store, parent, cell, run or next(store.runs(f"tags.cell LIKE '{cell['key'][:16]}%'"), None))


def _send_cell(store: Store, parent: str, cell: dict, run: Run | None) -> None:
    if run is not None and run.info.status == "FINISHED":
        return
    time_ms, params = cell["time_ms"], cell["params"]
    if run is None:
        name = "-".join(str(value) for value in params.values())
        tags = {PARENT: parent, "cell": cell["key"], "kind": "cell"}
        tags |= {DIVERGED: "true"} if any(values.get(DIVERGED) for _, values in cell["history"]) else {}
        run = store.client.create_run(store.experiment, time_ms - round(1000 * cell.get("seconds", 0)), tags, name)
    metrics = [
        Metric(name, value, time_ms, epoch)
        for epoch, values in cell["history"]
        for name, value in values.items()
        if name != DIVERGED and value is not None and math.isfinite(value)
    ]
    store.log(run.info.run_id, metrics, [Param(name, str(value)) for name, value in params.items()])
    store.client.set_terminated(run.info.run_id, "FINISHED", time_ms)


def mirror(store: Store, path: Path) -> None:
    """Send a journal to the store, for as long as its stage lives, and then put it away.

    One process at a time mirrors a journal: a second process waits for the first, and then has nothing left to send.
    """
    with files.locked(path.with_suffix(".lock"), path.name, lambda line: None):
        if path.is_file():
            sender = Mirror(store, path)
            while not sender.update():
                time.sleep(1)
            put_away(path)
    path.with_suffix(".lock").unlink(missing_ok=True)


def put_away(path: Path) -> None:
    kept = path.parent / "mirrored" / path.name
    kept.parent.mkdir(exist_ok=True)
    path.replace(kept)
    path.with_suffix(".log").unlink(missing_ok=True)


def pending() -> list[Path]:
    """Journals that have not arrived in the store, oldest first."""
    return sorted(journal.folder().glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
