"""Runs of experiments that diverged: they stay among the results, and are counted by experiment, source and target."""

import pandas as pd

from stages.lib.report.reading import ExperimentResults
from stages.studies.shafahi2020.diverged import apart


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


def test_they_are_counted_and_their_accuracies_stay():
    found, rows = apart({"retrain": results({("a", 0): True, ("a", 1): False, ("b", 0): False})})
    assert rows == [{"experiment": "retrain", "source": "a", "target": "digits", "n": 1, "runs": 2, "rates": "0.1 or 0.001"}]
    assert set(found["retrain"].runs["measure"]) == {"clean"}
    assert found["retrain"].runs["value"].tolist() == [10.0, 80.0, 80.0]


def test_without_any_there_is_nothing_to_say():
    assert apart({"retrain": results({("a", 0): False})})[1] == []
    assert apart({}) == ({}, [])
