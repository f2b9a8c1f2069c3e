"""The pipeline as a whole, in a real Git and DVC repository: what runs again after what, experiments, kills, and bad input."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import processes
import pytest
import vl_convert
import yaml
from repository import Repository, current, ran

from stages import check, finetune, report
from stages.lib.store import code, syntax, tracking
from stages.studies import registry

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
    "export": ["export"],
    "track": ["track"],
}


def named(*words: str) -> set[str]:
    return {stage for word in words for stage in STAGES[word]}


def changed(repository: Repository) -> dict[str, set[str]]:
    """Stages of which DVC says that what they read has changed, with the files and the keys that they name.

    These run first at the next `dvc repro`.
    """
    status = json.loads(repository.dvc("status", "--json").stdout)
    stages = {}
    for stage, parts in status.items():
        for deps in [part["changed deps"] for part in parts if isinstance(part, dict) and "changed deps" in part]:
            keys = {f"{path}:{key}" for path, how in deps.items() if isinstance(how, dict) for key in how}
            stages[stage] = keys | {path for path, how in deps.items() if not isinstance(how, dict)}
    return stages


def tracked(repository: Repository) -> list[tracking.Run]:
    """All runs of the tracking store."""
    with current(repository.folder):
        return list(tracking.Store("robust-transfer").runs(""))


def cells(repository: Repository, kind: str = "finetune") -> set[str]:
    return {path.name for path in (repository.folder / ".cells" / kind).rglob("*.json")}


def test_it_runs_to_the_report_and_then_runs_nothing(copy):
    for path in ("reports/report.html", "reports/metrics.json", "reports/tables/runs.csv", "reports/tables/summary.csv"):
        assert (copy.folder / path).is_file()
    header = copy.text("reports/tables/runs.csv").splitlines()[0]
    assert header.startswith("source,target,blocks,n_images,seed,epoch,test_accuracy")
    assert "Adversarially Robust Transfer Learning" not in copy.text("reports/report.html"), "its experiments are off"
    assert not list((copy.folder / "reports/figures").glob("shafahi*"))
    assert copy.repro() == []
    assert set(copy.repro("--dry", "--force")) == set().union(*STAGES.values())
    copy.run("git", "tag", "-a", "best@v1.0.0", "-m", "as `gto register best` does")
    copy.dvc("artifacts", "get", ".", "best", "-o", "home")
    assert {path.name for path in (copy.folder / "home/digits").iterdir()} == {"card.json", "weights.safetensors"}


def test_dvc_draws_a_line_for_each_source_and_its_page_asks_no_network(copy):
    """What `dvc plots` fills into our template is drawn by the scripts that `make plots` puts beside it."""
    copy.dvc("plots", "show")
    page = copy.text("dvc_plots/index.html")
    assert set(re.findall(r'src="(.*?)"', page)) == {"../.dvc/plots/vega.js"}
    assert "\n.dvc/plots/vega.js:" in (code.ROOT / "Makefile").read_text()
    plots = [json.loads(spec) for spec in re.findall(r"var spec = (.*);", page)]
    assert [plot["title"] for plot in plots] == ["Test accuracy against the number of images", "Test accuracy while fine-tuning"]
    for plot in plots:
        drawn = vl_convert.vegalite_to_svg(plot)
        assert "Infinity" not in drawn
        lines = re.findall(r'aria-label="[^"]*source: (\w+)[^"]*" role="graphics-symbol" aria-roledescription="line mark"', drawn)
        assert Counter(lines) == {"natural": 2, "l2_eps0_5": 2, "random": 1}  # blocks 0 and 1, and all


def test_the_tracking_store_holds_every_stage_and_every_cell(copy):
    runs = [(run.info.run_name, run.info.status, run.data.tags.get("kind"), run.data.tags.get("stage")) for run in tracked(copy)]
    assert {name for name, _, kind, stage in runs if stage and stage != "experiment"} == set().union(*STAGES.values()) - {"track"}
    assert sum(kind == "cell" for _, _, kind, _ in runs) == 2 * (2 * 2 * 2) + 2 * 2
    assert {status for _, status, _, _ in runs} == {"FINISHED"}


def test_a_clone_that_pulls_runs_nothing_and_computes_no_finished_run_again(copy, tmp_path):
    copy.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    copy.commit("a remote")
    copy.dvc("push")
    copy.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    clone.dvc("pull")
    assert clone.repro() == []
    clone.edit("params.yaml", blocks=1)
    done = clone.dvc("repro", "finetune@natural")
    assert ran(done.stdout) == ["check", "finetune@natural"]
    assert "finetune@natural: all 4 runs are in the store" in done.stdout + done.stderr
    assert [cells(clone, kind) for kind in ("source", "finetune")] == [cells(copy, kind) for kind in ("source", "finetune")]


PARAMETERS = {  # key of params.yaml, what it becomes, and the stages that read it beside `check` and `track`, which read all
    "finetune__epochs": (3, ["finetune", "report"]),
    "blocks": (1, ["finetune", "report"]),
    "draw_subsets__n_seeds": (1, ["draw_subsets", "report"]),
    "evaluate_robustness__max_images": (8, ["evaluate_robustness", "report"]),
    "source__lr": (0.01, ["source", "report"]),
    "upscale__image_size": (20, ["upscale", "report"]),
    "download__timeout_s": (10, ["download", "source"]),
    "report__natural": ("l2_eps0_5", ["report"]),
    "track__experiment": ("other", []),
    "grid__executor": ("ray", []),  # no run is stale for it
}


def test_changed_parameters_and_catalog_entries_run_exactly_the_stages_that_read_them(copy):
    """All are changed at once: DVC names for each stage the keys that it finds changed."""
    copy.edit("params.yaml", **{key: value for key, (value, _) in PARAMETERS.items()})
    copy.edit("models/catalog.yaml", natural__seed=5)
    copy.edit("data/catalog.yaml", glyphs__texture_correlation=0.5)
    status = changed(copy)
    for key, (_, words) in PARAMETERS.items():
        section = key.split("__")[0]
        readers = {stage for stage, keys in status.items() if any(name.split(".")[0] == section for name in in_params(keys))}
        assert readers == named("check", "track", *words), key
    assert {stage for stage, keys in status.items() if "models/catalog.yaml:natural" in keys} == {"source@natural"}
    assert "models/catalog.yaml" in status["check"]
    assert {stage for stage, keys in status.items() if any(name.startswith("data/catalog.yaml:glyphs") for name in keys)} == {
        "download@glyphs", "upscale@glyphs",
    }  # fmt: skip


def in_params(keys: set[str]) -> list[str]:
    return [key.removeprefix("params.yaml:") for key in keys if key.startswith("params.yaml:")]


MODULES = [
    "attacks/pgd",
    "attacks/evaluation",
    "report/figures",
    "runs/grid",
    "store/tracking",
    "store/files",
    "networks/layers/small_resnet",
]


def test_a_changed_module_changes_what_is_checked_of_the_stages_that_import_it_and_of_no_others(tmp_path, monkeypatch):
    shutil.copytree(code.ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    known = syntax.Known()

    def digests() -> dict[str, str]:
        tree = code.Tree(tmp_path, known)
        monkeypatch.setattr(code, "tree", lambda: tree)
        return check.digests()

    before = digests()
    for module in MODULES:
        name = f"stages/lib/{module}.py"
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(f"{text}\n_MUTATION = 1\n")
        after = digests()
        assert {stage for stage in STAGES if after[stage] != before[stage]} == importing(name) != set(), module
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize("stage", STAGES)
def test_a_module_that_a_stage_names_for_its_workers_is_in_what_is_checked_of_it(stage):
    paths = code.closure(f"stages.{stage}", choices=True)
    constants = [node for path in paths if path.suffix == ".py" for node in ast.walk(ast.parse((code.ROOT / path).read_text()))]
    names = {node.value for node in constants if isinstance(node, ast.Constant) and str(node.value).startswith("stages.lib.")}
    assert {name for name in names if code.file_of(name) not in paths} == set()


def importing(path: str) -> set[str]:
    """Stages that a file belongs to; to the report through its sections, too."""
    sections = {"report": [study.report for study in registry.STUDIES]}
    return {
        stage
        for stage in STAGES
        if path in {file.as_posix() for file in code.closure(f"stages.{stage}", *sections.get(stage, []), choices=True)}
    }


def test_a_changed_module_runs_the_stages_that_import_it_and_no_others(copy):
    path = "stages/lib/attacks/evaluation.py"
    (copy.folder / path).write_text(copy.text(path) + "\n_MUTATION = 1\n")
    assert set(changed(copy)) == {"check"}
    results = copy.folder / "models/robustness/natural/images.parquet"
    before = results.read_bytes()
    assert copy.repro("evaluate_robustness@natural") == ["check", "evaluate_robustness@natural"]
    assert results.read_bytes() == before, "attacked again, by another process"
    assert set(changed(copy)) == named(*importing(path)) - {"check", "evaluate_robustness@natural"}
    assert "evaluate_robustness" in importing(path)
    assert "finetune" not in importing(path)


def test_experiments_side_by_side_stand_beside_the_baseline_and_share_its_cells(copy):
    """One from DVC's queue, and meanwhile one in the workspace: both write into one store."""
    before = cells(copy)
    table = copy.text("reports/tables/runs.csv")
    copy.dvc("exp", "run", "--queue", "-S", "report.headline.blocks=0", "--name", "no-block")
    with processes.family() as environment:  # DVC's queue workers are daemons
        subprocess.run(
            ["dvc", "queue", "start"], cwd=copy.folder, env=copy.environment | environment, stdout=subprocess.DEVNULL, check=True
        )
        shown = copy.dvc("exp", "run", "-S", "blocks=1", "--name", "one-block")
        wait_for_the_queue(copy, "no-block")
    assert set(ran(shown.stdout)) == named("check", "finetune", "report", "export", "track")  # the weights that are attacked are the same
    assert cells(copy) == before
    listed = json.loads(copy.dvc("exp", "show", "--json").stdout)
    revisions = [revision for row in listed for experiment in row.get("experiments") or [] for revision in experiment["revs"]]
    settings = {revision["name"]: revision["data"]["params"]["params.yaml"]["data"] for revision in revisions}
    assert {name: (of["blocks"], of["report"]["headline"]["blocks"]) for name, of in settings.items()} == {
        "no-block": ([0, 1], 0), "one-block": (1, 1),
    }  # fmt: skip
    assert [run.data.tags.get("stage") for run in tracked(copy)].count("experiment") == 3

    copy.run("git", "checkout", "-q", "params.yaml")
    again = copy.repro("report")
    assert not set(again) & named("download", "upscale", "draw_subsets", "source", "finetune", "evaluate_robustness", "report")
    assert copy.text("reports/tables/runs.csv") == table
    assert cells(copy) == before


