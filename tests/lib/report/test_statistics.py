"""Means, intervals and pairs against values that are known exactly, or against a slow loop."""

import numpy as np
import pandas as pd
import pytest

from stages.lib.report import statistics


def rows(source: str, values: list[float], target: str = "digits", n_images: int = 100, epoch: int = 10) -> pd.DataFrame:
    return pd.DataFrame(
        {"source": source, "target": target, "blocks": "1", "n_images": n_images, "seed": range(len(values)), "epoch": epoch,
         "test_accuracy": values}
    )  # fmt: skip


def test_interval_matches_a_loop_over_resamples():
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    drawn = np.random.default_rng(0).integers(5, size=(400, 5))
    means = [sum(values[i] for i in row) / 5 for row in drawn]
    assert statistics.interval(values, 400) == pytest.approx((6.2, *np.percentile(means, [2.5, 97.5])))


def test_interval_does_not_depend_on_the_order_of_seeds():
    values = np.random.default_rng(1).normal(size=20)
    assert statistics.interval(values, 1000) == statistics.interval(values[::-1], 1000)


def test_interval_of_equal_values_has_no_width():
    assert statistics.interval(np.full(10, 3.5), 1000) == (3.5, 3.5, 3.5)


def test_interval_of_one_value_is_unknown():
    mean, low, high = statistics.interval(np.array([7.0]), 1000)
    assert mean == 7.0
    assert np.isnan(low)
    assert np.isnan(high)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    draws = np.random.default_rng(2).normal(size=(400, 20))
    found = [statistics.interval(values, 500) for values in draws]
    assert 0.88 < np.mean([low < 0 < high for _, low, high in found]) < 0.98


def test_summary_has_a_row_per_group_in_order_of_appearance():
    table = pd.concat([rows("b", [1.0, 3.0]), rows("a", [5.0])])
    found = statistics.summarise(table, ["source", "n_images"], "test_accuracy", 100)
    assert found["source"].tolist() == ["b", "a"]
    assert found["n"].tolist() == [2, 1]
    assert found["mean"].tolist() == [2.0, 5.0]


def test_last_epoch_is_that_of_each_run():
    table = pd.concat([rows("a", [1.0, 2.0], epoch=1), rows("a", [3.0, 4.0], epoch=11), rows("b", [5.0], epoch=1)])
    assert statistics.last_epoch(table)["test_accuracy"].tolist() == [3.0, 4.0, 5.0]


def test_differences_are_paired_by_subset_and_skip_what_has_no_partner():
    table = pd.concat([rows("robust", [12.0, 25.0, 99.0]), rows("natural", [10.0, 20.0]), rows("robust", [1.0], n_images=50)])
    found = statistics.minus(table, ["robust"], "natural")
    assert found["difference"].tolist() == [2.0, 5.0]
    assert found["seed"].tolist() == [0, 1]


def test_differences_do_not_depend_on_the_order_of_rows():
    table = pd.concat([rows("robust", [12.0, 25.0]), rows("natural", [10.0, 20.0])])
    shuffled = table.sample(frac=1, random_state=3)
    assert statistics.minus(shuffled, ["robust"], "natural").sort_values("seed")["difference"].tolist() == [2.0, 5.0]


def test_a_repeated_run_is_refused():
    table = pd.concat([rows("robust", [12.0]), rows("natural", [10.0]), rows("natural", [11.0])])
    with pytest.raises(pd.errors.MergeError):
        statistics.minus(table, ["robust"], "natural")


def test_wilson_interval_of_a_textbook_case():
    assert statistics.wilson(81 / 263 * 100, 263) == pytest.approx((25.53, 36.62), abs=0.01)  # Newcombe (1998), Table I


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_wilson_interval_stays_within_bounds(percent):
    low, high = statistics.wilson(percent, 50)
    assert 0 <= low < high <= 100


def test_contrast_of_a_textbook_case():
    found = statistics.contrast([56 / 70 * 100, 48 / 80 * 100], [70, 80], [1, -1])
    assert found == pytest.approx((20.0, 5.24, 33.39), abs=0.01)  # Newcombe (1998), Table II (a), method 10


def test_contrast_turns_with_its_signs():
    total, low, high = statistics.contrast([90.0, 70.0], [100, 200], [1, -1])
    assert statistics.contrast([90.0, 70.0], [100, 200], [-1, 1]) == pytest.approx((-total, -high, -low))
