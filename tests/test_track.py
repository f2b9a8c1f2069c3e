"""The store holds every result of the workspace: of stages that ran, and of those that DVC took from its cache."""

import json
from pathlib import Path

import pandas as pd
import pytest

from stages import track
from stages.lib.store import journal, tracking


@pytest.fixture
def results(workspace):
    """A workspace with a report, and no journal: as after `dvc pull`."""
    reports = workspace.folder / "reports"
    (reports / "tables").mkdir(parents=True)
    (reports / "figures").mkdir()
    (reports / "report.html").write_text("<h1>report</h1>")
    (reports / "figures/accuracy.svg").write_text("<svg/>")
    (reports / "metrics.json").write_text(json.dumps({"digits": {"blocks_1": {"accuracy": {"natural": 71.5, "absent": None}}}}))
    rows = [
        {"source": "natural", "target": "digits", "blocks": blocks, "n_images": 20, "seed": 20000000, "epoch": epoch,
         "test_accuracy": 40.0 + epoch, "train_accuracy": 50.0, "train_loss": 1.0, "diverged": False, "source_model": 0, "cell": f"{blocks}".ljust(16, "0")}
        for blocks in ("1", "all") for epoch in (1, 2)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(reports / "tables/runs.csv", index=False)
    (workspace.folder / "dvc.lock").write_text("stages: {report: {cmd: python -m stages.report}}\n")
    return workspace


def runs(kind):
    return list(tracking.Store("robust-transfer").runs(f"tags.{kind}"))


def test_an_experiment_has_one_summary_run_with_parameters_metrics_and_the_report(results, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "tidy-newt")
    track.main()
    (run,) = runs("stage = 'experiment'")
    assert run.info.run_name == "experiment: tidy-newt"
    assert run.data.metrics == {"digits.blocks_1.accuracy.natural": 71.5}
    assert run.data.params["finetune.epochs"] == "2"
    store = tracking.Store("robust-transfer")
    assert {a.path for a in store.client.list_artifacts(run.info.run_id)} == {"report.html", "metrics.json", "figures", "tables"}


def test_cells_of_the_table_that_the_store_lacks_arrive_with_their_history(results):
    track.main()
    cells = {run.data.params["blocks"]: run for run in runs("kind = 'cell'")}
    assert set(cells) == {"1", "all"}
    store = tracking.Store("robust-transfer")
    history = store.client.get_metric_history(cells["all"].info.run_id, "test_accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 41.0), (2, 42.0)]


def test_runs_of_the_experiments_that_the_store_lacks_arrive_with_what_they_measured(results):
    row = {
        "source": "l2_eps0_5",
        "target": "digits",
        "method": "learn_without_forgetting",
        "setting": 0.01,
        "seed": 0,
        "cell": "3".ljust(16, "f"),
        "experiment": "learn_without_forgetting",
    }
    rows = [row | {"measure": measure, "value": value} for measure, value in (("clean", 70.0), ("pgd20", 20.5))]
    pd.DataFrame(rows).to_csv(results.folder / "reports/tables/experiments.csv", index=False)
    track.main()
    [run] = [run for run in runs("kind = 'cell'") if "method" in run.data.params]
    assert run.data.metrics == {"clean": 70.0, "pgd20": 20.5}
    assert run.data.params == {
        "source": "l2_eps0_5",
        "target": "digits",
        "method": "learn_without_forgetting",
        "setting": "0.01",
        "seed": "0",
    }
    track.main()
    assert len([run for run in runs("kind = 'cell'") if "method" in run.data.params]) == 1


def test_tracking_twice_adds_nothing(results):
    track.main()
    before = sorted(run.info.run_id for run in tracking.Store("robust-transfer").runs(""))
    track.main()
    assert sorted(run.info.run_id for run in tracking.Store("robust-transfer").runs("")) == before


def test_its_own_entry_of_the_lock_makes_no_other_experiment(results):
    track.main()
    lock = results.folder / "dvc.lock"
    lock.write_text("stages: {report: {cmd: python -m stages.report}, track: {cmd: python -m stages.track}}\n")
    track.main()
    assert len(runs("stage = 'experiment'")) == 1
    lock.write_text("stages: {report: {cmd: other}}\n")
    track.main()
    assert len(runs("stage = 'experiment'")) == 2


def test_a_store_that_is_away_loses_nothing(results, monkeypatch, capsys):
    with journal.execution("check", settings={}, inputs=[], outputs=[]):
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track.main()
    warning = capsys.readouterr().err
    assert "http://127.0.0.1:9: the tracking store is away" in warning
    assert "1 journals and this experiment wait" in warning
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    track.main()
    assert [run.info.run_name for run in runs("stage = 'check'")] == ["check"]
    assert len(runs("stage = 'experiment'")) == 1
    assert not list((journal.folder() / "experiments").iterdir())
    assert tracking.pending() == []


def test_an_experiment_that_waited_is_sent_when_its_workspace_is_gone(results, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "gone")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track.main()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_EXP_NAME", "here")
    (results.folder / "reports/report.html").write_text("<h1>another</h1>")
    track.main()
    found = {run.data.tags["dvc_experiment"]: run for run in runs("stage = 'experiment'")}
    assert set(found) == {"gone", "here"}
    store = tracking.Store("robust-transfer")
    path = store.client.download_artifacts(found["gone"].info.run_id, "report.html")
    assert Path(path).read_text() == "<h1>report</h1>"


def test_without_a_report_what_stages_have_done_is_sent_all_the_same(workspace, capsys):
    with journal.execution("check", settings={}, inputs=[], outputs=[]):
        pass
    track.main()
    assert "there is no report yet" in capsys.readouterr().err
    assert [run.info.run_name for run in runs("stage = 'check'")] == ["check"]
    assert runs("stage = 'experiment'") == []
