"""The figures, tables and claims of Shafahi et al., from runs whose every number is known."""

from itertools import product

import made
import numpy as np
import pandas as pd
import pytest

from stages.lib.report import figures, gallery, statistics
from stages.studies.shafahi2020 import figures as shafahi_figures
from stages.studies.shafahi2020 import numbers, tables
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.utrera2021 import claims
from stages.studies.utrera2021 import published as reference

PUBLISHED = reference.load(["digits"])
NATURAL = {"threat": None, "dataset": "cifar100", "part": None}
ROBUST = {"threat": {"norm": "linf", "eps": 8 / 255, "perturbation": "PGD(7)"}, "dataset": "cifar100", "part": None}
CARDS = {"nat": NATURAL, "rob": ROBUST}


def rows() -> list[tuple]:
    found = []

    def add(section, source, target, method, setting, seeds=1, **values):
        found.extend((section, source, target, method, float(setting), seed, name.replace("_", " "), value + seed) for seed in range(seeds)
                     for name, value in values.items())  # fmt: skip

    for source, top in (("nat", 0.0), ("rob", 50.0)):
        add("retrain", source, "cifar100", "source", 0, clean=80.0, pgd20=top)
        for k in (1, 5, 10):
            add("retrain", source, "cifar100", "retrained", k, seeds=2, clean=80.0, pgd20=max(0.0, top - 4 * k), images=640.0, train=90.0)
    for source, target in product(CARDS, ("cifar10", "cifar100_other")):
        robust = source == "rob"
        for hidden in (0, 2):
            left = {"pgd20": (30.0 if robust else 2.0) + 10 * hidden, "cw20": 29.0 if robust else 0.0}
            add("train_heads", source, target, "plain", hidden, clean=70.0 if robust else 80.0, train=90.0, **left)
        add("train_heads", source, target, "regularised", 2, clean=72.0, train=85.0, pgd20=20.0, cw20=10.0)
    for n, (method, robust) in product((5, 50), (("adversarial", 10.0), ("finetuned", 20.0), ("transferred", 40.0))):
        add("harden", "rob", "cifar10", method, n, seeds=2, clean=50.0, pgd20=robust, passes=100.0 * n)
    for value in (0.0, 0.001, 0.1):
        add("learn_without_forgetting", "rob", "cifar10", "lwf", value, clean=90 - 100 * value, pgd20=200 * value, train=99.0)
    add("learn_without_forgetting", "rob", "cifar10", "frozen", 0, clean=70.0, pgd20=18.0, train=75.0)
    add("learn_without_forgetting", "rob", "cifar10", "distance", 0, train_distance=5.5, test_distance=5.6)
    return found


@pytest.fixture
def transfers() -> Transfers:
    random = np.random.default_rng(0)
    gradient = {f"{name}_{hidden}": random.random((4, 8, 8, 3)) for name in ("image", "gradient") for hidden in (0, 2)}
    distances = {("rob", "cifar10"): {"train": random.random(50), "test": random.random(50)}}
    return made.transfers(rows(), CARDS, gradients={("nat", "cifar10"): gradient, ("rob", "cifar10"): gradient}, distances=distances)


def test_of_one_seed_the_interval_is_over_test_images_and_of_several_over_seeds(transfers):
    one = numbers.value(transfers.heads, source="rob", target="cifar10", setting=0.0, measure="pgd20")
    assert one[["mean", "low", "high", "n"]].tolist() == [30.0, *statistics.wilson(30.0, 400), 1]
    two = numbers.value(transfers.retrained, source="rob", setting=5.0, measure="pgd20")
    assert two[["mean", "low", "high", "n"]].tolist() == [30.5, 30.0, 31.0, 2]
    images = numbers.value(transfers.hardened, method="transferred", setting=5.0, measure="passes")
    assert images["mean"] == 500.5


