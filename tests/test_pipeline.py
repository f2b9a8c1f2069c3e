"""The pipeline as a whole, in a real Git and DVC repository: what runs again after what, experiments, kills, and bad input."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import processes
import pytest
import yaml
from repository import ran

from stages.lib.store import code

SOURCES, TARGETS, DATASETS = ("natural", "l2_eps0_5", "random"), ("digits",), ("glyphs", "digits")
STAGES = {
    "check": ["check"],
    "download": [f"download@{d}" for d in DATASETS],
    "upscale": [f"upscale@{d}" for d in DATASETS],
    "draw_subsets": [f"draw_subsets@{t}" for t in TARGETS],
    "source": [f"source@{s}" for s in SOURCES],
    "finetune": [f"finetune@{s}" for s in SOURCES],
    "evaluate_robustness": [f"evaluate_robustness@{s}" for s in SOURCES],
    "report": ["report"],
    "track": ["track"],
}


def named(*words: str) -> set[str]:
    return {stage for word in words for stage in STAGES[word]}


def changed(repository) -> set[str]:
    """Stages of which DVC says that what they read has changed: those that run first at the next `dvc repro`."""
    status = json.loads(repository.dvc("status", "--json").stdout)
    return {stage for stage, what in status.items() if any("changed deps" in part for part in what if isinstance(part, dict))}


def cells(repository, kind="finetune") -> set[str]:
    return {path.name for path in (repository.folder / ".cells" / kind).rglob("*.json")}


def test_it_runs_to_the_report_and_then_runs_nothing(copy):
    for path in ("reports/report.html", "reports/metrics.json", "reports/tables/runs.csv", "reports/tables/summary.csv"):
        assert (copy.folder / path).is_file()
    header = copy.text("reports/tables/runs.csv").splitlines()[0]
    assert header.startswith("source,target,blocks,n_images,seed,epoch,test_accuracy")
    assert copy.repro() == []


def test_the_tracking_store_holds_every_stage_and_every_cell(copy):
    script = (
        "from stages.lib.store import tracking; import json; s = tracking.Store('robust-transfer');"
        "print(json.dumps([[r.info.run_name, r.info.status, r.data.tags.get('kind'), r.data.tags.get('stage')] for r in s.runs('')]))"
    )
    runs = json.loads(copy.run("python", "-c", script).stdout.splitlines()[-1])
    assert {name for name, _, kind, stage in runs if stage and stage != "experiment"} == set().union(*STAGES.values()) - {"track"}
    assert sum(kind == "cell" for _, _, kind, _ in runs) == 2 * (2 * 2 * 2) + 2 * 2
    assert {status for _, status, _, _ in runs} == {"FINISHED"}


PARAMETERS = {
    "finetune__epochs": (3, ["finetune"]),
    "blocks": (1, ["finetune", "report"]),
    "draw_subsets__n_seeds": (1, ["draw_subsets", "report"]),
    "evaluate_robustness__max_images": (8, ["evaluate_robustness", "report"]),
    "source__lr": (0.01, ["source", "report"]),
    "upscale__image_size": (20, ["upscale", "report"]),
    "download__timeout_s": (10, ["download", "source"]),
    "report__bootstrap": (100, ["report"]),
    "track__experiment": ("other", ["track"]),
}


def test_a_changed_parameter_runs_exactly_the_stages_that_read_it(copy):
    for key, (value, words) in PARAMETERS.items():
        before = copy.text("params.yaml")
        copy.edit("params.yaml", **{key: value})
        expected = named("check", "track", *words) | (named("report") if key.startswith("finetune") else set())
        assert changed(copy) == expected, key
        (copy.folder / "params.yaml").write_text(before)


def test_a_changed_catalog_entry_runs_the_stages_that_read_this_entry(copy):
    before = copy.text("models/catalog.yaml")
    copy.edit("models/catalog.yaml", natural__seed=5)
    assert changed(copy) == {"check", "source@natural"}
    (copy.folder / "models/catalog.yaml").write_text(before)
    copy.edit("data/catalog.yaml", glyphs__texture_correlation=0.5)
    assert changed(copy) == {"check", "download@glyphs", "upscale@glyphs", "report"}


@pytest.mark.parametrize("module", ["attacks", "robustness", "figures", "grid", "tracking", "files"])
def test_a_changed_module_runs_the_stages_that_import_it_and_no_others(module, copy):
    path = copy.folder / "stages/lib" / f"{module}.py"
    path.write_text(path.read_text() + "\n# changed\n")
    words = [word for word in STAGES if any(p.name == path.name and p.parent.name == "lib" for p in code.closure(f"stages.{word}"))]
    assert changed(copy) == {"check"}
    copy.stage("check")  # as `dvc repro` does first
    assert changed(copy) == named("check", *words)
    assert words


def test_an_experiment_stands_beside_the_baseline_and_shares_its_cells(copy):
    before = cells(copy)
    table = copy.text("reports/tables/runs.csv")
    shown = copy.dvc("exp", "run", "-S", "blocks=1", "--name", "one-block")
    assert set(ran(shown.stdout)) == named("check", "finetune", "report", "track")  # the weights that are attacked are the same
    assert cells(copy) == before
    listed = json.loads(copy.dvc("exp", "show", "--json").stdout)
    names = {e["revs"][0]["name"] for r in listed for e in r.get("experiments") or []}
    assert names == {"one-block"}
    values = {
        value["data"]["params"]["params.yaml"]["data"]["blocks"] == 1
        for r in listed
        for e in r.get("experiments") or []
        for value in e["revs"]
    }
    assert values == {True}
    copy.run("git", "checkout", "-q", "params.yaml")
    again = copy.repro()
    assert not set(again) & named("download", "upscale", "draw_subsets", "source", "finetune", "evaluate_robustness", "report")
    assert copy.text("reports/tables/runs.csv") == table
    assert cells(copy) == before


def test_queued_experiments_run_side_by_side_into_one_store(copy):
    before = cells(copy)
    copy.dvc("exp", "run", "--queue", "-S", "blocks=0,1")
    with processes.family() as environment:  # DVC's queue workers are daemons
        copy.dvc("queue", "start", "--jobs", "2", **environment)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            status = copy.dvc("queue", "status").stdout
            if "Queued" not in status and "Running" not in status.replace("Worker status: 0 active", ""):
                break
            time.sleep(1)
    assert status.count("Success") == 2, status
    assert cells(copy) == before
    script = "from stages.lib.store import tracking; s = tracking.Store('robust-transfer'); print(sum(1 for r in s.runs(\"tags.stage = 'experiment'\")))"
    assert copy.run("python", "-c", script).stdout.splitlines()[-1] == "3"


def test_killed_at_random_moments_it_ends_with_the_same_table(finished, empty):
    assert not cells(empty)
    moments = random.Random(0)
    for _ in range(4):
        running = subprocess.Popen(
            ["dvc", "repro"],
            cwd=empty.folder,
            env=empty.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(3, 10))
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        if empty.dvc("status", ok=False).returncode:  # killed as it wrote dvc.lock; no earlier one is committed here
            (empty.folder / "dvc.lock").unlink()
    empty.dvc("repro")
    for path in ("reports/tables/runs.csv", "reports/tables/summary.csv", "reports/metrics.json"):
        assert empty.text(path) == finished.text(path), path


def test_half_a_lock_file_costs_no_computation(copy):
    """DVC writes it in place, and may be killed in that moment."""
    lock, table = copy.folder / "dvc.lock", copy.text("reports/tables/runs.csv")
    lock.write_text("schema: '2.0'\nstages:\n  check:\n")
    assert "'./dvc.lock' validation failed" in copy.dvc("repro", ok=False).stderr
    lock.unlink()  # the worst case: no stage of it had been committed
    assert not set(copy.repro()) & named("upscale", "draw_subsets", "source", "finetune", "evaluate_robustness", "report")
    assert copy.text("reports/tables/runs.csv") == table
    assert copy.run("git", "diff", "--stat", "dvc.lock").stdout == ""


def test_runs_of_a_cluster_s_jobs_are_taken_from_the_store(copy):
    """The README's recipe: data and sources, then a job for each source and target, then the rest."""
    first = copy.repro("--dry", "--force", "draw_subsets", "source")
    assert {stage.split("@")[0] for stage in first} == {"check", "download", "upscale", "draw_subsets", "source"}
    copy.edit("params.yaml", blocks=[0, 1, 2])
    for source in ("natural", "l2_eps0_5", "random"):
        copy.stage("finetune", source, "digits")
    done = copy.dvc("repro")
    assert {"finetune@natural", "report"} <= set(ran(done.stdout))
    assert "finetune@natural: all 12 runs are in the store" in done.stdout + done.stderr


