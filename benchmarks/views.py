"""What kept views change, and what they save: runs on 1, 2, 4, 8 and 16 views of each image against runs whose images are augmented anew.

Each setting is the pipeline's own: images that are augmented anew pass the frozen part in each epoch, one run after the other; views pass
it once for all subsets, whose runs are trained five at a time. Everything else is as in params.yaml, with batch norm of the frozen part
as in the source, and grey images augmented, too. The last row is the protocol as released, with statistics of each batch. Differences
are paired by subset, with 95 % intervals; those over all targets are of the mean of the targets with the same seed. Seconds are of the
processor, on one thread; networks are tested after the first epoch and the last.

`make repro` makes images and sources; `--rows FILE` keeps the runs as CSV, and goes on from there when it is called again.
"""

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from stages.draw_subsets import draw
from stages.lib.datasets import sets, subsets
from stages.lib.datasets.draws import choice
from stages.lib.networks import sources
from stages.lib.progress import bar
from stages.lib.report import statistics
from stages.lib.runs import activations, grid
from stages.lib.runs.jobs import Batch, Job, Request, Stored
from stages.lib.runs.work import finetune
from stages.lib.runs.work import frozen as frozen_parts
from stages.lib.settings.sections import Augmentation, FinetuneSettings
from stages.studies import registry

FRESH, RELEASED = 0, -1  # in the place of a number of views
COLUMNS = ["target", "views", "seed", "accuracy", "seconds"]  # the seconds of a run are its share of those of its batch
MIDDLE = 8  # the number of views that is measured first
PREPARED = -1  # in the place of a seed: the pass of all training images through the frozen part, of all views
ROUND = 2 * grid.TOGETHER  # subsets that are drawn, and run by each setting, before the next ones


def main() -> None:
    chosen = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DVC_ROOT"] = folder  # where activations are kept
        steps = [
            (target, views, list(range(chosen.subsets))[first : first + ROUND])
            for first in range(0, chosen.subsets, ROUND)
            for views in (FRESH, *sorted(chosen.views, key=lambda views: abs(views - MIDDLE)), RELEASED)
            for target in chosen.targets
        ]
        for target, views, seeds in bar(steps, title="views", total=len(steps), unit="part"):
            left = set(seeds) - {seed for of, number, seed, *_ in read(chosen.rows) if (of, number) == (target, views)}
            if left:
                write(chosen.rows, runs_of(chosen, target, views, seeds))
    print("\n".join(table(pd.DataFrame(read(chosen.rows), columns=COLUMNS), chosen.targets)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="natural")
    parser.add_argument("--targets", nargs="+", default=["digits", "textures"], help="each also as SOURCE/TARGET")
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--kind", default="published", help="of augmentation")
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--subsets", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", type=Path, default=Path(tempfile.gettempdir()) / f"views-{os.getpid()}.csv")
    return parser.parse_args()


def runs_of(chosen: argparse.Namespace, target: str, views: int, seeds: list[int]) -> list[list]:
    """The rows of one setting for some subsets."""
    source, _, name = target.rpartition("/")
    images, y = sets.card_of(name), sets.load(name, "train")[1]
    job = grid.job_of(sources.card_of(source or chosen.source), images, settings_of(chosen, views))
    drawn = {subsets.name_of(chosen.images, seed): draw(choice, y, images.classes, chosen.images, seed) for seed in seeds}
    cells = grid.plan(job, [chosen.blocks], drawn, lambda n: (chosen.epochs, chosen.epochs))
    stored, rows = {}, []
    for split in job.fixed_in_all_runs(chosen.blocks):
        stored[split], seconds = kept(job, chosen.blocks, split, {name: card.n for name, card in images.splits.items()}[split])
        if split == "train" and seconds:
            rows.append([target, views, PREPARED, float("nan"), seconds])
    for batch in grid.batches(job, cells):
        requests = [Request(cell, drawn[cell.subset]) for cell in batch]
        started = time.process_time()
        results = finetune.run(Batch(job, requests, stored))
        seconds = (time.process_time() - started) / len(batch)
        rows += [
            [target, views, cell.seed, of_epochs[-1]["test_accuracy"], seconds] for cell, (of_epochs, _) in zip(batch, results, strict=True)
        ]
    return rows


def settings_of(chosen: argparse.Namespace, views: int) -> FinetuneSettings:
    changed = {
        "augmentation": Augmentation(kind=chosen.kind, views=views if views > 0 else None), "augment_grey": True,
        "frozen_batchnorm": "batch" if views == RELEASED else "source",
    }  # fmt: skip
    return registry.load_params().finetune.model_copy(update=changed)


def kept(job: Job, blocks: int, split: str, n: int) -> tuple[Stored, float]:
    """The activations of a split, and the seconds that they took; 0 where they were there."""
    entry = activations.entry_of(job, blocks, split, n, np.arange(n))
    started = time.process_time()
    if not activations.is_kept(entry):
        shape = (entry.n_rows(n), *frozen_parts.activation_of_one(job, blocks, split).shape)
        activations.keep(entry, shape, frozen_parts.activations(job, blocks, split, entry.rows, entry.views))
        return entry.stored, time.process_time() - started
    return entry.stored, 0.0


def read(path: Path) -> list[list]:
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return [[target, int(views), int(seed), float(accuracy), float(s)] for target, views, seed, accuracy, s in csv.reader(file)]


def write(path: Path, rows: list[list]) -> None:
    with open(path, "a", newline="") as file:
        csv.writer(file).writerows(rows)


def table(rows: pd.DataFrame, targets: list[str]) -> list[str]:
    """Lines of the table: the accuracy of each setting, its difference to images that are augmented anew, and the ratio of seconds.

    A setting is compared on the subsets that it has run on. Its seconds are those of its runs and of the pass of its views through the
    frozen part.
    """
    rows = rows.drop_duplicates(["target", "views", "seed"])
    runs = rows[rows.seed != PREPARED]
    accuracy = runs.set_index(["views", "seed", "target"]).accuracy.unstack()[targets]  # [views and seed, target]
    spent = rows.groupby("views").seconds.sum() / runs.groupby("views").size()
    lines = [
        "| images are augmented | subsets | " + " | ".join(f"{name} [95 %]" for name in [*targets, "mean"]) + " | s a run | ratio |",
        "|---" * (len(targets) + 5) + "|",
    ]
    for views in sorted(runs.views.unique(), key=lambda views: views if views > 0 else MIDDLE**9 - views):
        found = accuracy.loc[views].dropna()
        found = found.assign(mean=found.mean(axis=1))
        against = accuracy.loc[FRESH].loc[found.index]
        differences = found - against.assign(mean=against.mean(axis=1))
        fields = [f"{found[name].mean():.2f} %{difference_of(differences[name]) if views != FRESH else ''}" for name in found]
        how = {FRESH: "anew in each epoch", RELEASED: "anew, batch norm as released"}.get(views, f"once to {views} views")
        lines.append(f"| {how} | {len(found)} | {' | '.join(fields)} | {spent[views]:.2f} | {spent[FRESH] / spent[views]:.1f} |")
    return lines


def difference_of(differences: pd.Series) -> str:
    """The mean of paired differences and its interval, as it follows a value."""
    mean, low, high = statistics.interval(differences.to_numpy())
    return f", {mean:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
