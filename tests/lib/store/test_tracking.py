"""Journals mirrored into real stores: SQLite, and an `mlflow server` over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from stages.lib.errors import RunError
from stages.lib.store import journal, tracking

HISTORY = [(1, {"test_accuracy": 40.0, "train_loss": 2.0}), (11, {"test_accuracy": 60.0, "train_loss": 1.0})]
CELL = {"source": "natural", "target": "digits", "blocks": "1", "n_images": 100, "seed": 20000000}


@pytest.fixture
def sqlite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(journal, "LIVE_AFTER_S", 1e6)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real tracking server on 127.0.0.1."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log", "w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(20)


@pytest.fixture(params=["sqlite", "server"])
def store(request, sqlite, monkeypatch) -> tracking.Store:
    if request.param == "server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("server"))
    return tracking.Store(f"experiment of {sqlite.name}")


def written(status="FINISHED"):
    """The journal of a stage with two epochs and a cell."""
    with journal.execution("finetune", "natural", "digits", settings={"lr": 0.1, "keep": {"blocks": [1]}}, inputs=[], outputs=[]) as record:
        record.metrics({"loss": 1.5}, 1)
        record.metrics({"loss": 0.5}, 2)
        record.cell("ab" * 32, CELL, HISTORY)
        if status == "FAILED":
            raise RunError("params.yaml: too much")
    return record.path


def test_a_stage_becomes_a_run_and_its_cells_children(store):
    path = written()
    tracking.mirror(store, path)
    runs = {run.info.run_name: run for run in store.runs("")}
    parent = runs["finetune@natural-digits"]
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"finetune.lr": "0.1", "finetune.keep.blocks": "[1]"}
    history = store.client.get_metric_history(parent.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.5), (2, 0.5)]
    assert parent.data.metrics["duration_s"] >= 0
    child = runs["natural-digits-1-100-20000000"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {name: str(value) for name, value in CELL.items()}
    history = store.client.get_metric_history(child.info.run_id, "test_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 40.0), (11, 60.0)]


def test_a_run_that_diverged_arrives_whole_and_has_a_tag(store):
    history = [
        (1, {"test_accuracy": 40.0, "train_loss": 2.0, "diverged": False}),
        (2, {"test_accuracy": 10.0, "train_loss": None, "diverged": True}),
    ]
    parent = store.run("journal", "a").info.run_id
    for key, epochs in (
        ("aa", history),
        ("bb", history[:1]),
        ("cc", [(2, {"test_accuracy": 10.0, "train_loss": float("nan"), "diverged": True})]),
    ):
        tracking.send_cell(store, parent, {"key": key, "params": CELL, "history": epochs, "time_ms": 0})
    found = {run.data.tags["cell"]: run for run in store.runs("tags.diverged = 'true'")}
    assert set(found) == {"aa", "cc"}
    assert found["aa"].data.metrics == {"test_accuracy": 10.0, "train_loss": 2.0}
    assert found["aa"].info.status == "FINISHED"


def test_what_has_arrived_is_put_away_and_sending_it_again_adds_nothing(store):
    path = written()
    tracking.mirror(store, path)
    assert tracking.pending() == []
    before = [(run.info.run_id, run.data.metrics) for run in store.runs("")]
    (path.parent / "mirrored" / path.name).rename(path)
    tracking.mirror(store, path)
    assert [(run.info.run_id, run.data.metrics) for run in store.runs("")] == before
    run = next(run for run in store.runs("") if run.info.run_name.startswith("finetune"))
    assert len(store.client.get_metric_history(run.info.run_id, "loss")) == 2


def test_a_stage_that_failed_says_why(store):
    with pytest.raises(RunError):
        written("FAILED")
    tracking.mirror(store, tracking.pending()[0])
    run = next(store.runs("tags.stage = 'finetune'"))
    assert run.info.status == "FAILED"
    assert run.data.tags["mlflow.note.content"] == "params.yaml: too much"


def test_inputs_and_outputs_are_there_with_their_hashes(store, sqlite):
    (sqlite / "in.bin").write_bytes(b"in")
    with journal.execution("upscale", "digits", settings={}, inputs=[sqlite / "in.bin"], outputs=[sqlite / "out.bin"]) as record:
        (sqlite / "out.bin").write_bytes(b"out")
    tracking.mirror(store, record.path)
    run = next(store.runs("tags.stage = 'upscale'"))
    assert len(run.data.tags[f"output.{sqlite / 'out.bin'}"]) == 64
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == [str(sqlite / "in.bin")]


def test_a_journal_is_mirrored_while_its_stage_lives(sqlite):
    store = tracking.Store("live")
    record = journal.Journal("source@natural", "source")
    record.metrics({"loss": 2.0}, 1)
    sender = tracking.Mirror(store, record.path)
    assert sender.update() is False
    run = next(store.runs("tags.stage = 'source'"))
    assert (run.info.status, run.data.metrics) == ("RUNNING", {"loss": 2.0})
    record.metrics({"loss": 1.0}, 2)
    record.close("FINISHED")
    assert sender.update() is True
    run = next(store.runs("tags.stage = 'source'"))
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 1.0)


def test_a_stage_that_was_killed_ends_as_killed(sqlite):
    code = "from stages.lib.store.journal import Journal; import time; j = Journal('source@x', 'source'); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=sqlite,
        env=os.environ | {"PYTHONPATH": str(tracking.files.Path(journal.__file__).parents[3])},
    ) as running:
        running.stdout.readline()
        running.kill()
    store = tracking.Store("killed")
    tracking.mirror(store, tracking.pending()[0])
    assert next(store.runs("")).info.status == "KILLED"


def test_a_store_that_is_away_raises_what_track_catches(sqlite, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(tracking.AWAY):
        tracking.Store("away")


def test_more_values_than_one_call_takes_all_arrive(sqlite):
    store = tracking.Store("many")
    run = store.run("journal", "x")
    store.log(run.info.run_id, [tracking.Metric("m", i, i, i) for i in range(2500)], [tracking.Param(f"p{i}", "1") for i in range(150)])
    assert len(store.client.get_metric_history(run.info.run_id, "m")) == 2500
    assert len(store.client.get_run(run.info.run_id).data.params) == 150
