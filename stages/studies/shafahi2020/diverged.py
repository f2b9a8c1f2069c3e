"""Runs of the experiments that diverged, so that their trained network has weights that are no numbers: how many, where, at which rate."""

from collections.abc import Iterator
from typing import Any

from stages.lib.report.reading import ExperimentResults
from stages.lib.store.tables import DIVERGED


def counted(experiments: dict[str, ExperimentResults]) -> list[dict[str, Any]]:
    """A row for each experiment, source and target with runs that diverged.

    Returns:
        rows of experiment, source, target, n (how many diverged), runs (of how many), rates (as text).
    """
    rows = []
    for name, result in experiments.items():
        rates = " or ".join(f"{rate:g}" for rate in dict.fromkeys(rates_in(result.settings)))
        for (source, target), group in result.runs.groupby(["source", "target"], sort=False):
            n = int((group["measure"] == DIVERGED).sum())
            count = {"n": n, "runs": group["cell"].nunique()}
            rows += [{"experiment": name, "source": source, "target": target, **count, "rates": rates}] if n else []
    return rows


def rates_in(settings: Any) -> Iterator[float]:
    """Every learning rate `lr` of a section, however deep it stands."""
    for key, value in settings.items() if isinstance(settings, dict) else []:
        yield from [value] if key == "lr" else rates_in(value)