def test_the_report_needs_no_robust_source(copy):
    copy.edit("params.yaml", sources=["natural", "random"])
    assert "report" in copy.repro()
    assert "natural" in (copy.folder / "reports/report.html").read_text()


def test_ray_gives_the_table_of_local_processes_and_no_run_is_stale_for_it(finished, copy):
    copy.edit("params.yaml", grid__executor="ray", track__experiment="over-ray")  # an empty one
    assert changed(copy) <= {"check", "track"}
    shutil.rmtree(copy.folder / ".cells/finetune")
    copy.stage("finetune", "natural")
    table = "models/finetuned/natural/runs.parquet"
    assert (copy.folder / table).read_bytes() == (finished.folder / table).read_bytes()
    assert len(cells(copy)) == 8
    shutil.rmtree(copy.folder / "reports")  # so that no table is sent instead
    copy.stage("track")
    script = (
        "from stages.lib.store import tracking; s = tracking.Store('over-ray');"
        "print(len({r.data.tags['cell'] for r in s.runs('') if r.data.tags.get('kind') == 'cell' and r.info.status == 'FINISHED'}))"
    )
    assert copy.run("python", "-c", script).stdout.splitlines()[-1] == "8"


def test_bad_settings_stop_before_anything_is_lost(copy):
    before = {path: path.read_bytes() for path in (copy.folder / "models").rglob("*") if path.is_file()}
    for setting in ("finetune.epoch=3", "sources=[natural,naturl]", "blocks=99", "draw_subsets.n_images=[5000]", "targets=[nowhere]"):
        done = copy.dvc("exp", "run", "-S", f"+{setting}" if "epoch=" in setting else setting, ok=False)
        assert done.returncode != 0, setting
        key = setting.split("=")[0]
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        assert "params.yaml" in lines[0], lines
        assert key in lines[0], lines
        assert "allowed" in lines[0], lines
        copy.run("git", "checkout", "-q", "params.yaml")
    assert {path: path.read_bytes() for path in (copy.folder / "models").rglob("*") if path.is_file() and path in before} == before
    copy.run("git", "checkout", "-q", ".")
    assert copy.repro() in ([], ["check"], ["check", "track"])


def test_a_server_that_is_away_costs_a_warning_and_nothing_else(copy):
    copy.edit("params.yaml", report__bootstrap=150)
    done = copy.dvc("repro", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert "the tracking store is away" in done.stderr
    sent = copy.stage("track", DVC_ROOT=str(copy.folder))
    assert "all results are in sqlite:" in sent.stderr
    assert not list((copy.folder / ".runs").glob("*.jsonl"))


def test_the_miniature_is_made_of_the_real_files(empty):
    ours = yaml.safe_load((code.ROOT / "params.yaml").read_text())
    theirs = yaml.safe_load(empty.text("params.yaml"))
    assert set(ours) == set(theirs)
    assert empty.text("dvc.yaml") == (code.ROOT / "dvc.yaml").read_text()
