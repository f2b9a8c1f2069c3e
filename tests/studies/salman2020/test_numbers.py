"""The numbers of the figures and tables, from a grid whose means are known, and the published ones beside the paper's own models."""

import made_salman
import numpy as np
import pytest

from stages.lib.report.results import at, row_at
from stages.studies.salman2020 import numbers, published
from stages.studies.salman2020.study import SalmanSettings

PAPER = published.load()


def of_paper(architecture: str, eps: float) -> str:
    return f"salman_{architecture}_l2_eps{eps:g}"


def test_accuracy_and_gain_of_each_radius():
    results = made_salman.results(lambda a, eps, m, t, k: 60 + 10 * eps * (m == "full"), own=lambda a, eps, k: 90 - 10 * eps + k)
    found = numbers.load(results, PAPER)
    row = row_at(found.accuracy, mode="full", eps=0.5, target="fine")
    assert (row["mean"], row["source_accuracy"], row["place"], row["n"]) == (pytest.approx(65.05), 86.5, 2, 8)
    assert (found.gains["eps"] > 0).all()
    assert at(found.gains, mode="full", target="fine")["mean"].tolist() == pytest.approx([1.0, 5.0, 10.0])
    assert at(found.gains, mode="fixed")["mean"].tolist() == pytest.approx([0.0] * 6)


def test_published_figures_stand_beside_the_papers_models_targets_and_modes_alone():
    results = made_salman.results(
        lambda a, eps, m, t, k: 60 + eps, architectures=("resnet18", "resnet50"), radii=(0.0, 0.5, 1.0, 3.0), targets=("cifar10", "digits"),
        n_models=1, seeds=5, name=of_paper,
    )  # fmt: skip
    found = numbers.load(results, PAPER)
    row = row_at(found.best, mode="fixed", architecture="resnet50", target="cifar10")
    assert (row["best_eps"], row["published_eps"], row["published"]) == (3.0, 3.0, PAPER.best_run("fixed", "cifar10", "resnet50")[1])
    assert np.isnan(row_at(found.best, mode="fixed", architecture="resnet50", target="digits")["published"])
    assert row_at(found.table1, mode="full", target="cifar10")[["published_robust", "published_natural"]].tolist() == [98.68, 97.63]
    ours = made_salman.results(lambda a, eps, m, t, k: 60 + eps, architectures=("resnet50",), targets=("cifar10",))
    assert numbers.load(ours, PAPER).best["published"].isna().all()


def test_r_squared_is_of_the_source_models_of_a_radius_and_of_all():
    results = made_salman.results(
        lambda a, eps, m, t, k: 60 + k - 40 * eps, own=lambda a, eps, k: 80 + k + 5 * eps, n_models=5, targets=("fine",), modes=("full",)
    )
    table = numbers.load(results, PAPER).table2
    assert at(table, eps=0.5)[["n", "mean"]].to_numpy().tolist() == [[5, pytest.approx(1.0)]]
    whole = table[table["eps"].isna()].iloc[0]
    assert (whole["n"], whole["mean"] < 0.9) == (20, True)


def test_a_source_of_unknown_accuracy_is_no_point():
    results = made_salman.results(lambda *_: 60.0, own=lambda a, eps, k: 80.0 + k)
    for card in results.models["small_resnet_l2_eps0.5"]:
        card["accuracy"] = {}
    found = numbers.load(results, PAPER)
    assert at(found.accuracy, eps=0.5)["source_accuracy"].isna().all()
    assert {len(points) for points in numbers.points_of(results, results.runs_of_grid).values()} == {12}
    for card in results.models["small_resnet_l2_eps0.5"]:
        card["published_accuracy"] = 70.0
    assert set(at(numbers.load(results, PAPER).accuracy, eps=0.5)["source_accuracy"]) == {70.0}


def test_figure_8_has_the_sources_of_the_architecture_of_the_texture_robust_one():
    styled = made_salman.made.short_card(None, test=80.0, test_decorrelated=79.0) | {"architecture": "small_resnet", "dataset": "letters"}
    results = made_salman.results(
        lambda *_: 60.0, architectures=("small_resnet", "small_resnet_x0_5"), extra={"styled": styled},
        settings=SalmanSettings(texture_robust=["styled"]),
    )  # fmt: skip
    found = numbers.load(results, PAPER)
    assert set(found.by_texture["source"]) == {"styled", *(f"small_resnet_{of}" for of in ("natural", "l2_eps0.1", "l2_eps0.5", "l2_eps1"))}
    assert at(found.textures, source="styled")["mean"].tolist() == [80.0, 79.0]
    assert numbers.load(made_salman.results(lambda *_: 60.0), PAPER).by_texture.empty
