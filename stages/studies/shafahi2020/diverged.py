"""Runs of the experiments that diverged, so that their trained network has weights that are no numbers: how many, where, at which rate."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stages.lib.report.reading import ExperimentResults
from stages.lib.store.tables import DIVERGED


def apart(experiments: dict[str, ExperimentResults]) -> tuple[dict[str, ExperimentResults], list[dict[str, Any]]]:
    """The experiments without the measure `diverged`, and a row for each experiment, source and target with runs that did.

    Such runs stay in the experiments, with the accuracies that they ended with.

    Returns:
        the experiments by name; rows of experiment, source, target, n (how many diverged), runs (of how many), rates (as text).
    """
    others, rows = {}, []
    for name, result in experiments.items():
        is_flag = result.runs["measure"] == DIVERGED
        others[name] = replace(result, runs=result.runs[~is_flag].reset_index(drop=True))
        rates = " or ".join(f"{rate:g}" for rate in dict.fromkeys(rates_in(result.settings)))
        for (source, target), group in result.runs.groupby(["source", "target"], sort=False):
            n = int((group["measure"] == DIVERGED).sum())
            count = {"n": n, "runs": group["cell"].nunique()}
            rows += [{"experiment": name, "source": source, "target": target, **count, "rates": rates}] if n else []
    return others, rows


def rates_in(settings: Any) -> Iterator[float]:
    """Every learning rate `lr` of a section, however deep it stands."""
    for key, value in settings.items() if isinstance(settings, dict) else []:
        yield from [value] if key == "lr" else rates_in(value)
