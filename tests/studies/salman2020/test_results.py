"""Which sources are the grid: of L2 radii and natural, of the data of the natural source, one for each architecture and radius."""

from dataclasses import replace

import made_salman
import pytest

from stages.studies.salman2020.study import SalmanSettings


def card(**changes):
    threat = {"norm": "l2", "eps": 0.5, "perturbation": "PGD(2)"}
    return made_salman.made.short_card(threat) | {"architecture": "small_resnet", "dataset": "letters"} | changes


@pytest.mark.parametrize(
    "other",
    [
        card(threat={"norm": "linf", "eps": 0.03, "perturbation": "PGD(2)"}),
        card(threat={"norm": "l2", "eps": 0.7, "perturbation": "PGD(1)"}),
        card(threat={"norm": "l2", "eps": 0.7, "perturbation": "Gaussian"}),
        card(threat={"norm": "l2", "eps": 0.7, "perturbation": "PGD(2)"}, dataset="glyphs"),
        card(kind="random", threat=None),
    ],
)
def test_other_sources_are_not_in_it(other):
    results = made_salman.results(lambda *_: 60.0, extra={"other": other})
    assert "other" not in results.grid.values()
    assert "other" not in set(results.runs_of_grid["source"])


def test_of_two_natural_sources_of_an_architecture_the_reference_is_taken():
    results = made_salman.results(lambda *_: 60.0, extra={"another": card(threat=None)})
    assert results.grid["small_resnet", 0.0] == "small_resnet_natural"


def test_architectures_go_from_narrow_to_wide_and_the_main_one_has_the_most_radii():
    results = made_salman.results(
        lambda *_: 60.0, architectures=("small_resnet_x2", "small_resnet_x0_5"), extra={"middle": card(threat=None)}
    )
    assert results.architectures == ["small_resnet_x0_5", "small_resnet", "small_resnet_x2"]
    assert results.main == "small_resnet_x2"
    assert results.radii == list(made_salman.RADII)


@pytest.mark.parametrize(("radii", "has"), [((0.0, 0.1, 0.5), False), ((0.0, 0.1, 0.5, 1.0), True)])
def test_a_grid_has_three_radii_and_a_natural_source(radii, has):
    assert made_salman.results(lambda *_: 60.0, radii=radii).has_grid == has


def test_a_grid_without_runs_in_a_mode_is_none():
    assert not made_salman.results(lambda *_: 60.0, modes=()).has_grid


def test_radii_whose_natural_source_has_another_architecture_are_no_grid():
    results = made_salman.results(lambda *_: 60.0, architectures=("small_resnet_x0_5", "small_resnet"))
    for card in results.models["small_resnet_x0_5_natural"]:
        card["architecture"] = "resnet18"
    assert (results.main, results.has_grid) == ("small_resnet", True)
    for card in results.models["small_resnet_natural"]:
        card["architecture"] = "resnet34"
    assert not replace(results).has_grid


def test_pairs_of_targets_that_are_not_configured_are_left_out():
    settings = SalmanSettings(coarser={"fine": "coarse", "fine_2": "coarse"}, low_resolution={"fine": "low"}, texture_robust=["styled"])
    results = made_salman.results(lambda *_: 60.0, settings=settings)
    assert (results.coarser, results.low_resolution, results.texture_robust) == ({"fine": "coarse"}, {}, [])
