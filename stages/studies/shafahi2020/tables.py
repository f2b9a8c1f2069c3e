"""Tables 1 to 7 of Shafahi et al. (ICLR 2020): what the runs say, with the published accuracies beside it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.report.results import row_at
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.shafahi2020.published import Published
from stages.studies.shafahi2020.settings import REFERENCES

COLUMNS = ["tables", "source", "target", "method", "lambda_d", "measure", "mean", "low", "high", "n", "published", "difference"]

Row = dict[str, Any]  # source, target, method, lambda_d; clean and robust: mean, low, high, n, or None; published: both, or None
Tables = dict[str, list[Row]]  # by the numbers of the paper's tables


def all_tables(transfers: Transfers, published: Published) -> Tables:
    return {
        "1": own_data(transfers, published),
        "2 and 3": frozen(transfers, published),
        "4 to 7": learn_without_forgetting(transfers, published),
    }


def own_data(transfers: Transfers, published: Published) -> list[Row]:
    """Table 1: each source on the data that it was trained on."""
    runs = transfers.retrain[transfers.retrain["method"] == "source"]
    return list(_rows(runs, transfers, published, "trained on target"))


def frozen(transfers: Transfers, published: Published) -> list[Row]:
    """Tables 2 and 3: a linear head on frozen features; the sources of a target below one another."""
    runs = transfers.train_heads[transfers.train_heads["setting"] == 0]
    rows = list(_rows(runs, transfers, published, "frozen"))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    return sorted(rows, key=lambda row: targets.index(row["target"]))


def learn_without_forgetting(transfers: Transfers, published: Published) -> list[Row]:
    """Tables 4 to 7: learning without forgetting, by way (`method`) and lambda_d; the frozen and the untrained source last.

    Which way the published tables come from is not known: they stand beside each.
    """
    runs = transfers.learn_without_forgetting[transfers.learn_without_forgetting["method"] != "distance"]
    return list(_rows(runs, transfers, published, "LwF"))


def _rows(runs: pd.DataFrame, transfers: Transfers, published: Published, training: str) -> Iterator[Row]:
    """A row for each kind of run; training: as `Published.beside` takes it."""
    by_lambda = training == "LwF"
    for (source, target, method, setting), group in runs.groupby(["source", "target", "method", "setting"], sort=False):
        row: Row = {"source": source, "target": target, "method": method, "lambda_d": setting}
        row["clean"], row["robust"] = (row_at(group, measure=measure) for measure in ("clean", transfers.attack))
        theirs = published.beside(
            training, transfers.cards[source], target, norm=transfers.norm, eps=transfers.eps, attack=transfers.how,
            lambda_d=setting if by_lambda else None,
        )  # fmt: skip
        yield row | {"published": None if by_lambda and method in REFERENCES else theirs}


def compared(tables: Tables, attack: str) -> pd.DataFrame:
    """All tables as one, in percent: a row for each kind of run and measure."""
    table = []
    for numbers, rows in tables.items():
        for row in rows:
            for name, measure in (("clean", "clean"), ("robust", attack)):
                result, published = row[name], row["published"][name] if row["published"] else np.nan
                table.append((numbers, *(row[key] for key in COLUMNS[1:5]), measure, *result[["mean", "low", "high", "n"]], published,
                              result["mean"] - published))  # fmt: skip
    return pd.DataFrame(table, columns=COLUMNS)
