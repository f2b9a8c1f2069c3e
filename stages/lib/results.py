"""Reading what the stages before have written, for the report: of the configured sources and targets, never what else lies there."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib import datasets, files, params
from stages.lib.errors import RunError
from stages.lib.sources import paths
from stages.lib.study import Study, block_order, eps_text, nearest_blocks
from stages.lib.tables import ATTACKED, FINETUNED, ROBUSTNESS, RUNS

SAMPLES = 12  # pictures of a split


def load_study(settings: dict[str, Any]) -> Study:
    sources, targets, headline = settings["sources"], settings["targets"], settings["report"].headline
    pairs = [(source, target) for source in sources for target in targets]
    runs = pd.concat([read_table(FINETUNED / s / t / "runs.parquet", list(RUNS)) for s, t in pairs], ignore_index=True)
    attacked = [read_table(ROBUSTNESS / s / t / "robustness.parquet", list(ATTACKED)) for s, t in pairs]
    cards = {name: files.read_json(paths(name)[1]) for name in sources}
    pretrained = [str(b) for b in settings["blocks"]]
    return Study(
        runs=in_order(runs, sources, targets),
        robustness=pd.concat([t for t in attacked if len(t)] or attacked[:1], ignore_index=True).drop_duplicates(),
        cards=cards,
        labels=labels_of(cards, settings["report"].natural),
        natural=settings["report"].natural,
        targets=targets,
        textures=[name for name in targets if getattr(params.dataset_entry(name), "set", None) == "textures"],
        n_test={split: card.n for split, card in datasets.card_of(settings["source"].dataset).splits.items()},
        blocks=nearest_blocks(pretrained, str(headline.blocks)),
        n_images=min(settings["draw_subsets"].n_images, key=lambda n: (abs(n - headline.n_images), n)),
        resamples=settings["report"].bootstrap,
    )


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """The columns of a Parquet or CSV file.

    Raises:
        RunError: names the file, when it is missing, unreadable or without one of the columns.
    """
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the stage that writes it has not run") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())}); run `dvc repro` to make it again") from None
    absent = [name for name in columns if name not in table]
    if absent:
        raise RunError(f"{path}: has no column {absent[0]!r}; found: {', '.join(table.columns)}")
    return table if path.suffix == ".csv" else table[columns]


def in_order(runs: pd.DataFrame, sources: list[str], targets: list[str]) -> pd.DataFrame:
    """Sorted as params.yaml lists sources and targets; then by blocks, n_images, seed and epoch."""
    keys = {"source": sources.index, "target": targets.index, "blocks": block_order}
    runs = runs.assign(**{name: runs[name].astype(str) for name in (*keys, "cell")})
    return runs.sort_values(list(RUNS)[:6], key=lambda c: c.map(keys[c.name]) if c.name in keys else c, ignore_index=True)


def labels_of(cards: dict[str, dict], natural: str) -> dict[str, str]:
    """`natural`, `random`, or the threat model; the name itself where two would be called the same."""
    threats = {name: card["threat"] for name, card in cards.items()}
    labels = {name: eps_text(**t) if t and t["eps"] > 0 and name != natural else name for name, t in threats.items()}
    return {name: label if list(labels.values()).count(label) == 1 else name for name, label in labels.items()}


def samples_of(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each split, the first image of each class, at most SAMPLES."""
    splits = {}
    for split in sorted(datasets.card_of(name).splits, key=lambda s: (s != "train", s)):
        x, y = datasets.load(name, split)
        first = np.unique(y, return_index=True)[1][:SAMPLES]
        splits[split] = (np.asarray(x[first]), y[first])
    return splits


def example_group(source: str, target: str, model: str, norm: str) -> list[dict[str, Any]]:
    """The arrays of one model and norm in examples.npz; none where the file has no such group."""
    path = ROBUSTNESS / source / target / "examples.npz"
    names = ["clean", "adversarial", "label", "predicted_clean", "predicted_adversarial"]
    try:
        with np.load(path) as found:
            if f"{model}_{norm}_clean" not in found:
                return []
            arrays = {name: found[f"{model}_{norm}_{name}"] for name in names}
            return [{"source": source, "norm": norm, "radius": eps_text(norm, float(found[f"{model}_{norm}_eps"])), **arrays}]
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the stage that writes it has not run") from None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunError(f"{path}: cannot be read ({error}); run `dvc repro` to make it again") from None
