"""Accuracy under attack as the report shows it: against eps, against clean accuracy, by attack, and what speaks against the figures."""

import pandas as pd

from stages.lib.norms.table import norm_of
from stages.lib.report import statistics
from stages.lib.report.results import MODEL, Results, at, kept_models, middle_radius, model_text
from stages.lib.report.wording import block_text, images, threat_text
from stages.lib.store.tables import WORST


def against_eps(results: Results) -> pd.DataFrame:
    """Accuracy under all attacks, of the sources on their own data, and per target of the fine-tuned models that kept weights.

    Returns:
        panel, norm, source, eps, mean, low, high, n (models): of one model the interval is Wilson's over test images, of several
        the one over models.
    """
    sources = at(results.worst, model="source")
    parts = [sources.assign(panel=sources["dataset"] + ", source models")]
    for target in results.targets:
        kept = kept_models(results, target)
        if len(kept):
            parts.append(kept.assign(panel=f"{target}: {images(kept['n_images'].iloc[0])}, {_blocks(results, kept)}"))
    shown = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return statistics.summarise(shown, ["panel", "norm", "source", "eps"], "accuracy", n_test="n_test")


def _blocks(results: Results, kept: pd.DataFrame) -> str:
    """How many blocks were fine-tuned; those of random initialisation, which trains all, are named beside those of the others."""
    own = kept["source"] == results.random
    blocks = block_text(kept.loc[~own if (~own).any() else own, "blocks"].iloc[0])
    whole = own.any() and (~own).any()
    return f"{blocks} ({results.labels[results.random]}: {kept.loc[own, 'blocks'].iloc[0]})" if whole else blocks


def clean_against_robust(results: Results) -> pd.DataFrame:
    """For every fine-tuned model with kept weights: accuracy without an attack and against all of them at the middle radius.

    Returns:
        target, norm, eps, source, blocks, n_images, clean, robust: means over models.
    """
    rows = at(results.worst, model="finetuned").rename(columns={"dataset": "target"})
    parts = []
    for norm, group in rows.groupby("norm", sort=False):
        eps = middle_radius(group)
        if eps is not None:
            keys = ["target", "source", "blocks", "n_images", "seed"]
            both = at(group, eps=eps).merge(
                at(group, eps=0.0)[[*keys, "accuracy"]], on=keys, suffixes=("", "_clean"), validate="one_to_one"
            )
            parts.append(both.assign(norm=norm, eps=eps, clean=both["accuracy_clean"], robust=both["accuracy"]))
    columns = ["target", "norm", "eps", "source", "blocks", "n_images"]
    if not parts:
        return pd.DataFrame(columns=[*columns, "clean", "robust"])
    return pd.concat(parts, ignore_index=True).groupby(columns, sort=False, as_index=False)[["clean", "robust"]].mean()


def by_attack(results: Results) -> list[dict]:
    """A row for each model and norm at its middle radius: clean accuracy, what each attack leaves, and all of them together.

    Returns:
        what, source, threat, n (test images), models, clean and, by attack, left. Accuracies are mean, low and high: over five models
        and more the interval is over models, else Wilson's over test images.
    """
    rows = []
    for (norm, *_), group in results.robustness.groupby(["norm", *MODEL], sort=False):
        eps = middle_radius(group)
        if eps is None:
            continue
        left = {name: _with_interval(rows_of) for name, rows_of in at(group, eps=eps).groupby("attack", sort=False)}
        clean, first = at(group, eps=0.0, attack=WORST), group.iloc[0]
        rows.append({
            "what": model_text(first), "source": first["source"], "threat": threat_text(norm, eps), "n": int(clean["n_test"].iloc[0]),
            "models": len(clean), "clean": _with_interval(clean), "left": left,
        })  # fmt: skip
    return rows


def _with_interval(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Mean accuracy of the models, low and high."""
    [row] = statistics.summarise(rows.assign(all="all"), ["all"], "accuracy", n_test="n_test").to_dict("records")
    return row["mean"], row["low"], row["high"]


def doubts(results: Results) -> list[dict]:
    """The checks that failed: the model and norm, the name of the check, and its result."""
    failed = results.checks[~results.checks["passed"].astype(bool)]
    return [
        {"what": model_text(row), "source": row["source"], "norm": norm_of(row["norm"]).label, "check": row["check"],
         "says": row["says"]}
        for _, row in failed.iterrows()
    ]  # fmt: skip
