"""Brings an image set, as it was published or as it is drawn from its seed, to data/raw/<dataset>/.

Reads data/catalog.yaml: <dataset>, params.yaml: download. Writes data/raw/<dataset>/: archives, each verified by its checksum,
arrays, or a manifest of a folder of images that stays where it is. DVC leaves the outs of this stage in place before it runs
(`persist`), so a file that was put there by hand is verified and used; files that do not belong to the entry are removed in the end.
"""

import shutil
from pathlib import Path

from stages.lib import command
from stages.lib.datasets import catalog
from stages.lib.datasets.sets import RAW
from stages.lib.progress import log
from stages.lib.settings import params
from stages.lib.store.journal import execution


def main(dataset: str) -> None:
    settings, entry = params.section("download"), catalog.dataset_entry(dataset)
    shown = settings.model_dump() | {dataset: entry.model_dump()}
    with execution("download", dataset, settings=shown, inputs=[], outputs=[RAW / dataset]):
        tidy(RAW / dataset, entry.bring(dataset, settings))


def tidy(folder: Path, kept: list[str]) -> None:
    """Remove files that do not belong to the entry, so that none of an earlier entry is taken for a file of the set."""
    for path in sorted(folder.iterdir()):
        if path.name not in kept:
            log(f"{path}: removed, as it is not of {params.DATA_CATALOG}: {folder.name}")
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


if __name__ == "__main__":
    command.run(main, __doc__, "dataset")
