"""The numbers of the paper's figures from rows whose differences are known: paired by subset, at every size that is there."""

import made
import pandas as pd
import pytest

from stages.studies.utrera2021 import authors
from stages.studies.utrera2021 import numbers as paper
from stages.studies.utrera2021.numbers import Numbers

L2, LINF4, LINF8 = {"norm": "l2", "eps": 3.0}, {"norm": "linf", "eps": 4 / 255}, {"norm": "linf", "eps": 8 / 255}
THREATS = {"l2": L2, "linf4": LINF4, "linf8": LINF8, "one": L2 | {"perturbation": "PGD(1)"}, "noise": L2 | {"perturbation": "Gaussian"}}
LEAD = {"l2": 8.0, "linf4": 6.0, "linf8": 5.0, "one": 7.0, "noise": 3.0}
GAIN = {"0": 0.0, "1": 2.0, "3": 3.0}
WHOLE = {"cifar10": 50000, "mnist": 60000}
NOTHING = pd.DataFrame(columns=[*authors.KEY, "n", "mean", "sd", "last"]).astype({"last": bool})


def lead(source: str, target: str, blocks: str, n: int, epoch: int) -> float | None:
    """A tenth less of it with each doubling from 100, half of it before epoch 21; no run of one target with the size of another."""
    if n in WHOLE.values() and WHOLE[target] != n:
        return None
    return GAIN[blocks] + LEAD.get(source, 0.0) * (100 / n if n < 1000 else 0.1) * (1.0 if epoch == 21 else 0.5)


def n_seeds(source: str, target: str, n: int) -> int:
    return 1 if n in WHOLE.values() else 6 if n == 100 else 4


@pytest.fixture(scope="module")
def results():
    return made.results(
        lead, seeds=n_seeds, targets=tuple(WHOLE), sizes=(100, 200, 50000, 60000), blocks=("0", "1", "3"), epochs=(1, 11, 21),
        threats=THREATS, whole=WHOLE, size="100", epochs_at=["100", "400"],
    )  # fmt: skip


def points(numbers: Numbers, **where: str) -> pd.DataFrame:
    rows = numbers.table
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def test_figure_2_has_every_size_and_all_of_each_target_as_its_last(results):
    found = points(paper.figure2(results, NOTHING), series="robust minus natural")
    assert found[["target", "n_images", "size", "n"]].values.tolist() == [
        ["cifar10", 100, "100", 6], ["cifar10", 200, "200", 4], ["cifar10", 50000, "all", 1],
        ["mnist", 100, "100", 6], ["mnist", 200, "200", 4], ["mnist", 60000, "all", 1],
    ]  # fmt: skip
    assert found["mean"].tolist() == pytest.approx([8.0, 4.0, 0.8] * 2)


def test_constant_differences_have_intervals_without_width_and_one_subset_has_none(results):
    found = points(paper.figure2(results, NOTHING), series="robust minus natural", target="mnist").set_index("size")
    assert found.loc["100", ["low", "high"]].tolist() == pytest.approx([8.0, 8.0])
    assert found.loc["all", ["low", "high"]].isna().all()


def test_figure_2_has_the_means_of_both_sources_at_the_last_epoch(results):
    found = paper.figure2(results, NOTHING)
    assert points(found, series="natural", target="mnist", size="100")["mean"].tolist() == [60 + 2.5 + 3]
    assert points(found, series="robust", target="mnist", size="100")["mean"].tolist() == [60 + 2.5 + 3 + 8]
    assert found.n == "n = 6 down to 1"


def test_a_subset_without_a_partner_takes_no_part_in_a_difference():
    results = made.results(lambda *_: 2.0, seeds=lambda source, *_: 6 if source == "natural" else 3)
    found = paper.figure2(results, NOTHING)
    assert points(found, series="natural")["n"].tolist() == [6, 6]
    gaps = points(found, series="robust minus natural")
    assert gaps[["n", "mean"]].values.tolist() == [[3, 2.0], [3, 2.0]]


