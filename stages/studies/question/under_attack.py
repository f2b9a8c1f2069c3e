"""Accuracy under attack as the report shows it: against eps, against clean accuracy, by attack, and what speaks against the figures."""

import pandas as pd

from stages.lib.norms.table import norm_of
from stages.lib.report import statistics
from stages.lib.report.study import Study, at, block_text, eps_text, images, kept_runs
from stages.lib.store.tables import WORST

MODEL = ["model", "source", "dataset", "blocks", "n_images"]  # a source, or what was fine-tuned from it: one model for each seed


def against_eps(study: Study) -> pd.DataFrame:
    """What stands against all attacks, of the sources on their own data, and per target of the fine-tuned models that kept weights.

    Returns:
        panel, norm, source, eps, mean, low, high, n (models): of one model the interval is Wilson's over test images, of several
        the one over models.
    """
    sources = at(study.worst, model="source")
    parts = [sources.assign(panel=sources["dataset"] + ", source models")]
    for target in study.targets:
        kept = kept_runs(study, target)
        if len(kept):
            blocks = at(kept, source=study.natural)["blocks"].max() if study.natural in set(kept["source"]) else kept["blocks"].iloc[0]
            parts.append(kept.assign(panel=f"{target}, fine-tuned: {images(kept['n_images'].iloc[0])}, {block_text(blocks)}"))
    shown = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return _with_intervals(study, shown, ["panel", "norm", "source", "eps"])


def clean_against_robust(study: Study) -> pd.DataFrame:
    """Of every fine-tuned model with kept weights, accuracy without an attack and against all of them at the middle radius.

    Returns:
        target, norm, eps, source, blocks, n_images, clean, robust: means over models.
    """
    rows = at(study.worst, model="finetuned").rename(columns={"dataset": "target"})
    parts = []
    for norm, own in rows.groupby("norm", sort=False):
        eps = middle(own)
        if eps is not None:
            keys = ["target", "source", "blocks", "n_images", "seed"]
            both = at(own, eps=eps).merge(at(own, eps=0.0)[[*keys, "accuracy"]], on=keys, suffixes=("", "_clean"), validate="one_to_one")
            parts.append(both.assign(norm=norm, eps=eps, clean=both["accuracy_clean"], robust=both["accuracy"]))
    columns = ["target", "norm", "eps", "source", "blocks", "n_images"]
    if not parts:
        return pd.DataFrame(columns=[*columns, "clean", "robust"])
    return pd.concat(parts, ignore_index=True).groupby(columns, sort=False, as_index=False)[["clean", "robust"]].mean()


def by_attack(study: Study) -> list[dict]:
    """A row for each model and norm at its middle radius: clean accuracy, what each attack leaves, and all of them together."""
    rows = []
    for (norm, *_), own in study.robustness.groupby(["norm", *MODEL], sort=False):
        eps = middle(own)
        if eps is None:
            continue
        left = at(own, eps=eps).groupby("attack", sort=False)["accuracy"].mean().to_dict()
        first = own.iloc[0]
        clean = at(own, eps=0.0, attack=WORST)["accuracy"].mean()
        rows.append({"what": described(study, first), "source": first["source"], "ball": eps_text(norm, eps), "clean": clean, "left": left})
    return rows


def doubts(study: Study) -> list[dict]:
    """The checks that failed: of which model and norm, which check, and what it found."""
    failed = study.checks[~study.checks["passed"].astype(bool)]
    return [
        {"what": described(study, row), "source": row["source"], "norm": norm_of(row["norm"]).label, "check": row["check"],
         "says": row["says"]}
        for _, row in failed.iterrows()
    ]  # fmt: skip


def described(study: Study, row: pd.Series) -> str:
    """`on glyphs` of a source, `on digits: 100 images, 1 block` of a fine-tuned model; the source is named beside it."""
    if row["model"] == "source":
        return f"on {row['dataset']}, its own data"
    return f"on {row['dataset']}: {images(row['n_images'])}, {block_text(row['blocks'])}"


def middle(rows: pd.DataFrame) -> float | None:
    """The middle of the radii; None where there is none."""
    radii = sorted(rows.loc[rows["eps"] > 0, "eps"].unique())
    return float(radii[len(radii) // 2]) if radii else None


def _with_intervals(study: Study, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    found = []
    for key, own in rows.groupby(by, sort=False):
        if len(own) == 1:
            mean = float(own["accuracy"].iloc[0])
            low, high = statistics.wilson(mean, int(own["n_test"].iloc[0]))
        else:
            mean, low, high = statistics.interval(own["accuracy"].to_numpy(), study.resamples)
        found.append((*key, mean, low, high, len(own)))
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "n"])
