"""The tracking store holds every result of this workspace: stages, cells, and the experiment with its report.

Reads .runs/, dvc.lock, params.yaml, reports/. Writes to the MLflow store at MLFLOW_TRACKING_URI, or mlflow.db beside the
repository. It has no outputs, so DVC never takes it from its cache: results that a cached stage did not log arrive here. Sending
twice adds nothing. Where the store is away there is a warning, and the journals in .runs/ are sent the next time.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import yaml

from stages.lib import command
from stages.lib.models import staged
from stages.lib.progress import bar, log
from stages.lib.settings import params
from stages.lib.store import address, cells, files, journal, tracking

REPORTS = Path("reports")
ARTIFACTS = {"": ["report.html", "metrics.json"], "figures": ["figures"], "tables": ["tables"]}


def main() -> None:
    name, place = params.section("track").experiment, address.masked(address.address())
    experiments = pending_experiments()
    if (REPORTS / "metrics.json").is_file():
        experiments.append(stage_experiment())
    else:
        log("track: there is no report yet, so only what stages have done is sent")
    try:
        store = tracking.Store(name)
        for path in bar(tracking.pending(), title="track", unit="journal"):
            send(path, lambda path: tracking.mirror(store, path))
        with files.locked(journal.folder() / "experiments.lock", "the tracking store", log):  # two experiments may end at once
            for experiment in dict.fromkeys(reversed(experiments)):
                if (experiment / "experiment.json").is_file():
                    send(experiment, lambda folder: send_experiment(store, folder))
    except tracking.AWAY as error:
        log(
            f"warning: {place}: the tracking store is away ({type(error).__name__}: {address.masked(error)[:200]}). Nothing is lost: "
            f"{len(tracking.pending())} journals and this experiment wait in {journal.folder()}; `python -m stages.track` sends them"
        )
        return
    log(f"track: all results are in {place}, experiment {name!r}")


def send(path: Path, sender: Callable[[Path], None]) -> None:
    """Send a journal or an experiment; one that is damaged is named and set aside, so that the others go on."""
    try:
        sender(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # what reading of a cut or overwritten file raises
        aside = journal.folder() / "damaged" / path.name
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        path.replace(aside)
        reason = f"{type(error).__name__}: {address.masked(error)[:200]}"
        log(f"warning: {path}: damaged, and not sent ({reason}); it was moved to {aside}, and the others are sent")


def follow(path: Path) -> None:
    """Mirror the journal of a stage while it runs; events that do not arrive are sent by `track` later."""
    try:
        tracking.mirror(tracking.Store(params.section("track").experiment), path)
    except tracking.AWAY as error:
        log(f"warning: the tracking store is away ({type(error).__name__}: {address.masked(error)[:200]}); `track` sends {path} later")


def experiments_folder() -> Path:
    return journal.folder() / "experiments"


def pending_experiments() -> list[Path]:
    return sorted(path.parent for path in experiments_folder().glob("*/experiment.json"))


def stage_experiment() -> Path:
    """Copy the content of the summary run to .runs/, as a temporary workspace may be gone when the store is back."""
    content = {
        "name": os.environ.get("DVC_EXP_NAME") or "workspace",
        "lock": lock_digest(),
        "git_commit": journal.git_commit(),
        "params": journal.flatten(params.read_yaml(Path("params.yaml"))),
        "metrics": journal.flatten(files.read_json(REPORTS / "metrics.json"), "/") | accuracies(),
    }
    folder = experiments_folder() / files.digest_of([content["name"], content["lock"]])[:32]
    for place, names in ARTIFACTS.items():
        for source in (REPORTS / name for name in names):
            target = folder / "artifacts" / place
            shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else _copy(source, target)
    staged.stage(folder / "models", params.section("sources"), params.section("targets"), params.section("track").models)
    files.write_json(folder / "experiment.json", content)
    return folder


def accuracies() -> dict[str, float]:
    """Mean accuracy of each source at most images, as `digits/1/natural`: target, blocks, source; of a mean over classes with the name of
    that metric behind. MLflow's charts cut longer names."""
    if not (REPORTS / "tables/summary.csv").is_file():
        return {}
    table = pd.read_csv(REPORTS / "tables/summary.csv", dtype={"blocks": str})
    table = table[table["n_images"] == table.groupby("target")["n_images"].transform("max")]
    endings = {"accuracy": "", "mean_per_class": "/mean_per_class"}
    return {f"{row.target}/{row.blocks}/{row.source}{endings[row.metric]}": row.mean for row in table.itertuples()}


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, folder)


def lock_digest() -> str:
    """Hash of dvc.lock without this stage's own entry, which DVC writes when it has ended."""
    lock = yaml.safe_load(Path("dvc.lock").read_text()) if Path("dvc.lock").is_file() else {"stages": {}}
    return files.digest_of({name: entry for name, entry in lock["stages"].items() if name != "track"})


