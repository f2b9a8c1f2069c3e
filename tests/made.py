"""Results as the stages before the report leave them, made so that every mean is known: the embedded study, and the paper's in full."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from stages import report
from stages.lib.datasets import sets
from stages.lib.report import drawings
from stages.lib.store import journal, tables
from stages.lib.store.files import sha256_of
from stages.studies.utrera2021.results import UtreraResults

ROOT = Path(__file__).resolve().parents[1]
PIXELS = 12
NOTHING = pd.DataFrame(columns=list(tables.ATTACKED))
UNCHECKED = pd.DataFrame(columns=list(tables.CHECKS))
FIRST_SEED, SEED_STEP = 20000000, 100000
WHOLE = {"cifar10": 50000, "svhn": 73257, "kmnist": 60000, "mnist": 60000}  # of the six targets of Utrera et al.
SIZES = [100, 800, 1600, 25600]  # of Table 4 of Utrera et al., besides `all`
BLOCKS = [0, 1, 3]
EPOCHS = [1, 11, 21, 100]  # that are evaluated
TABLE7 = ROOT / "stages/studies/utrera2021/published/table7.csv"
THREATS = {
    "torchvision_resnet50": None,
    "utrera_l2_eps3": {"norm": "l2", "eps": 3.0, "perturbation": None},
    "utrera_linf_eps4_255": {"norm": "linf", "eps": 4 / 255, "perturbation": None},
    "utrera_linf_eps8_255": {"norm": "linf", "eps": 8 / 255, "perturbation": None},
    "pgd1_resnet50_l2_eps3": {"norm": "l2", "eps": 3.0, "perturbation": "PGD(1)"},
    "gaussian_resnet50_l2_eps3": {"norm": "l2", "eps": 3.0, "perturbation": "Gaussian"},
    "random_resnet50": None,
}
COLUMNS = {"torchvision_resnet50": "natural", "utrera_l2_eps3": "l2_eps3", "utrera_linf_eps4_255": "linf_eps4_255",
           "utrera_linf_eps8_255": "linf_eps8_255", "random_resnet50": "random_init"}  # fmt: skip
PUBLISHED_TOP1 = {"torchvision_resnet50": 76.13, "utrera_l2_eps3": 57.90, "utrera_linf_eps4_255": 62.42, "utrera_linf_eps8_255": 47.91}
OF_BLOCKS = {"0": -6.0, "1": -1.5, "3": 0.0, "all": 0.0}  # points, against three blocks
OURS, ROBUST = 0.5, 0.25  # points that a cell of ours lies above the published one, and one of a robust source besides


def results(
    lead: Callable, seeds: int | Callable = 6, targets: tuple = ("digits",), sizes: tuple = (50, 200), blocks: tuple = ("1",),
    epochs: tuple = (1, 11), threats: dict | None = None, cards: dict | None = None, robustness: pd.DataFrame = NOTHING, checks: pd.DataFrame = UNCHECKED, **more: object,
) -> UtreraResults:  # fmt: skip
    """Natural has 60 + seed; `lead(source, target, blocks, n_images, epoch)` is what another source has more, or None: no run.

    Args:
        seeds: how many, or `seeds(source, target, n_images)`.
        threats: of each source besides natural; cards: of all, in their place.
    """
    threats = {"l2": {"norm": "l2", "eps": 0.5}, "linf": {"norm": "linf", "eps": 8 / 255}} if threats is None else threats
    cards = cards or {"natural": short_card(None), **{name: short_card(threat) for name, threat in threats.items()}}
    rows = []
    for source, target, n, epoch in product(cards, targets, sizes, epochs):
        for b in ["all"] if source == "random" else blocks:
            above = 0.0 if source == "natural" and len(blocks) == 1 else lead(source, target, b, n, epoch)
            count = seeds(source, target, n) if callable(seeds) else seeds
            if above is not None:
                rows += [(source, target, b, n, seed, epoch, 60.0 + seed + above, f"{seed}", 0) for seed in range(count)]
    runs = pd.DataFrame(rows, columns=["source", "target", "blocks", "n_images", "seed", "epoch", "test_accuracy", "cell", "source_model"])
    runs = runs.assign(lr=0.05)
    known = {
        "natural": "natural", "exemplar": next((s for s in cards if s not in ("natural", "random")), None), "targets": list(targets),
        "textures": [], "n_test": {"test": 1000, "test_decorrelated": 1000}, "blocks": blocks[-1], "size": str(sizes[-1]),
        "labels": {name: name for name in cards}, "models": {name: [card] for name, card in cards.items()},
    }  # fmt: skip
    return UtreraResults(runs=runs, robustness=robustness, checks=checks, **(known | more))


def short_card(threat: dict | None = None, kind: str = "trained", **accuracy: float) -> dict:
    return {"kind": kind, "threat": threat, "accuracy": accuracy}


def images(folder: Path, name: str, classes: int = 10, channels: int = 3, splits: dict[str, int] | None = None) -> None:
    """An image set of 20 pictures a split, whose card says what it likes."""
    random = np.random.default_rng(0)
    for split in splits or {}:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{split}_x.npy", random.integers(0, 256, (20, PIXELS, PIXELS, channels), dtype=np.uint8))
        np.save(folder / f"{split}_y.npy", np.arange(20) % 10)
    hashes = {split: sets.digest_of([sha256_of(path) for path in sets.paths_of(folder, split)]) for split in splits or {}}
    counts = {split: {"n": n, "sha256": hashes[split]} for split, n in (splits or {}).items()}
    card = {"name": name, "classes": classes, "channels": channels, "image_size": PIXELS, "stored_size": PIXELS, "mean": [0.5] * 3,
            "std": [0.2] * 3, "splits": counts, "label_is_texture": name == "textures"}  # fmt: skip
    write_json(folder / "card.json", {key: card[key] for key in sets.DatasetCard.model_fields if key in card})


def card(source: str, kind: str, threat: dict | None, accuracy: dict[str, float] | None = None, **more: object) -> dict:
    found = {
        "name": source, "kind": kind, "architecture": "small_resnet", "classes": 24, "dataset": None if kind == "random" else "glyphs",
        "threat": threat, "origin": "", "sha256": "0" * 64, "mean": [0.5] * 3, "std": [0.2] * 3, "accuracy": accuracy or {},
    }  # fmt: skip
    return found | more


def write_source(folder: Path, content: dict) -> None:
    """Weights of 12 parameters with the statistics of a batch norm, none of a random source, and the card, with their hash."""
    folder = folder / "models/sources" / content["name"]
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"weight": np.zeros((4, 3), np.float32), "norm.running_mean": np.zeros(4, np.float32)}
    save_file({} if content["kind"] == "random" else weights, folder / "0.safetensors")
    write_json(folder / "0.json", content | {"sha256": sha256_of(folder / "0.safetensors")})


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def runs(rows: list[tuple], path: Path) -> None:
    """A shuffled table of source, target, blocks, n_images, seed, epoch and test accuracy."""
    table = pd.DataFrame(rows, columns=list(tables.RUNS)[:7])
    cell = table[list(tables.RUNS)[:5]].astype(str).agg("_".join, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.assign(train_accuracy=99.0, train_loss=0.1, diverged=False, source_model=0, cell=cell, lr=0.05)
    last = table.groupby("cell")["epoch"].transform("max")
    table = table.assign(test_mean_per_class=table["test_accuracy"], reported=table["epoch"] == last)[list(tables.RUNS)].astype(tables.RUNS)
    table.sample(frac=1, random_state=0).to_parquet(path)


def diverge(path: Path, seed: list[int], **where: object) -> None:
    """Say of some runs of a table that their loss was not finite from epoch 11 on; their accuracies stay as they are."""
    table = pd.read_parquet(path)
    chosen = table["seed"].isin(seed) & (table["epoch"] >= 11)
    for column, value in where.items():
        chosen &= table[column] == value
    table.loc[chosen, "train_loss"], table.loc[chosen, "diverged"] = np.nan, True
    table.to_parquet(path)


def no_attacks(folder: Path) -> None:
    """What `evaluate_robustness` leaves where no radius is configured."""
    folder.mkdir(parents=True, exist_ok=True)
    NOTHING.astype(tables.ATTACKED).to_parquet(folder / "robustness.parquet")
    UNCHECKED.astype(tables.CHECKS).to_parquet(folder / "checks.parquet")
    pd.DataFrame(columns=list(tables.PER_IMAGE)).astype(tables.PER_IMAGE).to_parquet(folder / "images.parquet")
    np.savez(folder / "examples.npz")


def n_seeds(size: int | str) -> int:
    """As in Table 4, one of all images and fewer the larger a subset is; few enough to be quick, five or more of the others."""
    return 1 if size == "all" else 12 if size <= 1600 else 5


def paper(folder: Path) -> None:
    """The paper's study: each cell OURS above Table 7, and of a perturbed source ROBUST besides.

    Seed i is i - (n - 1) / 2 tenths above the mean for every source alike, so that means and paired differences are exact.
    PGD(1) has 0.4 less than L2 3, and Gaussian noise half of its lead over natural.
    """
    settings = paper_settings()
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data/catalog.yaml").write_text(yaml.safe_dump({name: {"kind": "folder", "path": name} for name in settings["datasets"]}))
    images(folder / "data/images/imagenet", "imagenet", 1000)
    published = pd.read_csv(TABLE7).set_index(["target", "n_images"])
    for target, whole in WHOLE.items():
        channels = 3 if target in ("cifar10", "cifar100", "svhn") else 1
        images(folder / "data/images" / target, target, channels=channels, splits={"train": whole, "test": 10000})
    for source in THREATS:
        rows = [row for target in WHOLE for row in paper_rows(source, target, published)]
        runs(rows, folder / tables.finetuned(source) / "runs.parquet")
        no_attacks(folder / tables.robustness(source))
    for source, threat in THREATS.items():
        kind = "random" if source == "random_resnet50" else "fetched"
        content = card(source, kind, threat, architecture="resnet50", published_accuracy=PUBLISHED_TOP1.get(source))
        write_source(folder, content)


def paper_settings() -> dict:
    """params.yaml of the paper's study, as far as the report reads it."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings |= {
        "sources": list(THREATS),
        "models": list(THREATS),
        "targets": list(WHOLE),
        "datasets": ["imagenet", *WHOLE],
        "blocks": BLOCKS,
    }
    settings["draw_subsets"]["n_images"] = [*SIZES, "all"]
    settings["source"]["dataset"] = "imagenet"
    settings["report"] |= {"natural": "torchvision_resnet50", "headline": {"n_images": 800, "blocks": 3}}
    settings["report"]["utrera2021"] = {
        "robust": "utrera_l2_eps3", "epochs_at": [100, 800], "similar": ["cifar10"],
        "published": {column: source for source, column in COLUMNS.items()},
    }  # fmt: skip
    return settings