def test_a_source_on_its_own_data_stands_beside_table_1(transfers):
    found = {row["source"]: row for row in tables.own_data(transfers, PUBLISHED.shafahi)}
    assert {name: row["published"] for name, row in found.items()} == {
        "nat": {"clean": 78.84, "robust": 0.0}, "rob": {"clean": 59.87, "robust": 22.76},
    }  # fmt: skip
    assert found["rob"]["robust"]["mean"] == 50.0


HALF = {"of": 2, "number": 0, "seed": 0}


@pytest.mark.parametrize(("part", "published"), [(None, {"cifar10": 72.05}), (HALF, {"cifar100_other": 58.48}), (HALF | {"of": 3}, {})])
def test_frozen_features_stand_beside_table_2_where_the_source_learnt_as_many_classes(part, published):
    found = made.transfers(rows(), {name: card | {"part": part} for name, card in CARDS.items()})
    shown = [row for row in tables.frozen(found, PUBLISHED.shafahi) if row["source"] == "rob"]
    assert {row["target"]: row["published"]["clean"] for row in shown if row["published"]} == published
    assert [row["target"] for row in shown] == ["cifar10", "cifar100_other"]
    assert shown[0]["robust"]["mean"] == 30.0


def test_lambdas_stand_beside_table_4(transfers):
    found = {(row["method"], row["lambda_d"]): row for row in tables.forgetting(transfers, PUBLISHED.shafahi)}
    assert set(found) == {("lwf", 0.0), ("lwf", 0.001), ("lwf", 0.1), ("frozen", 0.0)}
    assert found["lwf", 0.001]["published"] == {"clean": 86.15, "robust": 4.70}
    assert found["lwf", 0.0]["published"] is None
    assert found["frozen", 0.0]["published"] is None
    assert found["lwf", 0.1]["robust"]["mean"] == 20.0


def compared(transfers: Transfers) -> pd.DataFrame:
    return tables.compared(tables.all_tables(transfers, PUBLISHED.shafahi), transfers.attack)


def test_another_source_has_no_published_figures(transfers):
    other = made.transfers(rows(), {name: card | {"dataset": "glyphs"} for name, card in CARDS.items()})
    assert compared(other)["published"].isna().all()
    imagenet = made.transfers(rows(), {name: card | {"dataset": "imagenet"} for name, card in CARDS.items()})
    assert tables.frozen(imagenet, PUBLISHED.shafahi)[0]["published"] == {"clean": 90.49, "robust": 0.01}


def test_all_tables_are_one_with_the_difference(transfers):
    table = compared(transfers)
    row = table.query("tables == '4 to 7' and lambda_d == 0.001 and measure == 'pgd20'").iloc[0]
    assert row[["mean", "published", "difference"]].tolist() == pytest.approx([0.2, 4.70, -4.5])
    assert table.groupby("tables")["published"].count().to_dict() == {"1": 4, "2 and 3": 4, "4 to 7": 4}
    assert len(table) == 2 * (2 + 4 + 4)


def test_the_mean_of_both_is_taken_seed_by_seed(transfers):
    both = transfers.hardened.query("measure == 'mean of both' and method == 'transferred' and setting == 5")
    assert both[["mean", "low", "high"]].to_numpy().tolist() == [[45.5, 45.0, 46.0]]


def evidence(transfers: Transfers) -> dict[str, list]:
    found = claims.all_claims(made.study(lambda *_: 1.0), transfers, PUBLISHED)
    return {claim.statement: claim.evidence for claim in found if "Shafahi" in claim.place}


def test_claims_follow_the_numbers(transfers):
    found = evidence(transfers)
    shown = {name: [(round(e.mean, 6), e.verdict) for e in own] for name, own in found.items() if own[0].mean is not None}
    assert shown == {
        "Robustness transfers with robust features": [(28.0, "supports")] * 2,
        "Natural sources transfer no robustness": [(-8.0, "supports")] * 2,
        "A head on a robust source is less accurate on clean images": [(-10.0, "supports")] * 2,
        "Robustness drops as more blocks are retrained": [(-36.0, "supports")],
        "With few images, transfer is better than adversarial training": [(15.0, "supports"), (10.0, "supports")],
        "Hidden layers hide gradients of a natural source, not errors": [(-22.0, "supports")] * 2,
        "Learning without forgetting keeps robustness": [(20.0, "supports")],
        "Learning without forgetting improves clean accuracy": [(10.0, "supports")],
    }
    assert len(found) == 9  # with the one about fine-tuned models, of which none is attacked here


