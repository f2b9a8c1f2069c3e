"""What the stages before have written, read for the report: of the configured sources and targets, never what else lies there."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors import SafetensorError, safe_open

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks.sources import count, paths
from stages.lib.report.cards import Card, Unlearnt, labels_of, unlearnt
from stages.lib.report.results import Results, at
from stages.lib.report.wording import block_order, eps_text, nearest_blocks, nearest_size
from stages.lib.store import files
from stages.lib.store.tables import (
    ATTACKED,
    CHECKS,
    EXPERIMENT_IMAGES,
    EXPERIMENT_RUNS,
    PER_IMAGE,
    RATES,
    RESULTS,
    RUNS,
    WORST,
    finetuned,
    read_table,
    robustness,
)

SAMPLES = 12  # pictures of a split
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "normalise.mean", "normalise.std")  # that no step of training moves
SHOWN = 96  # pixels a side of a picture on the page, at most


@dataclass(frozen=True)
class ExperimentResults:
    """What an experiment left: its runs, a row for each run and measure; each test image; arrays; and the settings that it ran with."""

    settings: dict[str, Any]
    runs: pd.DataFrame
    arrays: dict[str, np.ndarray]
    images: pd.DataFrame


def load_experiments(names: list[str]) -> dict[str, ExperimentResults]:
    """The results of the experiments that params.yaml names, by their names, in its order."""
    return {
        name: ExperimentResults(
            settings=files.read_json(RESULTS / name / "settings.json"),
            runs=read_table(RESULTS / name / "runs.parquet", list(EXPERIMENT_RUNS)),
            arrays=read_arrays(RESULTS / name / "arrays.npz"),
            images=read_table(RESULTS / name / "images.parquet", list(EXPERIMENT_IMAGES)),
        )
        for name in names
    }


def cards_of(experiments: dict[str, ExperimentResults]) -> dict[str, dict[str, Any]]:
    """The cards of the sources of all experiments, by name."""
    names = dict.fromkeys(source for result in experiments.values() for source in result.runs["source"])
    return {name: files.read_json(paths(name)[1]) for name in names}


def models_of(source: str) -> list[Card]:
    """The cards of all models of a source."""
    return [files.read_json(paths(source, number)[1]) for number in range(count(source))]


def unlearnt_first(names: Iterable[str]) -> list[Unlearnt]:
    """Of sources, the first models, on which experiments run, that have not learnt their own data."""
    return [model for name in names for model in unlearnt(models_of(name)) if model.number == 0]


def load_results(settings: dict[str, Any]) -> Results:
    """The results of the configured sources and targets.

    Args:
        settings: the sections of params.yaml by name.
    """
    sources, targets, wanted = settings["sources"], settings["targets"], settings["report"]
    runs = pd.concat([read_table(finetuned(source) / "runs.parquet", list(RUNS)) for source in sources], ignore_index=True)
    runs = in_order(runs[runs["target"].isin(targets)], sources, targets)
    metrics = {target: sets.card_of(target).metric for target in targets}
    attacked, checks = (
        concatenated([read_table(robustness(source) / f"{name}.parquet", list(columns)) for source in sources])
        for name, columns in (("robustness", ATTACKED), ("checks", CHECKS))
    )
    images = concatenated([at(read_table(robustness(source) / "images.parquet", list(PER_IMAGE)), attack=WORST) for source in sources])
    models = {name: models_of(name) for name in sources}
    sizes = settings["draw_subsets"].n_images
    return Results(
        runs=by_metric(runs, metrics),
        robustness=attacked,
        checks=checks,
        models=models,
        labels=labels_of({name: of_source[0] for name, of_source in models.items()}, wanted.natural),
        natural=wanted.natural,
        targets=targets,
        textures=[name for name in targets if sets.card_of(name).label_is_texture],
        n_test={split: card.n for split, card in sets.card_of(settings["source"].dataset).splits.items()},
        blocks=nearest_blocks([str(b) for b in settings["blocks"]], str(wanted.headline.blocks)),
        size=nearest_size(sizes, wanted.headline.n_images),
        whole={target: sets.card_of(target).splits["train"].n for target in targets} if "all" in sizes else {},
        standing=images,
        metrics=metrics,
        measured=runs,
        rates=rates_of(sources, targets) if settings["finetune"].select else pd.DataFrame(),
    )


def by_metric(runs: pd.DataFrame, metrics: dict[str, str]) -> pd.DataFrame:
    """The runs with the mean accuracy over classes as `test_accuracy` of the targets that are reported by it."""
    by_class = runs["target"].map(metrics).eq("mean_per_class")
    return runs.assign(test_accuracy=runs["test_accuracy"].where(~by_class, runs["test_mean_per_class"]))


def rates_of(sources: list[str], targets: list[str]) -> pd.DataFrame:
    """Runs at all learning rates of the configured sources and targets."""
    rates = pd.concat([read_table(finetuned(source) / "rates.parquet", list(RATES)) for source in sources], ignore_index=True)
    return rates[rates["target"].isin(targets)].reset_index(drop=True)


def size_of(path: Path) -> tuple[int, int]:
    """Parameters of a network, without statistics; and bytes of the safetensors file of its weights, of which the head alone is read.

    Raises:
        RunError: names the file, when it is missing or unreadable.
    """
    try:
        with safe_open(path, framework="numpy") as weights:
            counts = [math.prod(weights.get_slice(name).get_shape()) for name in weights.keys() if not name.endswith(STATISTICS)]  # noqa: SIM118  no mapping
        return sum(counts), path.stat().st_size
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the stage that writes it has not run") from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); run `dvc repro` to make it again") from None


def concatenated(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below one another."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def in_order(runs: pd.DataFrame, sources: list[str], targets: list[str]) -> pd.DataFrame:
    """Sorted as params.yaml lists sources and targets; then by blocks, n_images, seed and epoch."""
    keys = {"source": sources.index, "target": targets.index, "blocks": block_order}
    runs = runs.assign(**{name: runs[name].astype(str) for name in (*keys, "cell")})
    return runs.sort_values(list(RUNS)[:6], key=lambda c: c.map(keys[c.name]) if c.name in keys else c, ignore_index=True)


def samples_of(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each split, the first image of each class, at most SAMPLES, reduced to a side of SHOWN; no split of a set without images."""
    splits = {}
    for split in sorted(sets.card_of(name).splits, key=lambda s: (s != "train", s)):
        x, y = sets.load(name, split)
        if len(x.shape) == 1:  # files of images with several objects each, of which studies show some
            continue
        y = y if y.ndim == 1 else y[:, 0]  # of a label of the shape and one of the texture, the former
        first = np.unique(y, return_index=True)[1][:SAMPLES]
        splits[split] = (reduced(np.asarray(x[first])), y[first])
    return splits


