"""The store holds every result of the workspace: of stages that ran, and of those that DVC took from its cache."""

import json
import shutil
from pathlib import Path

import elsewhere
import pandas as pd
import pytest

from stages import export, track
from stages.lib.datasets import sets
from stages.lib.models import classifier, kept
from stages.lib.store import journal, tracking

SOURCES = ["natural", "l2_eps0_5"]


@pytest.fixture
def results(workspace, empty_store):
    """A workspace with a report, and no journal: as after `dvc pull`."""
    shutil.copy(empty_store, workspace.folder)
    report_in(workspace.folder)
    return workspace


def report_in(folder: Path) -> None:
    reports = folder / "reports"
    (reports / "tables").mkdir(parents=True)
    (reports / "figures").mkdir()
    (reports / "report.html").write_text("<h1>report</h1>")
    (reports / "figures/accuracy.svg").write_text("<svg/>")
    (reports / "metrics.json").write_text(json.dumps({"digits": {"blocks_1": {"accuracy": {"natural": 71.5, "absent": None}}}}))
    rows = [
        {"source": "natural", "target": "digits", "blocks": blocks, "n_images": 20, "seed": 20000000, "epoch": epoch,
         "test_accuracy": 40.0 + epoch, "train_accuracy": 50.0, "train_loss": 1.0, "diverged": False, "source_model": 0, "lr": 0.05, "cell": f"{blocks}".ljust(16, "0")}
        for blocks in ("1", "all") for epoch in (1, 2)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(reports / "tables/runs.csv", index=False)
    means = {"source": "natural", "target": "digits", "blocks": "1", "n_images": [20, 10], "mean": [42.0, 30.0], "metric": "accuracy"}
    pd.DataFrame(means).to_csv(reports / "tables/summary.csv", index=False)
    (folder / "dvc.lock").write_text("stages: {report: {cmd: python -m stages.report}}\n")


def runs(kind):
    return list(tracking.Store("robust-transfer").runs(f"tags.{kind}"))


def test_an_experiment_has_one_summary_run_with_parameters_metrics_and_the_report(results, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "tidy-newt")
    track.main()
    (run,) = runs("stage = 'experiment'")
    assert run.info.run_name == "experiment: tidy-newt"
    assert run.data.metrics == {"digits/blocks_1/accuracy/natural": 71.5, "digits/1/natural": 42.0}
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


def test_runs_at_rates_that_were_not_chosen_and_without_held_out_images_arrive_too(results):
    tables = results.folder / "reports/tables"
    of_all = pd.read_csv(tables / "runs.csv").assign(reported=True)
    held_out = of_all.assign(
        lr=0.01, held_out=4, reported=False, validation_accuracy=75.0, cell=["2".ljust(16, "f")] * 2 + ["4".ljust(16, "f")] * 2
    )
    pd.concat([of_all.assign(held_out=0), held_out]).to_csv(tables / "rates.csv", index=False)
    pd.read_csv(tables / "summary.csv").assign(metric="mean_per_class").to_csv(tables / "summary.csv", index=False)
    track.main()
    found = [run.data for run in runs("kind = 'cell'")]
    assert sorted((data.params["lr"], data.params.get("held_out"), data.metrics.get("validation_accuracy")) for data in found) == [
        ("0.01", "4", 75.0), ("0.01", "4", 75.0), ("0.05", None, None), ("0.05", None, None),
    ]  # fmt: skip
    assert not {"reported", "held_out"} & set(found[0].metrics)
    [summary] = runs("stage = 'experiment'")
    assert "digits/1/natural/mean_per_class" in summary.data.metrics, "the figure says which metric it is"


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


def test_executions_stand_below_the_first_experiment_that_they_belong_to(results, monkeypatch):
    def execute(name: str) -> None:
        monkeypatch.setenv("DVC_EXP_NAME", name)
        with journal.execution("finetune", name, settings={}, inputs=[], outputs=[]):
            pass

    execute("first")
    execute("second")
    monkeypatch.setenv("DVC_EXP_NAME", "first")
    track.main()
    [first], stages = runs("stage = 'experiment'"), {run.info.run_name: run for run in runs("stage = 'finetune'")}
    assert stages["finetune@first"].data.tags[tracking.PARENT] == first.info.run_id
    assert tracking.PARENT not in stages["finetune@second"].data.tags
    assert (first.info.start_time, first.info.end_time) == (
        stages["finetune@first"].info.start_time,
        stages["finetune@first"].info.end_time,
    )
    (results.folder / "dvc.lock").write_text("stages: {report: {cmd: other}}\n")
    track.main()
    assert {run.info.run_name: run.data.tags.get(tracking.PARENT) for run in runs("stage = 'finetune'")}[
        "finetune@first"
    ] == first.info.run_id


def test_kept_models_are_logged_ranked_registered_and_run_without_this_project(runs_ready, tmp_path_factory):
    report_in(runs_ready.folder)
    tables = runs_ready.folder / "reports/tables"
    pd.concat([pd.read_parquet(f"models/finetuned/{name}/runs.parquet") for name in SOURCES]).to_csv(tables / "runs.csv", index=False)
    pd.read_parquet("models/robustness/l2_eps0_5/robustness.parquet").to_csv(tables / "robustness.csv", index=False)
    pd.DataFrame({"target": "digits", "source": ["natural"], "blocks": "1"}).to_csv(tables / "ranking.csv", index=False)
    runs_ready.edit("params.yaml", sources=SOURCES, track__register="mine")
    export.main()
    track.main()
    store = tracking.Store("robust-transfer")
    best_first = [{"field_name": "metrics.test_accuracy", "ascending": False, "dataset_name": "digits"}]
    models = store.client.search_logged_models([store.experiment], "params.target = 'digits'", order_by=best_first)
    accuracies = [{metric.key: metric.value for metric in model.metrics} for model in models]
    assert [found["test_accuracy"] for found in accuracies] == sorted((found["test_accuracy"] for found in accuracies), reverse=True)
    assert {model.params["source"]: sorted(found) for model, found in zip(models, accuracies, strict=True)} == {
        "natural": ["test_accuracy"], "l2_eps0_5": ["test_accuracy", "under_attack/l2_0.5", "under_attack/linf_7.65_255"],
    }  # fmt: skip
    for model in models:
        trained_by = store.client.get_run(model.source_run_id)
        assert trained_by.data.params["source"] == model.params["source"]
        assert trained_by.data.tags["cell"].startswith(model.tags["cell"])
    [best] = [model for model in models if model.tags.get("best") == "digits"]
    assert best.params["source"] == "natural"
    assert [each.source for each in store.client.search_model_versions("name = 'mine-digits'")] == [f"models:/{best.model_id}"]
    track.main()
    assert len(store.client.search_logged_models([store.experiment])) == 2
    assert len(store.client.search_model_versions("name = 'mine-digits'")) == 1
    assert not any((journal.folder() / "experiments").iterdir())
    predicted_elsewhere(best, tmp_path_factory.mktemp("elsewhere"))


def predicted_elsewhere(model, folder: Path) -> None:
    """Let MLflow serve the model's own example."""
    [found] = elsewhere.by_mlflow(Path(model.artifact_location.removeprefix("file://")), folder)
    x, _ = sets.load("digits", "test")
    [(label, probability)] = classifier.load(kept.BEST / "digits").labels(x[:1])
    assert found == {"label": label, "probability": pytest.approx(probability)}


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