def test_a_section_that_is_off_leaves_its_claims_open():
    found = evidence(made.transfers([row for row in rows() if row[0] == "retrain"], CARDS))
    assert {name: own[0].verdict for name, own in found.items() if own[0].mean is not None} == {
        "Robustness drops as more blocks are retrained": "supports"
    }
    assert all(own[0].note == "not in this configuration" for own in found.values() if own[0].mean is None)


def test_published_figures_are_quoted_from_their_tables():
    text = {
        claim.statement: claim.published
        for claim in claims.all_claims(made.study(lambda *_: 1.0), made.transfers(rows(), CARDS), PUBLISHED)
    }
    assert "cifar100 to cifar10 17.70 − 0.00 = +17.70" in text["Robustness transfers with robust features"]
    assert "imagenet to cifar10+ 0.01 %" in text["Natural sources transfer no robustness"]
    assert "lambda_d=1e-7 0.61 %, lambda_d=0.1 18.62 %" in text["Learning without forgetting keeps robustness"]


def test_every_section_has_its_figures(transfers):
    found = dict(shafahi_figures.all_figures(transfers, figures.looks_of(transfers.described())))
    assert set(found) == {
        "shafahi_figure1", "shafahi_figure3", "shafahi_figure4_cifar10", "shafahi_figure4_cifar100_other", "shafahi_figure5_cifar10",
        "shafahi_forgetting_cifar10", "shafahi_figure7",
    }  # fmt: skip
    robust, clean = found["shafahi_figure1"].axes
    assert [line.get_ydata().tolist() for line in robust.lines if len(line.get_xdata()) == 3] == [[0.5, 0.5, 0.5], [46.5, 30.5, 10.5]]
    assert sorted(line.get_ydata()[0] for line in robust.lines if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2) == [
        0.0,
        50.0,
    ]
    assert clean.get_title("left") == "clean images"
    assert [ax.get_title("left") for ax in found["shafahi_figure4_cifar10"].axes] == [
        "training images",
        "test images",
        "under PGD20",
        "under CW20",
    ]
    assert len(found["shafahi_figure5_cifar10"].axes[0].images) == 4 * (1 + 2 * 2)
    assert [ax.get_title("left") for ax in found["shafahi_figure7"].axes] == ["rob on cifar10"]
    assert not list(shafahi_figures.all_figures(made.transfers(), {}))


def test_a_source_has_one_colour_in_all_figures_and_no_other_has_it():
    cards = {"natural": NATURAL, "linf": ROBUST, "half": ROBUST | {"part": HALF}}
    study = made.study(lambda *_: 1.0, threats={"l2": {"norm": "l2", "eps": 0.5}, "linf": ROBUST["threat"]})
    looks = gallery.looks_of(study, made.transfers(cards=cards))
    assert list(looks) == ["natural", "l2", "linf", "half"]
    assert len({look.colour for look in looks.values()}) == 4
    assert looks["half"].label != looks["linf"].label


def test_gradients_are_shown_around_grey():
    shown = shafahi_figures._shown(np.array([-3.0, 0.0, 3.0, 0.0]))
    assert shown[1] == 0.5
    assert shown[0] == pytest.approx(1 - shown[2])
    assert np.isfinite(shafahi_figures._shown(np.zeros((2, 2)))).all()


def test_without_any_section_there_is_nothing():
    nothing = made.transfers()
    assert nothing.is_empty
    assert compared(nothing).empty
    assert all(isinstance(table, pd.DataFrame) and table.empty for table in (nothing.retrained, nothing.hardened))
