"""Robust against standard sources by mode and distance: gaps, figures beside published ones, and verdicts of known accuracies."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import made
import numpy as np
import pandas as pd
import pytest

from stages.lib.report.evidence import ABSENT, Claim
from stages.lib.report.looks import looks_of_all
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import Results, at
from stages.studies.terzi2021 import published, report
from stages.studies.terzi2021.distance import numbers, ranks
from stages.studies.terzi2021.settings import TerziSettings
from stages.studies.terzi2021.transfer import evidence, gaps
from stages.studies.terzi2021.transfer import part as transfer

SOURCES = {"std": 0.0, "rob": 1.0}
TARGETS = ("cifar100", "svhn", "mnist", "fmnist", "cinic_imagenet")
NEAR, DISTANT = ["cinic_imagenet"], ["svhn", "mnist"]
FAR = {"cinic_imagenet": 1.0, "cifar100": 2.0, "fmnist": 3.0, "mnist": 4.0, "svhn": 5.0}
PAPER = published.load()


class Report:
    """The part of the section `report` that the study reads."""

    terzi2021 = TerziSettings(near=NEAR, distant=DISTANT)


def results(
    gain: Callable[[str, str, int], float], modes=("last_norm", "norms", "all"), n_models: int = 6, eps: float = 1.0,
    architecture: str = "cifar_resnet50",
) -> Results:  # fmt: skip
    """Results of n_models models of a standard and of a robust source of CIFAR-10, one subset each.

    Args:
        gain: robust minus standard, of mode, target and number of the model.
    """
    cards = {}
    for source, radius in (("std", 0.0), ("rob", eps)):
        threat = {"norm": "l2", "eps": radius, "perturbation": "PGD(7)"} if radius else None
        cards[source] = [
            made.short_card(threat, test=90.0) | {"architecture": architecture, "dataset": "cifar10", "name": source}
        ] * n_models
    rows = [
        (source, target, mode, 100, model, 10, 50.0 + model + (gain(mode, target, model) if source == "rob" else 0.0), False, model, "c")
        for source, target, mode, model in product(cards, TARGETS, modes, range(n_models))
    ]
    columns = ["source", "target", "blocks", "n_images", "seed", "epoch", "test_accuracy", "diverged", "source_model", "cell"]
    return Results(
        runs=pd.DataFrame(rows, columns=columns), robustness=made.NOTHING, checks=made.UNCHECKED, natural="std", targets=list(TARGETS),
        textures=[], n_test={"test": 1000}, blocks="last_norm", size="100", labels={"std": "natural", "rob": "L2 1"}, models=cards,
    )  # fmt: skip


def as_published(mode: str, target: str, model: int) -> float:
    """The gaps of the paper in mode 0, a tenth of them in mode 1 and none in mode 2; models differ by half a point."""
    far = {"cinic_imagenet": -4.0, "cifar100": 9.0, "fmnist": 10.0, "mnist": 24.0, "svhn": 22.0}[target]
    return far * {"last_norm": 1.0, "0": 1.0, "norms": 0.1, "all": 0.0}[mode] + 0.5 * ((3 * model + len(target)) % 5 - 2)


def measured(n_models: int = 6, swap: bool = False) -> ExperimentResults:
    """Distances that order the targets as FAR has them, or the other way round."""
    rows = [
        (source, target, "emd", 0.0, model, "emd", 10 - far if swap else far + 0.01 * model, 0, "c")
        for source, (target, far), model in product(SOURCES, FAR.items(), range(n_models))
    ]
    columns = ["source", "target", "method", "setting", "seed", "measure", "value", "n_test", "cell"]
    return ExperimentResults({}, pd.DataFrame(rows, columns=columns), {}, pd.DataFrame())


def claims_of(found: Results, experiments: dict | None = None) -> dict[str, Claim]:
    section = report.section(found, {"report": Report}, experiments or {}, {}, looks_of_all(found, {}))
    return {claim.statement.split(" ")[0] + claim.statement.split(" ")[-1]: claim for claim in section.claims}


def test_gaps_are_paired_and_the_published_ones_stand_beside_those_of_the_same_source_target_and_mode():
    found = results(as_published)
    rows = gaps.table(found, gaps.gaps_of(found), PAPER)
    assert list(dict.fromkeys(rows["mode"])) == ["last_norm", "norms", "all"]
    svhn = at(rows, target="svhn", mode="last_norm").iloc[0]
    assert svhn["gap_mean"] == pytest.approx(np.mean([as_published("last_norm", "svhn", k) for k in range(6)]))
    assert (svhn["published_standard"], svhn["published_robust"], svhn["published_gap"]) == (36.67, 58.34, 21.67)
    assert svhn["printed_gap"] == 21.68  # of Table 8, which is rounded otherwise
    near = at(rows, target="cinic_imagenet")
    assert near["published_gap"].tolist()[0] == -4.0
    assert near["published_gap"].isna().tolist() == [False, True, True]  # Table 5 is of mode 0 alone
    for other in ({"eps": 0.5}, {"architecture": "small_resnet"}, {"architecture": "resnet50"}):
        unlike = results(as_published, **other)
        assert gaps.table(unlike, gaps.gaps_of(unlike), PAPER)["published_gap"].isna().all()


def test_gaps_are_of_top_1_accuracy_whatever_a_target_is_reported_by():
    found = results(as_published)
    top_1 = found.runs.assign(test_accuracy=found.runs["test_accuracy"] + 20.0 * (found.runs["source"] == "rob"))
    by_top_1 = gaps.gaps_of(replace(found, measured=top_1)).runs["difference"]
    assert by_top_1.tolist() == pytest.approx((gaps.gaps_of(found).runs["difference"] + 20.0).tolist())


def test_the_claims_follow_the_accuracies():
    found = claims_of(results(as_published), {"measure_distance": measured()})
    assert {name: claim.verdict for name, claim in found.items()} == {
        "Robust0": "supports",
        "Standard0": "supports",
        "Thetrained": "supports",
    } | {"The0": "supports"}
    turned = claims_of(results(lambda *of: -as_published(*of)), {"measure_distance": measured()})
    assert [turned[name].verdict for name in ("Robust0", "Standard0", "The0")] == ["contradicts"] * 3
    assert turned["Thetrained"].verdict == "supports"  # whichever source is ahead


def test_noise_alone_is_no_evidence_that_gaps_shrink():
    rng, found = np.random.default_rng(0), results(lambda *_: 0.0)
    pairs, false, sizes = gaps.gaps_of(found), 0, []
    for _ in range(100):
        noise = replace(pairs, runs=pairs.runs.assign(difference=rng.normal(size=len(pairs.runs))))
        claim = Claim("", "", "", list(evidence.smaller(found, noise)), "")
        false += claim.verdict in ("supports", "contradicts", "mixed")
        wide = evidence.wide_of(noise.runs, ["mode", "target"])
        sizes.append((wide * evidence.signs_of_other_half(wide)).to_numpy().mean())
    assert false <= 12  # of 100 at a level of 5 %: halves that choose for one another are not wholly independent
    assert abs(np.mean(sizes)) < 0.05  # the mean of |gap| of six models would be 0.33


def test_what_the_configuration_lacks_was_not_run():
    alone = claims_of(results(as_published, modes=("0",)))
    assert alone["Thetrained"].evidence[0].note == ABSENT
    assert alone["Robust0"].verdict == "supports"  # the head alone is mode 0, too
    one = claims_of(results(as_published, n_models=1))
    assert one["Robust0"].verdict == "undecided"
    assert "no verdict" in one["Robust0"].evidence[0].note
    natural = results(as_published)
    without = report.section(natural, {"report": type("", (), {"terzi2021": TerziSettings()})}, {}, {}, looks_of_all(natural, {}))
    assert (without.claims, without.context["templates"]) == ([], [])


@pytest.mark.parametrize(("swap", "sign"), [(False, 1), (True, -1)])
def test_the_correlation_is_that_of_the_ranks_of_gap_and_distance(swap, sign):
    found = results(lambda mode, target, model: FAR[target] ** 2)
    table = numbers.correlations(numbers.points(gaps.gaps_of(found), measured(swap=swap)))
    assert table["rho"].tolist() == [sign] * 2
    assert table["p"].tolist() == [pytest.approx(2 / 120)] * 2  # five targets have 120 orders
    assert table["low"].isna().all()
    assert table["of_models"].tolist() == [[sign] * 6] * 2
    mixed = numbers.correlations(numbers.points(gaps.gaps_of(results(as_published)), measured()))
    assert mixed["rho"].iloc[0] == pytest.approx(0.9)  # two neighbours of five change places: 1 - 6 * 2 / (5 * 24)
    assert (mixed["low"] < mixed["rho"]).all()
    assert (mixed["high"] > mixed["rho"]).all()


def test_the_interval_of_a_rank_correlation_holds():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        x = rng.normal(size=12)
        _, low, high, _ = ranks.rank_correlation(x, 0.6 * x + 0.8 * rng.normal(size=12))
        inside += low <= 6 / np.pi * np.arcsin(0.3) <= high  # Spearman's of a normal pair whose correlation is 0.6
    assert 0.91 <= inside / 300 <= 0.99
    assert np.isnan(ranks.rank_correlation([1, 1, 1], [1, 2, 3])[0])
    assert np.isnan(ranks.rank_correlation([1, 2, 3, 4], [1, 2, 3, 5])[1])  # too few for an interval


def test_the_section_has_figures_tables_and_both_parts():
    found = results(as_published)
    section = report.section(found, {"report": Report}, {"measure_distance": measured()}, {}, looks_of_all(found, {}))
    assert section.context["templates"] == ["transfer/part.html.j2", "distance/part.html.j2"]
    assert set(section.tables) == {"terzi_modes", "terzi_distance", "terzi_spearman"}
    for drawing in section.drawings:
        assert drawing.draw(*drawing.arguments).axes
    assert len(transfer.as_published(PAPER)) == 4 + 4 + 11 + 4 + 1  # CIFAR-10, CIFAR-100 with both networks, ImageNet, and Table 5