def reduced(x: np.ndarray) -> np.ndarray:
    """uint8 [n, H, W, channels] with a side of at most SHOWN pixels: a page with pictures of 224 x 224 would be large."""
    if x.shape[1] <= SHOWN:
        return x
    small = [Image.fromarray(image.squeeze()).resize((SHOWN, SHOWN), Image.Resampling.BILINEAR) for image in x]
    return np.stack([np.asarray(image).reshape(SHOWN, SHOWN, -1) for image in small])


def example_group(source: str, target: str, model: str, norm: str) -> list[dict[str, Any]]:
    """The arrays of one model and norm in examples.npz; none where the file has no such group."""
    arrays, group = read_arrays(robustness(source) / "examples.npz"), f"{model}_{norm}" if model == "source" else f"{model}_{target}_{norm}"
    if f"{group}_clean" not in arrays:
        return []
    names = ["clean", "adversarial", "label", "predicted_clean", "predicted_adversarial"]
    shown = {name: arrays[f"{group}_{name}"] for name in names}
    return [{"source": source, "norm": norm, "radius": eps_text(norm, float(arrays[f"{group}_eps"])), **shown}]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What an .npz file holds.

    Raises:
        RunError: names the file, when it is missing or unreadable.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the stage that writes it has not run") from None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunError(f"{path}: cannot be read ({error}); run `dvc repro` to make it again") from None
