"""Means, intervals and pairs against values that are known exactly, or against a slow loop."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stages.lib.report import statistics


def rows(source: str, values: list[float], target: str = "digits", n_images: int = 100, epoch: int = 10) -> pd.DataFrame:
    return pd.DataFrame(
        {"source": source, "target": target, "blocks": "1", "n_images": n_images, "seed": range(len(values)), "epoch": epoch, "source_model": 0,
         "test_accuracy": values}
    )  # fmt: skip


def test_interval_of_values_without_skewness_is_student_s():
    values = np.array([1.0, 2.0, 4.0, 6.0, 7.0])
    expected = stats.t.interval(0.95, 4, loc=4.0, scale=values.std(ddof=1) / np.sqrt(5))
    assert statistics.interval(values) == pytest.approx((4.0, *expected))


def test_interval_of_skewed_values_reaches_further_to_the_side_of_the_tail():
    mean, low, high = statistics.interval(np.array([0.0, 0.1, 0.2, 0.4, 3.0]))
    assert high - mean > 2 * (mean - low) > 0
    assert statistics.interval(np.array([0.0, 0.1, 0.2, 0.4, 3.0]), bounds=(0, 1.5))[1:] == (max(0, low), 1.5)


def test_interval_does_not_depend_on_the_order_of_seeds():
    values = np.random.default_rng(1).normal(size=20)
    assert statistics.interval(values) == statistics.interval(values[::-1])
    models = np.arange(20) % 4
    assert statistics.interval(values, models) == statistics.interval(values[::-1], models[::-1])


def test_interval_of_equal_values_has_no_width():
    assert statistics.interval(np.full(10, 3.5)) == (3.5, 3.5, 3.5)
    assert statistics.p_value(np.full(10, 3.5)) == 0
    assert statistics.p_value(np.zeros(10)) == 1


@pytest.mark.parametrize(("values", "models"), [([7.0], None), ([7.0, 8.0, 9.0, 7.0], None), ([1.0, 2.0] * 5, [0, 1] * 5)])
def test_of_fewer_than_five_values_and_of_two_models_there_is_no_interval_and_no_p_value(values, models):
    values, models = np.array(values), models and np.array(models)
    mean, low, high = statistics.interval(values, models)
    assert mean == values.mean()
    assert np.isnan([low, high, statistics.p_value(values, models)]).all()


TRIALS = 10000
ERROR = 2 * 100 * np.sqrt(0.05 * 0.95 / TRIALS)  # of a coverage, in percent, twice its standard deviation
DRAWN = {  # what accuracies, or differences, are drawn from, and their mean
    "normal": (lambda rng, shape: rng.normal(3, 2, shape), 3),
    "skewed, near 100": (lambda rng, shape: 100 * rng.beta(196, 4, shape), 98),  # skewness -1
    "bounded, 99 % of 797 images": (lambda rng, shape: rng.binomial(797, 0.99, shape) / 7.97, 99),
}


def coverage(samples: np.ndarray, mean: float, models: np.ndarray | None = None) -> float:
    """How often the interval of a sample holds the mean, in percent."""
    intervals = np.array([statistics.interval(sample, models) for sample in samples])
    return 100 * np.mean((intervals[:, 1] <= mean) & (mean <= intervals[:, 2]))


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("n", [5, 10, 30])
def test_interval_holds_the_true_mean_as_often_as_it_says(name, n):
    draw, mean = DRAWN[name]
    assert 94 - ERROR < coverage(draw(np.random.default_rng(n), (TRIALS, n)), mean) < 96 + ERROR


@pytest.mark.parametrize(("n_models", "between", "within"), [(3, 1.0, 1.0), (3, 0.2, 1.0), (5, 2.0, 1.0)])
def test_interval_over_models_holds_the_true_mean_though_subsets_of_one_model_resemble_one_another(n_models, between, within):
    rng, models = np.random.default_rng(0), np.arange(15) % n_models
    of_model = rng.normal(3, between, (TRIALS, n_models))
    samples = of_model[:, models] + rng.normal(0, within, (TRIALS, 15))
    assert 94 - ERROR < coverage(samples, 3, models) < 96 + ERROR
    if between >= within:
        assert coverage(samples, 3) < 90, "over the subsets alone it would not"


def test_p_value_is_below_0_05_where_the_interval_excludes_zero():
    rng = np.random.default_rng(4)
    samples = [rng.exponential(size=n) - shift for n in (5, 9, 20) for shift in np.linspace(0, 2, 60)]
    for sample in samples:
        _, low, high = statistics.interval(sample)
        assert (statistics.p_value(sample) < 0.05) == (low > 0 or high < 0)


def test_p_value_of_values_without_skewness_is_student_s():
    values = np.array([-1.0, 0.0, 2.0, 4.0, 5.0])
    assert statistics.p_value(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_contrast_p_value_is_that_of_the_widest_interval_that_excludes_zero():
    found = statistics.contrast_p_value([80.0, 60.0], [70, 80], [1, -1])
    z = stats.norm.isf(found / 2)
    assert statistics.contrast([80.0, 60.0], [70, 80], [1, -1], z)[1] == pytest.approx(0, abs=1e-6)
    assert statistics.contrast_p_value([60.0, 80.0], [80, 70], [1, -1]) == pytest.approx(found)
    assert statistics.contrast_p_value([60.0, 60.0], [80, 70], [1, -1]) == 1
    assert (
        statistics.contrast_p_value([30.0], [100], [1], constant=-10.0)
        < 0.05
        < statistics.contrast_p_value([12.0], [100], [1], constant=-10.0)
    )


def test_holm_s_correction_of_a_textbook_case():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([np.nan, 0.5, 0.6]) == pytest.approx([np.nan, 1.0, 1.0], nan_ok=True)


def test_summary_has_a_row_per_group_in_order_of_appearance():
    table = pd.concat([rows("b", [1.0, 3.0]), rows("a", [5.0])])
    found = statistics.summarise(table, ["source", "n_images"], "test_accuracy")
    assert found["source"].tolist() == ["b", "a"]
    assert found["n"].tolist() == [2, 1]
    assert found["mean"].tolist() == [2.0, 5.0]


def test_runs_that_diverged_count_in_means_and_are_counted_beside_them():
    table = pd.concat([rows("b", [80.0, 10.0]).assign(diverged=[False, True]), rows("a", [70.0, 60.0]).assign(diverged=False)])
    found = statistics.summarise(table, ["source"], "test_accuracy")
    assert found[["source", "n", "mean", "diverged"]].to_numpy().tolist() == [["b", 2, 45.0, 1], ["a", 2, 65.0, 0]]
    for ours, other in (("a", "b"), ("b", "a")):
        gaps = statistics.minus(table, [ours], other)
        assert gaps["diverged"].tolist() == [False, True], "either of the two"
        assert statistics.summarise(gaps, ["source"], "difference")["diverged"].tolist() == [1]


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
    assert stats.norm.ppf((1 + statistics.LEVEL) / 2) == statistics.Z
    assert statistics.wilson(81 / 263 * 100, 263) == pytest.approx((25.53, 36.62), abs=0.01)  # Newcombe (1998), Table I


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_wilson_interval_stays_within_bounds(percent):
    low, high = statistics.wilson(percent, 50)
    assert 0 <= low < high <= 100


def test_contrast_of_a_textbook_case():
    found = statistics.contrast([56 / 70 * 100, 48 / 80 * 100], [70, 80], [1, -1])
    assert found == pytest.approx((20.0, 5.24, 33.39), abs=0.01)  # Newcombe (1998), Table II (a), method 10


def pairs(n: int, both: float, left_alone: float, right_alone: float, draws: int, seed: int = 0) -> np.ndarray:
    """Which of n test images two models label correctly: bool [draws, 2, n]. The first three shares are of the images."""
    outcomes = np.random.default_rng(seed).choice(4, (draws, n), p=[both, left_alone, right_alone, 1 - both - left_alone - right_alone])
    return np.stack([outcomes <= 1, (outcomes == 0) | (outcomes == 2)], axis=1)


def paired_contrast(left: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    shared = statistics.correlation(left.astype(float), right.astype(float))
    return statistics.contrast([100 * left.mean(), 100 * right.mean()], [len(left)] * 2, [1, -1], correlation=shared)


@pytest.mark.parametrize(("both", "left_alone", "right_alone"), [(0.5, 0.12, 0.05), (0.2, 0.3, 0.2), (0.85, 0.06, 0.02), (0.02, 0.1, 0.02)])
def test_interval_of_a_difference_on_the_same_images_holds_it_as_often_as_it_says(both, left_alone, right_alone):
    truth, drawn = 100 * (left_alone - right_alone), pairs(128, both, left_alone, right_alone, draws=600)
    found = np.array([paired_contrast(*pair) for pair in drawn])
    assert 0.93 < np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) <= 0.985


def test_a_difference_on_the_same_images_varies_less_and_that_of_other_images_more():
    left, right = pairs(128, 0.5, 0.12, 0.05, draws=1)[0]
    unpaired = statistics.contrast([100 * left.mean(), 100 * right.mean()], [128, 128], [1, -1])
    low, high = paired_contrast(left, right)[1:]
    assert high - low < 0.8 * (unpaired[2] - unpaired[1])
    percents, shared = [100 * left.mean(), 100 * right.mean()], statistics.correlation(left.astype(float), right.astype(float))
    p = statistics.contrast_p_value(percents, [128, 128], [1, -1], correlation=shared)
    assert (p < 0.05) == (low > 0)
    assert p < statistics.contrast_p_value(percents, [128, 128], [1, -1])


def test_correlation_is_newcombe_s_phi():
    """Counts of a table of two by two: both right, one, the other, none."""
    for both, left_alone, right_alone, none in [(36, 12, 2, 50), (2, 12, 20, 4), (10, 5, 5, 2)]:
        left = np.repeat([1.0, 1.0, 0.0, 0.0], [both, left_alone, right_alone, none])
        right = np.repeat([1.0, 0.0, 1.0, 0.0], [both, left_alone, right_alone, none])
        product, n = both * none - left_alone * right_alone, len(left)
        product = max(0.0, product - n / 2) if product > 0 else product
        margins = [both + left_alone, right_alone + none, both + right_alone, left_alone + none]
        assert statistics.correlation(left, right) == pytest.approx(product / np.sqrt(np.prod(margins, dtype=float)))
    assert statistics.correlation(np.ones(5), np.array([1.0, 0, 1, 0, 1])) == 0.0


def test_contrast_turns_with_its_signs():
    total, low, high = statistics.contrast([90.0, 70.0], [100, 200], [1, -1])
    assert statistics.contrast([90.0, 70.0], [100, 200], [-1, 1]) == pytest.approx((-total, -high, -low))