def paper_rows(source: str, target: str, published: pd.DataFrame) -> list[tuple]:
    """Runs of a source on a target: source, target, blocks, n_images, seed, epoch, test accuracy."""
    rows = []
    for blocks, size in product(["all"] if source == "random_resnet50" else BLOCKS, [*SIZES, "all"]):
        n = WHOLE[target] if size == "all" else size
        base = accuracy(published.loc[(target, n)], source) + OF_BLOCKS[str(blocks)] + OURS + (ROBUST if THREATS[source] else 0)
        for i in range(n_seeds(size)):
            seed, above = FIRST_SEED + SEED_STEP * i, (i - (n_seeds(size) - 1) / 2) / 10
            rows += [(source, target, str(blocks), n, seed, e, at_epoch(base, e, EPOCHS[-1]) + above) for e in EPOCHS]
    return rows


def accuracy(published: pd.Series, source: str) -> float:
    if source in COLUMNS:
        return published[COLUMNS[source]]
    lead = published["l2_eps3"] - published["natural"]
    return published["l2_eps3"] - 0.4 if source.startswith("pgd1") else published["natural"] + lead / 2


def at_epoch(last: float, epoch: int, of: int) -> float:
    """A curve that has reached its end at the last epoch."""
    return last if epoch == of else last * (1 - 0.6 * np.exp(-epoch / of * 6))


def reported(folder: Path, make: Callable[[Path], None], kinds: tuple[str, ...] = ("svg",)) -> Path:
    """The reports/ of a folder that `make` fills, which keeps its drawn figures in itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        patch.setattr(journal, "LIVE_AFTER_S", 1000)
        patch.setattr(drawings, "processes", nullcontext)  # figures are drawn here: that others draw the same is tested beside drawings
        patch.setattr(drawings, "KINDS", kinds)
        make(folder)
        report.main()
    return folder / "reports"
