"""The numbers and tables of Shafahi et al., from runs whose every number is known."""

import made_shafahi
import pandas as pd
import pytest

from stages.lib.report import statistics
from stages.lib.report.results import row_at
from stages.studies.shafahi2020 import published, tables
from stages.studies.shafahi2020.numbers import Transfers

PUBLISHED = published.load()
HALF = {"of": 2, "number": 0, "seed": 0}


@pytest.fixture(scope="module")
def transfers() -> Transfers:
    return made_shafahi.transfers(made_shafahi.rows(), made_shafahi.CARDS)


def test_of_fewer_than_five_seeds_the_interval_is_over_test_images(transfers):
    one = row_at(transfers.train_heads, source="rob", target="cifar10", setting=0.0, measure="pgd20")
    assert one[["mean", "low", "high", "n"]].tolist() == [30.0, *statistics.wilson(30.0, 400), 1]
    two = row_at(transfers.retrain, source="rob", setting=5.0, measure="pgd20")
    assert two[["mean", "low", "high", "n"]].tolist() == [30.5, *statistics.wilson(30.5, 400), 2]
    images = row_at(transfers.harden, method="transferred", setting=5.0, measure="passes")
    assert images["mean"] == 500.5


def test_a_source_on_its_own_data_stands_beside_table_1(transfers):
    found = {row["source"]: row for row in tables.own_data(transfers, PUBLISHED)}
    assert {name: row["published"] for name, row in found.items()} == {
        "nat": {"clean": 78.84, "robust": 0.0}, "rob": {"clean": 59.87, "robust": 22.76},
    }  # fmt: skip
    assert found["rob"]["robust"]["mean"] == 50.0


@pytest.mark.parametrize(("part", "published"), [(None, {"cifar10": 72.05}), (HALF, {"cifar100_other": 58.48}), (HALF | {"of": 3}, {})])
def test_frozen_features_stand_beside_table_2_where_the_source_learnt_as_many_classes(part, published):
    found = made_shafahi.transfers(made_shafahi.rows(), {name: card | {"part": part} for name, card in made_shafahi.CARDS.items()})
    shown = [row for row in tables.frozen(found, PUBLISHED) if row["source"] == "rob"]
    assert {row["target"]: row["published"]["clean"] for row in shown if row["published"]} == published
    assert [row["target"] for row in shown] == ["cifar10", "cifar100_other"]
    assert shown[0]["robust"]["mean"] == 30.0


def test_lambdas_stand_beside_table_4(transfers):
    found = {(row["method"], row["lambda_d"]): row for row in tables.learn_without_forgetting(transfers, PUBLISHED)}
    assert set(found) == {
        ("written", 0.0),
        ("written", 0.001),
        ("written", 0.1),
        ("frozen", 0.0),
    }
    assert found["written", 0.001]["published"] == {"clean": 86.15, "robust": 4.70}
    assert found["written", 0.0]["published"] is None
    assert found["frozen", 0.0]["published"] is None
    assert found["written", 0.1]["robust"]["mean"] == 30.0


def compared(transfers: Transfers) -> pd.DataFrame:
    return tables.compared(tables.all_tables(transfers, PUBLISHED), transfers.attack)


def test_another_source_has_no_published_figures(transfers):
    other = made_shafahi.transfers(made_shafahi.rows(), {name: card | {"dataset": "glyphs"} for name, card in made_shafahi.CARDS.items()})
    assert compared(other)["published"].isna().all()


def test_all_tables_are_one_with_the_difference(transfers):
    table = compared(transfers)
    row = table.query("tables == '4 to 7' and lambda_d == 0.001 and measure == 'pgd20'").iloc[0]
    assert row[["mean", "published", "difference"]].tolist() == pytest.approx([0.3, 4.70, -4.4])
    assert table.groupby("tables")["published"].count().to_dict() == {"1": 4, "2 and 3": 4, "4 to 7": 4}
    assert len(table) == 2 * (2 + 4 + 4)


def test_the_mean_of_both_is_taken_seed_by_seed(transfers):
    both = transfers.harden.query("measure == 'mean of both' and method == 'transferred' and setting == 5")
    assert both[["mean", "low", "high"]].to_numpy().tolist() == [[45.5, *statistics.wilson(45.5, 400)]]


def test_without_any_section_there_is_nothing():
    nothing = made_shafahi.transfers()
    assert nothing.is_empty
    assert compared(nothing).empty
    assert all(isinstance(table, pd.DataFrame) and table.empty for table in (nothing.retrain, nothing.harden))
