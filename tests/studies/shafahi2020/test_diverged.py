"""Runs of experiments that diverged: they are counted by experiment, source and target, and where a claim rests on them."""

import pandas as pd

from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at
from stages.lib.store.tables import EXPERIMENT_IMAGES
from stages.studies.shafahi2020 import claims_evidence, numbers
from stages.studies.shafahi2020.diverged import counted


def results(flags: dict[tuple[str, int], bool]) -> ExperimentResults:
    """Runs of two sources by seed, each with an accuracy, and whether it has diverged."""
    rows = [
        {
            "source": source,
            "target": "digits",
            "method": "plain",
            "setting": 1.0,
            "seed": seed,
            "measure": measure,
            "value": value,
            "cell": f"{source}{seed}",
        }
        for (source, seed), flag in flags.items()
        for measure, value in (("clean", 10.0 if flag else 80.0), *([("diverged", 1.0)] if flag else []))
    ]
    settings = {"training": {"lr": 0.1, "steps": 3}, "head": [{"lr": 7}], "other": {"lr": 1e-3}, "n_seeds": 2}
    return ExperimentResults(settings=settings, runs=pd.DataFrame(rows), arrays={}, images=pd.DataFrame())


def test_they_are_counted_by_experiment_source_and_target():
    rows = counted({"retrain": results({("a", 0): True, ("a", 1): False, ("b", 0): False})})
    assert rows == [{"experiment": "retrain", "source": "a", "target": "digits", "n": 1, "runs": 2, "rates": "0.1 or 0.001"}]


def test_without_any_there_is_nothing_to_say():
    assert counted({"retrain": results({("a", 0): False})}) == []
    assert counted({}) == []


def test_a_comparison_says_how_many_of_its_runs_diverged_and_counts_their_accuracies():
    runs = results({("a", 0): True, ("a", 1): False, ("b", 0): False}).runs.assign(n_test=50)
    table = numbers.tables_of({"retrain": runs}, {"retrain": pd.DataFrame(columns=[*EXPERIMENT_IMAGES])}, "pgd20")[0]
    assert set(table["measure"]) == {"clean"}
    one, other = (at(table, source=source) for source in "ab")
    found = claims_evidence.contrast("a minus b", one, other, 1)
    assert (found.mean, found.n, found.of) == (-35.0, 50, "test images, 1 of 3 runs diverged")
    assert claims_evidence.contrast("b minus b", other, other, 1).of == "test images"