def test_figure_3_is_by_epoch_at_the_configured_sizes_and_says_what_is_missing(results):
    numbers = paper.figure3_10(results, NOTHING)
    found = points(numbers, series="robust minus natural", target="cifar10")
    assert found[["n_images", "epoch", "mean"]].values.tolist() == [[100, 1, 4.0], [100, 11, 4.0], [100, 21, 8.0]]
    assert numbers.missing == ["400 images (report.utrera2021.epochs_at)"]


def test_figure_4_has_every_number_of_blocks_and_three_minus_one(results):
    numbers = paper.figure4(results, NOTHING, "l2", "Figure 4")
    assert points(numbers, panel="a", target="mnist", size="100")["series"].tolist() == ["0 blocks", "1 block", "3 blocks"]
    gains = points(numbers, panel="b", target="mnist")
    assert gains["series"].unique().tolist() == ["3 blocks minus 1 block"]
    assert gains["mean"].tolist() == pytest.approx([1.0] * 3)


def test_figure_11_is_of_natural_and_the_other_robust_sources(results):
    assert [name for name in paper.all_figures(results, NOTHING) if name.startswith("figure11")] == [
        "figure11_natural", "figure11_linf4", "figure11_linf8",
    ]  # fmt: skip


def test_figure_5_subtracts_the_larger_radius_and_each_linf_source(results):
    numbers = paper.figure5(results, NOTHING)
    assert points(numbers, panel="a")["series"].unique().tolist() == ["l2", "linf4", "linf8"]
    found = numbers.table[(numbers.table["panel"] != "a") & (numbers.table["size"] == "100") & (numbers.table["target"] == "mnist")]
    assert dict(zip(found["series"], found["mean"], strict=True)) == pytest.approx(
        {"linf4 minus linf8": 1.0, "l2 minus linf4": 2.0, "l2 minus linf8": 3.0}
    )


def test_figure_8_has_three_kinds_of_perturbation(results):
    found = points(paper.figure8(results), target="cifar10", size="100")
    assert dict(zip(found["series"], found["mean"], strict=True)) == pytest.approx(
        {"l2 minus natural": 8.0, "one minus natural": 7.0, "noise minus natural": 3.0}
    )


def test_known_steps_are_said():
    results = made.results(lambda *_: 1.0, threats={"l2": L2 | {"perturbation": "PGD(3)"}, "one": THREATS["one"]})
    numbers = paper.figure8(results)
    assert numbers.table["series"].unique().tolist() == ["PGD(3), l2 minus natural", "one minus natural"]
    assert numbers.missing == ["a Gaussian source"]


@pytest.mark.parametrize(
    ("threats", "blocks", "empty"),
    [({}, ("1",), {"figure2": ["a robust source"], "figure3_10": ["a robust source"], "figure4": ["a robust source"],
                   "figure5": ["a second robust source"], "figure8": ["a PGD(1) source", "a Gaussian source"]}),
     ({"l2": L2}, ("1",), {"figure4": ["a second number of blocks"], "figure5": ["a second robust source"],
                           "figure8": ["a PGD(1) source", "a Gaussian source"]})],
)  # fmt: skip
def test_what_is_not_configured_is_not_drawn_and_named(threats, blocks, empty):
    found = paper.all_figures(made.results(lambda *_: 1.0, threats=threats, blocks=blocks, epochs_at=["50"]), NOTHING)
    for name, missing in empty.items():
        assert found[name].table.empty
        assert set(missing) <= set(found[name].missing)


def test_the_best_epoch_stands_beside_the_last_one():
    """At epoch 1 the runs of each second seed are best, by 4 points."""
    results = made.results(
        lambda source, target, blocks, n, epoch: GAIN[blocks] + (4.0 if epoch == 1 else 0.0),
        blocks=("1", "3"),
        epochs=(1, 11),
        threats=THREATS,
    )
    for numbers in (paper.figure4(results, NOTHING, "l2", "Figure 4"), paper.figure5(results, NOTHING)):
        means = points(numbers, panel="a")
        assert (means["mean_at_best_epoch"] - means["mean"]).tolist() == pytest.approx([4.0] * len(means))
        assert {"low_at_best_epoch", "high_at_best_epoch"} <= set(numbers.table)
    gaps = points(paper.figure4(results, NOTHING, "l2", "Figure 4"), panel="b")
    assert gaps["mean_at_best_epoch"].tolist() == gaps["mean"].tolist()
