"""What a choice on the test images is worth: known where it is made by hand, none where both choose one rate, and never below zero."""

from dataclasses import replace

import made
import numpy as np
import pandas as pd
import pytest

from stages.lib.report.results import Results
from stages.lib.settings.sections import Selection
from stages.studies.question.optimism import optimism, shown

HOW = Selection(by="test", validation=0.1)
TRIALS = 6


def results_of(test: dict[float, np.ndarray], validation: dict[float, np.ndarray], metrics: dict | None = None) -> Results:
    """Results whose rates have these accuracies on test and on validation images, one for each trial, of two sources alike."""
    rows = []
    for source in ("natural", "l2"):
        for held_out, of_rates in ((0, test), (2, validation)):
            for lr, values in of_rates.items():
                rows += [
                    (
                        source,
                        "digits",
                        "0",
                        20,
                        seed,
                        1,
                        0.0 if held_out else value,
                        value,
                        lr,
                        held_out,
                        value if held_out else np.nan,
                        value,
                    )
                    for seed, value in enumerate(values)
                ]
    names = ["source", "target", "blocks", "n_images", "seed", "epoch", "test_accuracy", "test_mean_per_class", "lr", "held_out",
             "validation_accuracy", "validation_mean_per_class"]  # fmt: skip
    rates = pd.DataFrame(rows, columns=names).assign(source_model=0, diverged=False)
    return replace(made.results(lambda *_: 0.0), rates=rates, metrics=metrics or {"digits": "accuracy"})


def test_it_is_the_mean_difference_of_the_two_rates_paired_by_subset():
    test = {0.1: np.arange(60.0, 60 + TRIALS), 0.01: np.arange(58.0, 58 + TRIALS) + np.tile([0.0, 0.5], TRIALS // 2)}
    table = optimism(results_of(test, {0.1: np.full(TRIALS, 50.0), 0.01: np.full(TRIALS, 55.0)}), HOW)
    assert table["source"].tolist() == ["natural", "l2", "all"]
    for row in table.iloc[:2].to_dict("records"):
        assert (row["lr_test"], row["lr_validation"], row["n"]) == (0.1, 0.01, TRIALS)
        assert row["mean"] == pytest.approx(1.75)
        assert 1.4 < row["low"] < 1.75 < row["high"] < 2.1
    last = table.iloc[2]
    assert (last["n"], last["mean"]) == (2, pytest.approx(1.75))
    assert np.isnan(last["low"]), "two sources are too few for an interval"


def test_one_rate_by_both_differs_by_nothing():
    same = {0.1: np.arange(60.0, 60 + TRIALS), 0.01: np.arange(50.0, 50 + TRIALS)}
    table = optimism(results_of(same, same), HOW)
    assert table[["mean", "low", "high"]].iloc[:2].to_numpy().tolist() == [[0.0] * 3] * 2


def test_of_rates_that_are_equally_good_the_choice_still_flatters():
    """10 draws of eight rates without any difference: what the test images choose is above what validation images choose, by chance."""
    rng, found = np.random.default_rng(0), []
    for _ in range(10):
        test, validation = ({0.1 / (1 + i): rng.normal(60, 2, TRIALS) for i in range(8)} for _ in range(2))
        found.append(optimism(results_of(test, validation), HOW)["mean"].iloc[0])
    assert min(found) >= 0
    expected = 1.4236 * 2 / np.sqrt(TRIALS)  # the mean of the largest of eight N(0, sd^2 / n)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(len(found)))


def test_without_validation_images_it_was_not_run():
    results = results_of({0.1: np.ones(TRIALS)}, {0.1: np.ones(TRIALS)})
    for how in (None, Selection(by="test")):
        assert optimism(results, how).empty
    assert shown(results, None, pd.DataFrame()) is None
    assert shown(results, Selection(by="test"), pd.DataFrame()) == {
        "by": "test",
        "epoch": "last",
        "share": None,
        "rates": [0.1],
        "targets": [],
    }
