"""An image set as it was published, or as it is drawn from its seed, in data/raw/<dataset>/.

Reads data/catalog.yaml: <dataset>, params.yaml: download. Writes data/raw/<dataset>/, verified by its checksum.
"""

import argparse
from importlib.resources import files as package_files

from stages.lib import params
from stages.lib.datasets import RAW, save
from stages.lib.errors import RunError
from stages.lib.fetch import fetch
from stages.lib.journal import execution
from stages.lib.params import DownloadSettings, Packaged
from stages.lib.procedural import draw, splits_of
from stages.lib.progress import bar


def main(name: str) -> None:
    settings, entry = params.section("download"), params.dataset_entry(name)
    shown = settings.model_dump() | {name: entry.model_dump()}
    with execution("download", name, settings=shown, inputs=[], outputs=[RAW / name]):
        if isinstance(entry, Packaged):
            copy_from_package(name, entry, settings)
        else:
            for split in splits_of(entry):
                x, y = draw(entry, split, lambda numbers, split=split: bar(numbers, title=f"{name}: {split}", unit="image"))
                save(RAW / name, split, x, y)


def copy_from_package(name: str, entry: Packaged, settings: DownloadSettings) -> None:
    try:
        path = str(package_files(entry.package) / entry.file)
    except ModuleNotFoundError:
        raise RunError(f"{params.DATA_CATALOG}: {name}.package is {entry.package!r}, which is not installed") from None
    fetch(path, RAW / name / entry.file, sha256=entry.sha256, timeout_s=settings.timeout_s, attempts=settings.attempts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    main(parser.parse_args().dataset)
