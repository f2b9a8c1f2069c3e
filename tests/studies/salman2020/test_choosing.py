"""The best radius is chosen on other runs than those that measure it: so noise alone gains nothing."""

import made_salman
import numpy as np
import pandas as pd
import pytest

from stages.lib.report.results import at
from stages.lib.report.statistics import MIN_N
from stages.studies.salman2020 import choosing


def runs_of(accuracy, **more):
    return at(made_salman.results(accuracy, targets=("fine",), modes=("fixed",), **more).runs_of_grid, target="fine")


def test_the_best_radius_is_found_and_measured_against_natural():
    lead = {0.0: 0.0, 0.1: 1.0, 0.5: 4.0, 1.0: -2.0}
    found = choosing.summary(runs_of(lambda a, eps, *_: 60 + lead[eps]))
    assert (found["best"], found["chosen"], found["n"]) == (("small_resnet", 0.5), [0.5], 4)
    assert found["difference_mean"] == pytest.approx(4.0)
    assert (found["robust_mean"], found["natural_mean"]) == pytest.approx((64.05, 60.05))


def test_a_model_that_is_lucky_is_not_measured_where_its_luck_was_chosen():
    """Model 2 alone is 12 points better at radius 1; at 0.1 all are 1 better. Models 0 and 2 choose for 1 and 3, and the other way round."""
    gain = {0.1: lambda model: 1.0, 1.0: lambda model: 12.0 if model == 2 else 0.0}
    found = choosing.measured(runs_of(lambda a, eps, m, t, model: 60 + gain.get(eps, lambda _: 0.0)(model)))
    assert [(part, eps, difference) for part, (_, eps), difference in found[["part", "chosen", "difference"]].itertuples(index=False)] == [
        (0, 0.1, 1.0), (1, 1.0, 0.0), (2, 0.1, 1.0), (3, 1.0, 0.0),
    ]  # fmt: skip


def test_of_pure_noise_the_best_of_many_radii_gains_nothing_on_average():
    """The highest of the seven means would be above natural by 1.5 standard errors or so; what is measured elsewhere is not."""
    rng, gains, flattered = np.random.default_rng(0), [], []
    places = [("small_resnet", eps / 10, model, model) for eps in range(8) for model in range(4)]
    runs = pd.DataFrame(places, columns=["architecture", "eps", "source_model", "seed"])
    for _ in range(40):
        noisy = runs.assign(test_accuracy=60 + rng.normal(size=len(runs)))
        gains.append(choosing.measured(noisy)["difference"].mean())
        means = choosing.table_of(noisy).mean()
        flattered.append(means.max() - means["small_resnet", 0.0])
    error = np.std(gains) / np.sqrt(len(gains))
    assert abs(np.mean(gains)) < 4 * error
    assert np.mean(flattered) > 4 * error


def test_of_one_model_the_subsets_take_its_place():
    found = choosing.differences(runs_of(lambda a, eps, *_: 60 + eps, n_models=1, seeds=6))
    assert (len(found), found["source_model"].nunique()) == (6, 1)
    few = choosing.summary(runs_of(lambda a, eps, *_: 60 + eps, n_models=1, seeds=MIN_N - 1))
    assert (few["n"], few["difference_mean"]) == (MIN_N - 1, pytest.approx(1.0))
    assert np.isnan(few["difference_low"])


@pytest.mark.parametrize("kept", [[0.0], [0.1, 0.5]])
def test_without_a_robust_or_a_natural_source_nothing_is_measured(kept):
    runs = runs_of(lambda *_: 60.0)
    found = choosing.summary(runs[runs["eps"].isin(kept)])
    assert found["n"] == 0
    assert np.isnan(found["difference_mean"])


def test_one_run_cannot_both_choose_and_measure():
    assert choosing.measured(runs_of(lambda a, eps, *_: 60 + eps, n_models=1, seeds=1)).empty


def test_of_several_architectures_the_best_of_each_kind_is_chosen():
    level = {"small_resnet_x0_5": 3.0, "small_resnet": 0.0}
    found = choosing.summary(runs_of(lambda a, eps, *_: 60 + level[a] + eps, architectures=tuple(level)))
    assert found["best"] == ("small_resnet_x0_5", 1.0)
    assert found["natural_mean"] == pytest.approx(63.05)
    assert found["difference_mean"] == pytest.approx(1.0)