def send_experiment(store: tracking.Store, folder: Path) -> None:
    """Send the summary run of a DVC experiment, and below it the cells that the store does not hold yet."""
    content = json.loads((folder / "experiment.json").read_text())
    tags = {"stage": "experiment", "dvc_experiment": content["name"], "dvc_lock": content["lock"], "git_commit": content["git_commit"]}
    stages = store.orphans(content["name"])
    begun = min((stage.info.start_time for stage in stages), default=None)
    ended = max((stage.info.end_time for stage in stages if stage.info.end_time), default=None)
    run = store.run("journal", f"experiment-{folder.name}", run_name=f"experiment: {content['name']}", start_time=begun, tags=tags)
    if run.info.status != "FINISHED":
        store.log(
            run.info.run_id,
            [tracking.Metric(name, value, run.info.start_time, 0) for name, value in content["metrics"].items() if value is not None],
            [tracking.Param(name, str(value)) for name, value in content["params"].items()],
        )
        store.client.log_artifacts(run.info.run_id, str(folder / "artifacts"))
        store.client.set_terminated(run.info.run_id, end_time=ended)
    for stage in stages:
        store.client.set_tag(stage.info.run_id, tracking.PARENT, run.info.run_id)
    tables = folder / "artifacts" / "tables"
    send_cells(store, run.info.run_id, tables, run.info.start_time)
    send_models(store, run.info.run_id, folder / "models", tables / "robustness.csv")
    shutil.rmtree(folder)


def send_models(store: tracking.Store, summary: str, folder: Path, robustness: Path) -> None:
    """Send the kept models of an experiment, each as the output of the run that trained it."""
    runs = {run.data.tags["cell"][:16]: run.info.run_id for run in store.runs("tags.kind = 'cell'")} if folder.is_dir() else {}
    for place in bar(sorted(folder.glob("*")), title="track: models", unit="model") if runs else []:
        staged.send(store, runs.get(place.name[:16], summary), place, robustness, params.section("track").registered)


def send_cells(store: tracking.Store, parent: str, tables: Path, time_ms: int) -> None:
    """Send every cell of the report's tables that has no run yet, as a child of the run `parent`."""
    runs = {run.data.tags["cell"][:16]: run for run in store.runs("tags.kind = 'cell'")}
    done = {cell for cell, run in runs.items() if run.info.status == "FINISHED"}
    absent = {content["key"]: content for name in ("rates", "runs") for content in runs_of(tables / f"{name}.csv", done)}
    absent = [*absent.values(), *experiments_of(tables / "experiments.csv", done)]
    for content in bar(absent, title="track: cells", unit="cell") if absent else []:
        tracking.send_cell(store, parent, content | {"time_ms": time_ms}, runs.get(content["key"]))


def runs_of(table: Path, done: set[str]) -> Iterator[dict]:
    """Fine-tuning runs that the store does not hold yet: accuracies and loss by epoch."""
    keys = ["source", "target", "blocks", "n_images", "seed", "source_model", "lr"]
    for columns, cell, rows in _cells(table, keys, done) if table.is_file() else []:
        held_out = int(rows["held_out"].iloc[0]) if "held_out" in rows else 0
        history = [(int(row.pop("epoch")), row) for row in rows.drop(columns=["reported", "held_out"], errors="ignore").to_dict("records")]
        named = columns | ({"held_out": held_out} if held_out else {})
        yield {"key": cell, "params": named, "history": history, "seconds": cells.seconds("finetune", cell)}


def experiments_of(table: Path, done: set[str]) -> Iterator[dict]:
    """Runs of the experiments, where one is on, that the store does not hold yet: the values that each ends with."""
    keys = ["source", "target", "method", "setting", "seed"]
    for columns, cell, rows in _cells(table, keys, done) if table.is_file() else []:
        yield {"key": cell, "params": columns, "history": [(0, dict(zip(rows["measure"], rows["value"], strict=True)))]}


def _cells(path: Path, keys: list[str], done: set[str]) -> Iterator[tuple[dict, str, pd.DataFrame]]:
    table = pd.read_csv(path, dtype={"blocks": str, "cell": str})
    for (*values, cell), rows in table[~table["cell"].isin(done)].groupby([*keys, "cell"], sort=False):
        yield dict(zip(keys, values, strict=True)), cell, rows.drop(columns=[*keys, "cell"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--follow", type=Path, metavar="JOURNAL", help="mirror the journal of a running stage, and nothing else")
    arguments = parser.parse_args()
    command.call(follow, path=arguments.follow) if arguments.follow else command.call(main)
