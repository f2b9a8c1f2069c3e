"""Verdicts from a grid of sources whose accuracies are known: they follow the sign, and stay open or were not run where they must."""

from collections.abc import Callable

import made_salman
import pytest

from stages.lib.report.evidence import ABSENT, Claim
from stages.studies.salman2020 import claims, published
from stages.studies.salman2020.results import SalmanResults
from stages.studies.salman2020.study import SalmanSettings

PAPER = published.load()
NAMES = {"fixed": 0, "full": 1, "coarser": 2, "low": 3, "follows": 4, "predicts": 5, "wider": 6, "textures": 7}
WIDTHS = ("small_resnet_x0_5", "small_resnet")


def claim(results: SalmanResults, name: str) -> Claim:
    return claims.claims_of(results, PAPER)[NAMES[name]]


def noisy(accuracy: Callable, spread: float = 0.3) -> Callable:
    """An accuracy with a part that differs between models, so that intervals have a width."""
    return lambda a, eps, mode, target, model: accuracy(a, eps, mode, target, model) + spread * ((7 * model + 3 * int(20 * eps)) % 5 - 2)


@pytest.mark.parametrize(("lead", "verdict"), [(6.0, "supports"), (-6.0, "contradicts"), (0.0, "undecided")])
@pytest.mark.parametrize("mode", ["fixed", "full"])
def test_robust_sources_transfer_better_in_the_mode_in_which_they_do(mode, lead, verdict):
    results = made_salman.results(noisy(lambda a, eps, m, t, k: 60 + (lead if eps and m == mode else 0.0)), n_models=6)
    assert claim(results, mode).verdict == verdict
    other = "full" if mode == "fixed" else "fixed"
    assert claim(results, other).verdict == "undecided"


def test_the_mean_over_targets_stands_first_and_varies_less():
    """Each target has its own best radius, and what varies between models has the other sign on the other target."""
    best, swing = {"fine": 0.1, "coarse": 1.0}, {"fine": 1, "coarse": -1}
    results = made_salman.results(lambda a, eps, m, t, k: 60 + (4 + swing[t] * (k % 3 - 1) if eps == best[t] else 0.0), n_models=6)
    mean, *each = claim(results, "fixed").evidence
    assert mean.comparison.startswith("mean of 2 targets: ")
    assert [e.mean for e in (mean, *each)] == pytest.approx([4.0] * 3)
    assert mean.high - mean.low == pytest.approx(0, abs=1e-6)
    assert min(e.high - e.low for e in each) > 1
    alone = made_salman.results(lambda *_: 60.0, targets=("fine",))
    assert [e.comparison.split(":")[0] for e in claim(alone, "fixed").evidence] == ["fine"]


@pytest.mark.parametrize(("sign", "verdict"), [(1, "supports"), (-1, "contradicts"), (0, "undecided")])
def test_a_coarser_target_wants_a_larger_radius(sign, verdict):
    results = made_salman.results(noisy(lambda a, eps, m, t, k: 60 + sign * 10 * eps * (t == "coarse")))
    found = claim(results, "coarser")
    assert found.verdict == verdict
    assert [e.mean for e in found.evidence] == pytest.approx([sign * 9.0] * 2)
    assert "coarse minus fine, fixed-feature: eps 1 minus 0.1" in found.evidence[0].comparison


def test_a_low_resolution_wants_a_larger_radius_where_the_settings_name_one():
    settings = SalmanSettings(low_resolution={"fine": "fine_low", "absent": "absent_low"})
    results = made_salman.results(
        noisy(lambda a, eps, m, t, k: 60 + 8 * eps * (t == "fine_low")), targets=("fine", "fine_low"), settings=settings
    )
    found = claim(results, "low")
    assert found.verdict == "supports"
    assert [e.mean for e in found.evidence] == pytest.approx([7.2] * 2)
    assert (claim(results, "coarser").verdict, claim(results, "coarser").evidence[0].note) == ("not run", ABSENT)


@pytest.mark.parametrize(("slope", "verdict"), [(0.5, "supports"), (-0.5, "contradicts")])
def test_source_accuracy_is_followed_at_a_fixed_radius_whatever_it_does_over_all(slope, verdict):
    """Over all radii the sign is the other one: accuracy of the source falls with the radius, and that of the target rises."""
    results = made_salman.results(
        noisy(lambda a, eps, m, t, k: 60 + slope * 3 * k + 40 * slope * eps, 0.05), own=lambda a, eps, k: 90 - 30 * eps + 3 * k, n_models=5
    )
    found = claim(results, "follows")
    assert found.verdict == verdict
    assert all(e.mean == pytest.approx(slope, abs=0.1) for e in found.evidence)
    assert found.evidence[0].of == "source models"


def test_fixing_the_radius_raises_r_squared_where_two_radii_pull_apart():
    apart = {0.0: 0.0, 0.1: 30.0, 0.5: -30.0, 1.0: 15.0}
    results = made_salman.results(
        noisy(lambda a, eps, m, t, k: 60 + k + apart[eps], 0.05), own=lambda a, eps, k: 80 + k, n_models=5, targets=("fine",)
    )
    found = claim(results, "predicts")
    assert found.verdict == "supports"
    assert all(e.mean > 90 for e in found.evidence)


def test_few_models_of_a_radius_say_nothing_of_r_squared():
    found = claim(made_salman.results(lambda *_: 60.0, n_models=1, seeds=6), "follows")
    assert found.verdict == "not run"
    assert "3 sources of a radius" in found.evidence[0].note


@pytest.mark.parametrize(("gain", "verdict"), [(4.0, "supports"), (-4.0, "contradicts")])
def test_width_helps_robust_sources_whatever_it_does_to_natural_ones(gain, verdict):
    results = made_salman.results(
        noisy(lambda a, eps, m, t, k: 60 + (gain if eps else -gain) * (a == "small_resnet")), architectures=WIDTHS
    )
    found = claim(results, "wider")
    assert found.verdict == verdict
    assert [e.mean for e in found.evidence] == pytest.approx([gain] * 6)
    assert found.evidence[0].comparison == "mean of 2 targets, fixed-feature: small_resnet minus small_resnet_x0_5"
    assert claim(made_salman.results(lambda *_: 60.0), "wider").verdict == "not run"


@pytest.mark.parametrize(("lead", "verdict"), [(5.0, "supports"), (-5.0, "contradicts")])
def test_a_texture_robust_source_is_compared_and_is_no_source_of_the_grid(lead, verdict):
    card = made_salman.made.short_card(None, test=80.0, test_decorrelated=80.0) | {"architecture": "small_resnet", "dataset": "letters"}
    results = made_salman.results(
        noisy(lambda a, eps, m, t, k: 60 + (lead if eps > 0 else 0.0)), extra={"styled": card}, n_models=6,
        settings=SalmanSettings(texture_robust=["styled"]),
    )  # fmt: skip
    assert "styled" not in results.grid.values()
    found = claim(results, "textures")
    assert found.verdict == verdict
    assert "best robust radius minus styled" in found.evidence[0].comparison


def test_the_published_figures_stand_beside_the_claims():
    made = claims.claims_of(made_salman.results(lambda *_: 60.0), PAPER)
    of = {name: made[place].published for name, place in NAMES.items()}
    assert "above zero on 11 of 12 targets" in of["fixed"]
    assert "above zero on 10 of 12 targets" in of["full"]
    assert "eps 3: cifar10, cifar100" in of["coarser"]
