"""An image set as it was published, or as it is drawn from its seed, in data/raw/<dataset>/.

Reads data/catalog.yaml: <dataset>, params.yaml: download. Writes data/raw/<dataset>/, verified by its checksum.
"""

from importlib.util import find_spec
from pathlib import Path

from stages.lib import command, params
from stages.lib.catalog import File, Packaged
from stages.lib.datasets import RAW, save
from stages.lib.errors import RunError
from stages.lib.fetch import fetch
from stages.lib.journal import execution
from stages.lib.procedural import draw, splits_of
from stages.lib.progress import bar
from stages.lib.settings import DownloadSettings


def main(dataset: str) -> None:
    settings, entry = params.section("download"), params.dataset_entry(dataset)
    shown = settings.model_dump() | {dataset: entry.model_dump()}
    with execution("download", dataset, settings=shown, inputs=[], outputs=[RAW / dataset]):
        if isinstance(entry, Packaged):
            copy_from_package(dataset, entry, settings)
        else:
            for split in splits_of(entry):
                x, y = draw(entry, split, lambda numbers, split=split: bar(numbers, title=f"{dataset}: {split}", unit="image"))
                save(RAW / dataset, split, x, y)


def copy_from_package(name: str, entry: Packaged, settings: DownloadSettings) -> None:
    top, *rest = entry.package.split(".")
    spec = find_spec(top)  # of the top package alone, as looking further would import it
    if spec is None or spec.origin is None:
        raise RunError(f"{params.DATA_CATALOG}: {name}.package is {entry.package!r}, which is not installed")
    path = str(Path(spec.origin).parent.joinpath(*rest, entry.file))
    file = File(name=entry.file, mirrors=[path], sha256=entry.sha256)
    fetch(file, RAW / name / entry.file, timeout_s=settings.timeout_s, attempts=settings.attempts)


if __name__ == "__main__":
    command.run(main, __doc__, "dataset")