def wait_for_the_queue(repository: Repository, name: str) -> None:
    """DVC leaves a reference when an experiment has ended well, and is asked only then, as asking takes a core for a second."""
    deadline, status = time.monotonic() + 240, ""
    while not any((repository.folder / ".git/refs/exps").rglob(name)) and time.monotonic() < deadline:
        time.sleep(0.1)
    while "Success" not in status and time.monotonic() < deadline:
        status = repository.dvc("queue", "status").stdout
    assert status.count("Success") == 1, status


def test_killed_in_the_middle_of_its_stages_it_ends_with_the_same_tables_and_weights(copy):
    """While a source is trained, and while runs are computed; DVC starts each stage from the subsets on."""
    models = [
        path for folder in ("sources", "finetuned/natural") for path in (copy.folder / "models" / folder).rglob("*") if path.is_file()
    ]
    before = {path: path.read_bytes() for path in models if "natural" in path.as_posix()}
    kept, of_natural = cells(copy), 2 * 2 * 2
    forget(copy, "draw_subsets", "source", "finetune", "evaluate_robustness", "report", "track")
    for reached in ("source/**/*.checkpoint", "finetune/**/*.json"):
        kill_when(copy, lambda pattern=reached: any((copy.folder / ".cells").glob(pattern)))
    assert 0 < len(cells(copy)) < of_natural
    copy.dvc("repro", "finetune@natural")
    assert {path: path.read_bytes() for path in before} == before
    assert len(cells(copy)) == of_natural
    assert cells(copy) < kept


