"""The whole pipeline by calling its stages in this process: as dvc.yaml says, without what DVC and Python take to start each of them.

What DVC adds to it (what runs again after what, experiments, the cache) is proven in test_pipeline.py.
"""

import shutil
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest
from repository import ROOT, Repository, dumped, loaded

from stages.lib.report import drawings
from stages.lib.store import journal


def settings_only(folder: Path, settings: dict) -> Repository:
    """A folder with these settings in params.yaml and with the catalogs as they are here."""
    for name in ("data/catalog.yaml", "models/catalog.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    one_process = {name: section | {"workers": 1} for name, section in settings.items() if name == "grid"}  # each of them takes a second
    (folder / "params.yaml").write_text(dumped(settings | one_process))
    return Repository(folder)


def run_all(
    repository: Repository,
    *,
    but: tuple[str, ...] = ("track",),
    done: tuple[str, ...] = (),
    kinds: tuple[str, ...] = ("svg",),
    **environment: str,
) -> list[str]:
    """Run every stage for every item of its matrix, in the order of dvc.yaml; returns their names.

    Args:
        but: stages that are not run.
        done: stages, with their items, whose results are there.
        kinds: of files in which figures are drawn; PNGs are tested in test_report.py.
    """
    settings, names = loaded(repository.text("params.yaml")), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository.folder)
        patch.setattr(journal, "LIVE_AFTER_S", 1e6)  # no follower
        patch.setattr(drawings, "processes", nullcontext)  # figures are drawn here: that others draw the same is tested beside drawings
        patch.setattr(drawings, "KINDS", kinds)
        for name, value in (environment | {"DVC_ROOT": str(repository.folder)}).items():
            patch.setenv(name, value)
        for stage, body in loaded((ROOT / "dvc.yaml").read_text())["stages"].items():
            for item in [] if stage in but else items_of(body, settings):
                name = "@".join([stage, *item])
                if name not in done:
                    import_module(f"stages.{stage}").main(*item)
                    names.append(name)
    return names


def items_of(body: dict, settings: dict) -> list[tuple[str, ...]]:
    """The arguments of a stage, for each item of its matrix, which has one axis; of a stage without a matrix none."""
    if "matrix" not in body:
        return [()]
    [listed] = body["matrix"].values()
    return [(name,) for name in settings[listed.removeprefix("${").removesuffix("}")]]
