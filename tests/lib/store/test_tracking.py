"""Journals mirrored into real stores: SQLite, and an `mlflow server` over HTTP."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import ui
from stages.lib.errors import RunError
from stages.lib.models import kept, staged
from stages.lib.models.card import Card
from stages.lib.networks import units
from stages.lib.store import journal, tracking

HISTORY = [(1, {"test_accuracy": 40.0, "train_loss": 2.0}), (11, {"test_accuracy": 60.0, "train_loss": 1.0})]
CELL = {"source": "natural", "target": "digits", "blocks": "1", "n_images": 100, "seed": 20000000}


@pytest.fixture
def sqlite(tmp_path, monkeypatch, empty_store):
    shutil.copy(empty_store, tmp_path)
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
        record.cell("ab" * 32, CELL, HISTORY, seconds=2.5)
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
    assert child.info.end_time - child.info.start_time == 2500
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
    """Of the inputs, image sets are data sets in MLflow; weights are none."""
    weights, images, out = Path("models/a.safetensors"), Path("data/images/digits"), Path("out.bin")
    for path in (weights, images / "card.json"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"in")
    with journal.execution("finetune", "natural", settings={}, inputs=[weights, images], outputs=[out]) as record:
        out.write_bytes(b"out")
    tracking.mirror(store, record.path)
    run = next(store.runs("tags.stage = 'finetune'"))
    assert {name for name, value in run.data.tags.items() if len(value) == 64} == {f"input.{weights}", f"input.{images}", f"output.{out}"}
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["digits"]


def test_a_copy_of_the_repository_writes_into_itself(sqlite, tmp_path_factory, monkeypatch):
    run = tracking.Store("one").run("journal", "x").info.run_id
    tracking.Store("one").client.log_text(run, "before", "before.txt")
    folder = tmp_path_factory.mktemp("moved") / "copy"
    shutil.copytree(sqlite, folder)
    before = sorted(sqlite.rglob("*"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    store = tracking.Store("one")
    store.client.log_text(store.run("journal", "y").info.run_id, "after", "after.txt")
    assert len(list((folder / "mlartifacts").rglob("after.txt"))) == 1
    assert Path(store.client.get_run(run).info.artifact_uri.removeprefix("file://"), "before.txt").is_relative_to(folder)
    assert sorted(sqlite.rglob("*")) == before


def test_a_model_is_logged_once_and_its_best_is_registered_once(store, sqlite):
    torch.manual_seed(0)
    network = units.build("small_resnet", 10, [0.5] * 3, [0.25] * 3)
    described = Card(
        kind="finetuned", source="natural", dataset="digits", architecture="small_resnet", classes=list("0123456789"), image_size=16,
        channels=1, crop=1.0, resolution=None, mean=[0.5] * 3, std=[0.25] * 3, threat=None, origin="", blocks="1", n_images=20, seed=0,
        epochs=2, training={}, test_accuracy=50.0, n_test=10, images_sha256={"test": "ab" * 32}, cell="cd" * 8, code=None, torch="", sha256="",
    )  # fmt: skip
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    folder, run = sqlite / "staged", store.run("journal", "x").info.run_id
    kept.save(folder, described, weights)
    (folder / "weights.safetensors").rename(folder / "0.safetensors")
    np.save(folder / "sample.npy", np.zeros((1, 16, 16, 1), np.uint8))
    (folder / "best.json").write_text('"digits"')
    for _ in range(2):
        staged.send(store, run, folder, sqlite / "no.csv", f"name-{store.experiment}")
    data = {
        "dataset_name": "digits",
        "dataset_digest": ("ab" * 32)[: tracking.LONGEST_DIGEST],
    }  # a server of MLflow 3.17 wants the digest, too
    [model] = store.client.search_logged_models([store.experiment], "metrics.test_accuracy > 49", datasets=[data])
    assert {metric.key: metric.value for metric in model.metrics} == {"test_accuracy": 50.0}
    assert (model.source_run_id, model.tags["best"]) == (run, "digits")
    [version] = store.client.search_model_versions(f"name = 'name-{store.experiment}-digits'")
    assert version.source == f"models:/{model.model_id}"
    assert {output.model_id for output in store.client.get_run(run).outputs.model_outputs} == {model.model_id}


def test_the_address_of_the_table_is_printed_and_opened_where_there_is_a_display(server, sqlite, monkeypatch, capsys):
    (sqlite / "params.yaml").write_text("track: {experiment: shown, models: all, register: null}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    opened = []
    monkeypatch.setattr(ui.webbrowser, "open", opened.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for display in ("", ":0"):
        monkeypatch.setenv("DISPLAY", display)
        ui.main("5000")
    page = f"{server}/#/experiments/{tracking.Store('shown').experiment}/runs?workflowType=machine_learning"
    assert capsys.readouterr().out.splitlines() == [f"MLflow: {page}"] * 2
    assert opened == [page]


def test_a_port_that_is_taken_or_none_is_one_line(sqlite):
    (sqlite / "params.yaml").write_text("track: {experiment: shown, models: all, register: null}")
    with socket.create_server((ui.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        for asked, said in (
            (str(port), rf"port {port} of 127.0.0.1 is in use; .*make ui PORT={port + 1}"),
            ("0", "PORT is '0'"),
            ("x", "PORT is 'x'"),
        ):
            with pytest.raises(RunError, match=said):
                ui.main(asked)


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