def forget(repository: Repository, *words: str) -> None:
    """Make it as if these stages had never run."""
    for path in (".cells", ".dvc/cache/runs", "data/subsets", "models/sources", "models/finetuned", "models/robustness"):
        shutil.rmtree(repository.folder / path)
    lock = yaml.safe_load(repository.text("dvc.lock"))
    lock["stages"] = {name: entry for name, entry in lock["stages"].items() if name not in named(*words)}
    (repository.folder / "dvc.lock").write_text(yaml.safe_dump(lock))


def kill_when(repository: Repository, reached: Callable[[], bool]) -> None:
    """Start `dvc repro`, and kill it and all its stages when a moment is reached."""
    lock, quiet = repository.text("dvc.lock"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(
        ["dvc", "repro", "finetune@natural"], cwd=repository.folder, env=repository.environment, start_new_session=True, **quiet
    )
    deadline = time.monotonic() + 240
    while not reached() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert reached()
    if repository.dvc("status", ok=False).returncode:  # killed as it wrote dvc.lock
        (repository.folder / "dvc.lock").write_text(lock)


def test_half_a_lock_file_costs_no_computation(copy):
    """DVC writes it in place, and may be killed in that moment."""
    lock, table = copy.folder / "dvc.lock", copy.text("reports/tables/runs.csv")
    lock.write_text("schema: '2.0'\nstages:\n  check:\n")
    assert "'./dvc.lock' validation failed" in copy.dvc("repro", ok=False).stderr
    lock.unlink()  # the worst case: no stage of it had been committed
    assert not set(copy.repro("report")) & named("upscale", "draw_subsets", "source", "finetune", "evaluate_robustness", "report")
    assert copy.text("reports/tables/runs.csv") == table
    entries, committed = (yaml.safe_load(text)["stages"] for text in (lock.read_text(), copy.run("git", "show", "HEAD:dvc.lock").stdout))
    assert entries == {name: entry for name, entry in committed.items() if name not in ("track", "export")}


def test_runs_of_a_cluster_s_jobs_are_taken_from_the_store(copy, capsys):
    """The README's recipe: data and sources, then a job for each source and target, then the rest."""
    first = copy.repro("--dry", "--force", "draw_subsets", "source")
    assert {stage.split("@")[0] for stage in first} == {"check", "download", "upscale", "draw_subsets", "source"}
    copy.edit("params.yaml", blocks=[0, 1, 2])
    with current(copy.folder):
        finetune.main("natural", ["digits"])
        capsys.readouterr()
        finetune.main("natural")
    assert "finetune@natural: all 12 runs are in the store" in capsys.readouterr().err


def test_the_report_needs_no_robust_source(copy):
    copy.edit("params.yaml", sources=["natural", "random"])
    with current(copy.folder):
        report.main()
    table = copy.text("reports/tables/runs.csv")
    assert "natural" in table
    assert "l2_eps0_5" not in table


def test_bad_settings_stop_before_anything_is_lost(copy):
    """Through DVC; tests/test_check.py has a line for each kind of them."""
    before = {path: path.read_bytes() for path in (copy.folder / "models").rglob("*") if path.is_file()}
    done = copy.dvc("exp", "run", "-S", "draw_subsets.n_images=[5000]", ok=False)
    assert done.returncode != 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "params.yaml: draw_subsets.n_images: 5000 cannot be drawn from digits; allowed: 10" in line
    assert {path: path.read_bytes() for path in (copy.folder / "models").rglob("*") if path.is_file() and path in before} == before
    copy.run("git", "checkout", "-q", ".")
    assert copy.repro() in ([], ["check"], ["check", "track"])


def test_the_miniature_is_made_of_the_real_files(finished):
    ours = yaml.safe_load((code.ROOT / "params.yaml").read_text())
    theirs = yaml.safe_load(finished.text("params.yaml"))
    assert set(ours) == set(theirs)
    assert finished.text("dvc.yaml") == (code.ROOT / "dvc.yaml").read_text()
