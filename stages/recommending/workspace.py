"""A workspace of its own for one recommendation: settings, catalogs and data as the pipeline's stages read them, below recommend/<name>/.

The stages run in it as DVC runs them in a copy of the repository: their finished work lies in the store of the original one, under keys in
which no name of a folder counts, so that what one recommendation has computed another takes up. Nothing of the repository itself changes.

| below recommend/<name>/ | holds |
|---|---|
| `index.html`, `answer.json`, `answer.txt` | the answer |
| `model/` | the chosen model, to take home |
| `work/` | the workspace; it may be removed at any time |
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.settings import overlays, params
from stages.lib.settings.sections import Params
from stages.lib.store import code, files
from stages.recommending.clock import Clock
from stages.recommending.images.census import Census

FOLDER = Path("recommend")
FINAL = 0.3  # of the images, that no decision sees
MOST_FINAL = 1000
LEAST_S = 1.0  # that a stage has
LARGE = 96  # pixels a side from which on a network is fine-tuned with the settings for networks of ImageNet
POOL = "pool"  # suffix of the set whose test images are those that are learnt and decided by, for attacks that decide


@dataclass(frozen=True)
class Division:
    """Which images are for learning and deciding, and which no decision sees; places in the census."""

    pool: list[int]
    final: list[int]


def divide(census: Census) -> Division:
    """Divide the images, each class in proportion, by the content of the files: names of files and folders decide nothing."""
    order = sorted(range(len(census.y)), key=lambda i: (census.y[i], census.sha256[i]))
    n_final = min(round(FINAL * len(order)), MOST_FINAL)
    pool, final = sets.stratified_split(census.y[order], len(order) - n_final, seed=0)
    return Division([order[i] for i in pool], [order[i] for i in final])


class Workspace:
    """The folder of one recommendation, which is the current folder while it is in use.

    Args:
        root: of the project.
        name: of the recommendation.
        clock: that ends its stages, where they are given no other end.
    """

    def __init__(self, root: Path, name: str, clock: Clock):
        self.root, self.out, self.clock = root, root / FOLDER / name, clock
        self.folder = self.out / "work"

    def __enter__(self) -> "Workspace":
        for place in ("data", "models/sources"):
            (self.folder / place).mkdir(parents=True, exist_ok=True)
        self._before = os.getcwd(), {name: os.environ.get(name) for name in ("DVC_ROOT", "DVC_EXP_NAME")}
        os.environ |= {"DVC_ROOT": str(self.root), "DVC_EXP_NAME": f"recommend-{self.out.name}"}
        os.chdir(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        folder, environment = self._before
        os.chdir(folder)
        for name, value in environment.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})

    def settings(self, size: int) -> Params:
        """The settings for images of that many pixels a side: those of the profile for the user's own images from LARGE pixels on."""
        return params.parse(Params, self._values(size), params.PARAMS)

    def _values(self, size: int) -> dict[str, Any]:
        values = overlays.merged(["own-images"] if size >= LARGE else [], code.ROOT / overlays.FOLDER)
        asked = params.read_yaml(self.root / params.PARAMS) if (self.root / params.PARAMS).is_file() else {}
        values |= {name: asked[name] for name in ("grid", "track") if name in asked}
        values["download"] |= {"attempts": 1, "timeout_s": 20}
        values["upscale"] = {"image_size": size, "store": "upscaled"}
        values["experiments"] = []
        values["report"] = {name: values["report"][name] for name in ("natural", "headline")}  # a study adds more
        return {name: value for name, value in values.items() if name in Params.model_fields}

    def write(self, size: int, **changes: dict[str, Any]) -> None:
        """Write params.yaml for images of a size; changes: keys of sections."""
        values = self._values(size)
        for section, keys in changes.items():
            values[section] = values[section] | keys if isinstance(keys, dict) else keys
        Path(params.PARAMS).write_text(yaml.safe_dump(values, sort_keys=False))

    def catalogs(self, targets: list[str]) -> None:
        """Write the catalogs: those of the project, and an entry for each of the sets that are made of the user's images."""
        for path in (params.DATA_CATALOG, params.MODEL_CATALOG):
            shutil.copyfile((self.root if (self.root / path).is_file() else code.ROOT) / path, path)
        own = {}
        for name in targets:
            splits = {"train": "train", "test": "train"} if name.endswith(POOL) else {"train": "train", "test": "test"}
            own[name] = {"kind": "folder", "path": str(self.folder / "images"), "splits": splits}
        with open(params.DATA_CATALOG, "a") as file:
            file.write("\n" + yaml.safe_dump(own) if own else "")

    def view(self, census: Census, division: Division) -> None:
        """Links to the user's images, by split and class; row i of a split is place i of the division."""
        images = Path("images")
        shutil.rmtree(images, ignore_errors=True)
        for split, places in (("train", division.pool), ("test", division.final)):
            for row, place in enumerate(places):
                source = (census.root / census.paths[place]).resolve()
                link = images / split / census.classes[census.y[place]] / f"{row:06d}{source.suffix.lower()}"
                link.parent.mkdir(parents=True, exist_ok=True)
                try:
                    link.symlink_to(source)
                except OSError:  # a file system without links
                    shutil.copyfile(source, link)

    def stage(self, name: str, *items: str, most_s: float | None = None) -> None:
        """Run a stage of the pipeline here, as a process of its own.

        Args:
            most_s: seconds that it may take; None: as many as are left.

        Raises:
            RunError: with the last line that the stage wrote, where it failed or took too long.
        """
        environment = os.environ | {"PYTHONPATH": f"{code.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-m", f"stages.{name}", *items]
        try:
            most_s = max(LEAST_S, self.clock.left_s if most_s is None else most_s)
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=most_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"{name}@{items[0]}: took longer than the {most_s:.0f} s that it had; run again with more --minutes") from None
        if done.returncode:
            last = [line for line in done.stderr.strip().splitlines() if line.startswith("error: ")] or done.stderr.strip().splitlines()
            raise RunError(last[-1].removeprefix("error: ") if last else f"{name}: ended with {done.returncode}")

    def link_source(self, name: str) -> bool:
        """Take a source that the project has at hand; False where it has none of that name."""
        theirs, ours = (self.root / sources.folder_of(name)), sources.folder_of(name)
        if not (theirs / "0.json").is_file():
            return (ours / "0.json").is_file()
        if not ours.exists():
            ours.unlink(missing_ok=True)  # a link to what is gone
            ours.symlink_to(theirs.resolve())
        return True

    def has_images(self, dataset: str) -> bool:
        """Whether the workspace has the arrays of a set; the project's own are taken where it has them."""
        theirs, ours = self.root / sets.IMAGES / dataset, sets.IMAGES / dataset
        if (theirs / "card.json").is_file() and not ours.exists():
            ours.parent.mkdir(parents=True, exist_ok=True)
            ours.symlink_to(theirs.resolve())
        return (ours / "card.json").is_file()

    def images(self, target: str, size: int, digest: str) -> None:
        """Make the arrays of a set of the user's images, unless they are there."""
        done = Path("data") / f"{target}.made"
        if done.is_file() and done.read_text() == digest and (sets.IMAGES / target / "card.json").is_file():
            return
        self.write(size)
        self.stage("download", target)
        self.stage("upscale", target)
        files.write_bytes(done, digest.encode())
