"""An experiment of a paper beyond fine-tuning: all runs that its section of params.yaml asks for; each run is a cell of the store.

Reads models/sources/, data/images/, params.yaml: the section of the experiment's name. Writes models/results/<experiment>/: runs.parquet,
a row for each run and measure, images.parquet, a row for each of their test images, arrays.npz, from which the report draws pictures,
and settings.json, the section.
"""

from pathlib import Path

from stages.lib import command
from stages.lib.datasets.sets import IMAGES
from stages.lib.networks import sources
from stages.lib.runs import experiments
from stages.lib.runs.experiments import Run
from stages.lib.settings import params
from stages.lib.store import files
from stages.lib.store.journal import execution
from stages.lib.store.tables import RESULTS
from stages.studies import registry


def main(experiment: str) -> None:
    chosen, settings, out = registry.experiment_of(experiment), registry.section(experiment), RESULTS / experiment
    if settings is None:
        raise params.SettingsError(f"{params.PARAMS}: {experiment} has no settings; allowed: a section of that name, or not to name it")
    runs = chosen.runs(settings, sources.card_of)
    with execution("experiment", experiment, settings=settings.model_dump(), inputs=inputs_of(runs), outputs=[out]) as journal:
        grid = params.section("grid")
        prepare = (lambda missing: chosen.prepare(missing, grid)) if chosen.prepare else None
        experiments.compute(experiment, runs, out, journal, prepare)
        files.write_npz(out / "arrays.npz", chosen.arrays(runs))
        files.write_json(out / "settings.json", settings.model_dump())


def inputs_of(runs: list[Run]) -> list[Path]:
    """Files of the sources, and folders of the image sets, that the runs read."""
    named = dict.fromkeys(name for run in runs for name in (run.source, *(other.name for other in run.others)))
    return [
        *(sources.folder_of(name) for name in named),
        *(IMAGES / name for name in dict.fromkeys(name for run in runs for name in run.image_sets)),
    ]


if __name__ == "__main__":
    command.run(main, __doc__, "experiment")
