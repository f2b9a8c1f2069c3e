"""An image set as it was published, or as it is drawn from its seed, in data/raw/<dataset>/.

Reads data/catalog.yaml: <dataset>, params.yaml: download. Writes data/raw/<dataset>/: archives, each verified by its checksum,
arrays, or a manifest of a folder of images that stays where it is. DVC leaves the outs of this stage in place before it runs
(`persist`), so a file that was put there by hand is verified and used; what is not of the entry is removed in the end.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from stages.lib import command
from stages.lib.datasets import folders, published
from stages.lib.datasets.procedural import draw, splits_of
from stages.lib.datasets.sets import RAW, save
from stages.lib.errors import RunError
from stages.lib.progress import bar, bytes_bar, log
from stages.lib.settings import params
from stages.lib.settings.catalog import AnyDataset, File, Folder, Packaged, Procedural, Torchvision
from stages.lib.settings.sections import DownloadSettings
from stages.lib.store import files
from stages.lib.store.checksums import is_known
from stages.lib.store.fetch import fetch
from stages.lib.store.journal import execution


def main(dataset: str) -> None:
    settings, entry = params.section("download"), params.dataset_entry(dataset)
    shown = settings.model_dump() | {dataset: entry.model_dump()}
    with execution("download", dataset, settings=shown, inputs=[], outputs=[RAW / dataset]):
        if isinstance(entry, Torchvision):
            published.check(dataset, entry)
        if isinstance(entry, Procedural):
            kept = draw_all(dataset, entry)
        elif isinstance(entry, Folder) and entry.path is not None:
            kept = [list_folder(dataset, entry)]
        else:
            kept = [bring(dataset, file, settings) for file in published_files(dataset, entry)]
        tidy(RAW / dataset, kept)


def draw_all(dataset: str, entry: Procedural) -> list[str]:
    """Draw every split of a procedural set; returns the names of its files."""
    for split in splits_of(entry):
        x, y = draw(entry, split, lambda numbers, split=split: bar(numbers, title=f"{dataset}: {split}", unit="image"))
        save(RAW / dataset, split, x, y)
    return [f"{split}_{part}.npy" for split in splits_of(entry) for part in "xy"]


def published_files(dataset: str, entry: AnyDataset) -> list[File]:
    """The files of the entry; of one that an installed package carries, from there."""
    if not isinstance(entry, Packaged):
        return entry.files
    top, *rest = entry.package.split(".")
    spec = find_spec(top)  # of the top package alone, as looking further would import it
    if spec is None or spec.origin is None:
        raise RunError(f"{params.DATA_CATALOG}: {dataset}.package is {entry.package!r}, which is not installed")
    return [File(name=entry.file, mirrors=[str(Path(spec.origin).parent.joinpath(*rest, entry.file))], sha256=entry.sha256)]


def bring(dataset: str, file: File, settings: DownloadSettings) -> str:
    """A file of the set, verified, in its folder; returns its name. One that another set has, of which it is a part, comes from there."""
    elsewhere = [str(path) for path in sorted(RAW.glob(f"*/{file.name}")) if path.parent.name != dataset] if is_known(file) else []
    file = file.model_copy(update={"mirrors": [*elsewhere, *file.mirrors]})
    with bytes_bar(f"{dataset}: {file.name}") as progress:
        fetch(file, RAW / dataset / file.name, timeout_s=settings.timeout_s, attempts=settings.attempts, progress=progress)
    return file.name


def list_folder(dataset: str, entry: Folder) -> str:
    """The manifest of a folder of images, so that what it holds has a version; returns its name."""
    root = folders.root_of(entry)
    paths = sorted(path for listed in folders.find(dataset, root, entry).values() for path in listed.paths)
    with bar(title=f"{dataset}: manifest", total=len(paths), unit="image") as progress:
        files.write_bytes(RAW / dataset / folders.MANIFEST, folders.manifest(root, paths, progress.update))
    return folders.MANIFEST


def tidy(folder: Path, kept: list[str]) -> None:
    """Remove what is not of the entry, so that nothing of an earlier one is taken for a part of the set."""
    for path in sorted(folder.iterdir()):
        if path.name not in kept:
            log(f"{path}: removed, as it is not of {params.DATA_CATALOG}: {folder.name}")
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


if __name__ == "__main__":
    command.run(main, __doc__, "dataset")
