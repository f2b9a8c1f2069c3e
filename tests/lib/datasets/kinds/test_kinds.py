"""Kinds of image sets: each is a file that offers the same, what is not listed reaches no reader, and a new one is added with little."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from repository import dumped, loaded

from stages.lib.datasets import catalog
from stages.lib.datasets.kinds.base import Dataset
from stages.lib.datasets.sets import DatasetCard
from stages.lib.settings import params
from stages.lib.settings.sections import UpscaleSettings
from stages.lib.store import code, files

ENTRIES = [catalog.dataset_entry(name, code.ROOT / params.DATA_CATALOG) for name in params.read_yaml(code.ROOT / params.DATA_CATALOG)]
OFFERED = ("bring", "read", "native_size", "expected_images", "file_bytes", "label_is_texture")

ARRAYS = """
from collections.abc import Iterator
from typing import Literal

import numpy as np

from stages.lib.datasets.kinds.base import Dataset, Split, bring_files
from stages.lib.datasets.sets import RAW
from stages.lib.settings.catalog import File
from stages.lib.settings.fields import Count
from stages.lib.settings.sections import DownloadSettings


class Arrays(Dataset):
    kind: Literal["arrays"]
    classes: Count
    train: Count
    test: Count
    side: Count
    file: File

    def bring(self, name: str, settings: DownloadSettings) -> list[str]:
        return bring_files(name, [self.file], settings)

    def read(self, name: str, image_size: int) -> Iterator[Split]:
        with np.load(RAW / name / self.file.name) as arrays:
            yield from ((split, arrays[f"{split}_x"], arrays[f"{split}_y"]) for split in ("train", "test"))

    def native_size(self, image_size: int) -> int:
        return self.side


Entry = Arrays
"""


def types_of_entries() -> list[type]:
    union = get_args(catalog.AnyDataset)[0]
    return [kind for member in get_args(union) for kind in (get_args(get_args(member)[0]) if get_args(member) else [member])]


def test_every_kind_offers_the_same_in_a_file_of_the_name_of_its_word():
    assert len(types_of_entries()) == 9
    for kind in types_of_entries():
        assert issubclass(kind, Dataset)
        assert not kind.__abstractmethods__
        assert get_args(kind.model_fields["kind"].annotation) == (kind.__module__.rpartition(".")[2],)
    for entry in ENTRIES:
        assert all(hasattr(entry, offered) for offered in OFFERED)


def test_what_offers_less_is_no_kind():
    with pytest.raises(TypeError, match="abstract"):
        Dataset(classes=2, channels=1, train=1, test=1)


@pytest.mark.parametrize(
    ("name", "store", "side", "size"),
    [
        ("digits", {"store": "upscaled"}, 224, 224**2), ("digits", {"store": "native"}, 8, 64), ("digits", {"store": "whole"}, 224, 64),
        ("pets", {"store": {"pets": "whole", "others": "native"}}, 224, 256 * 256 * 3 * 4 / 3),
        ("pets", {"store": "native"}, 224, 224**2 * 3), ("pets", {"store": "whole", "shorter_side": 375}, 224, 375 * 500 * 3),
    ],
)  # fmt: skip
def test_a_plan_knows_what_a_stored_image_takes(name, store, side, size):
    """Whole photographs are as wide as usual, 4 to 3."""
    entry, settings = catalog.dataset_entry(name, code.ROOT / params.DATA_CATALOG), UpscaleSettings(image_size=224, **store)
    assert entry.read_size(name, settings) == side
    assert entry.image_bytes(name, settings) == pytest.approx(size)


def test_the_catalog_is_read_without_what_draws_or_trains():
    loads = (
        "import sys, stages.check, stages.download; sys.exit(bool({'torch', 'torchvision', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", loads], cwd=code.ROOT, timeout=60, check=False).returncode == 0


def test_stages_ask_no_set_for_its_kind():
    kinds = {f"stages.lib.datasets.kinds.{path.stem}" for path in (code.ROOT / "stages/lib/datasets/kinds").glob("[a-z]*.py")}
    base = {"stages.lib.datasets.kinds.base"}
    for path in (code.ROOT / "stages").rglob("*.py"):
        place = path.relative_to(code.ROOT)
        if place != Path("stages/lib/datasets/catalog.py") and "kinds" not in place.parts:
            assert not set(code.imports(place)) & (kinds - base), place


@pytest.fixture
def tree(tmp_path, workspace) -> Path:
    """A copy of the code, in which a kind is added; the current folder is the workspace."""
    shutil.copytree(code.ROOT / "stages", tmp_path / "copy/stages", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copy/stages/lib/datasets/kinds/arrays.py").write_text(ARRAYS)
    listing = tmp_path / "copy/stages/lib/datasets/catalog.py"
    text = listing.read_text()
    text = text.replace("kinds import ", "kinds import arrays, ").replace("KINDS = (", "KINDS = (arrays, ")
    assert text.count("arrays") == 2
    listing.write_text(text)
    return tmp_path / "copy"


def test_a_kind_that_is_added_as_a_file_is_downloaded_and_upscaled(tree, workspace):
    rng, n = np.random.default_rng(0), {"train": 12, "test": 6}
    splits = {split: (rng.integers(0, 256, (n[split], 5, 5, 1), np.uint8), np.arange(n[split]) % 3) for split in n}
    np.savez(
        workspace.folder / "made.npz",
        **{f"{split}_{a}": array for split, pair in splits.items() for a, array in zip("xy", pair, strict=True)},
    )
    entries = loaded(workspace.text("data/catalog.yaml"))
    file = {"name": "made.npz", "mirrors": ["made.npz"], "sha256": files.sha256_of(workspace.folder / "made.npz")}
    entries["made"] = {"kind": "arrays", "classes": 3, "channels": 1, "train": 12, "test": 6, "side": 5, "file": file}
    (workspace.folder / "data/catalog.yaml").write_text(dumped(entries))
    workspace.edit("params.yaml", upscale__store="native")
    environment = os.environ | {"PYTHONPATH": str(tree)}
    for stage in ("download", "upscale"):
        command = [sys.executable, "-m", f"stages.{stage}", "made"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    card = DatasetCard(**files.read_json(workspace.folder / "data/images/made/card.json"))
    assert (card.classes, card.stored_size, {split: counted.n for split, counted in card.splits.items()}) == (3, 5, n)
    for split, (x, y) in splits.items():
        assert np.array_equal(np.load(workspace.folder / f"data/images/made/{split}_x.npy"), x)
        assert np.array_equal(np.load(workspace.folder / f"data/images/made/{split}_y.npy"), y)


def test_a_kind_that_is_not_listed_is_refused_with_those_that_are(workspace):
    workspace.edit("data/catalog.yaml", digits__kind="arrays")
    with pytest.raises(
        params.SettingsError,
        match=r"^data/catalog\.yaml: digits is .*'arrays'.*'procedural', 'packaged', 'published', 'photographs', 'folder'",
    ):
        catalog.dataset_entry("digits")
