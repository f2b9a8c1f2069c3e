"""Tables 1 to 7 of Shafahi et al. (ICLR 2020): what the runs say, with the published accuracies beside it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.report.results import row_at
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.shafahi2020.settings import REFERENCES

PUBLISHED_TARGETS = {  # the names of published/tables.csv, and of the catalog; a `+` there stands for augmentation
    "cifar100 (other 50%)": "cifar100_other", "cifar100 (same 50%)": "cifar100_same", "cifar100 (other 1/2)": "cifar100_other",
}  # fmt: skip
COLUMNS = ["tables", "source", "target", "method", "lambda_d", "measure", "mean", "low", "high", "n", "published", "difference"]

Row = dict[str, Any]  # source, target, method, lambda_d; clean and robust: mean, low, high, n, or None; published: both, or None
Tables = dict[str, list[Row]]  # by the numbers of the paper's tables


def all_tables(transfers: Transfers, published: pd.DataFrame) -> Tables:
    return {
        "1": own_data(transfers, published),
        "2 and 3": frozen(transfers, published),
        "4 to 7": learn_without_forgetting(transfers, published),
    }


def own_data(transfers: Transfers, published: pd.DataFrame) -> list[Row]:
    """Table 1: each source on the data that it was trained on."""
    runs = transfers.retrain[transfers.retrain["method"] == "source"]
    return list(_rows(runs, transfers, published, lambda row: published["setting"] == "trained on target"))


def frozen(transfers: Transfers, published: pd.DataFrame) -> list[Row]:
    """Tables 2 and 3: a linear head on frozen features; the sources of a target below one another."""
    runs = transfers.train_heads[transfers.train_heads["setting"] == 0]
    rows = list(_rows(runs, transfers, published, lambda row: published["setting"].str.startswith("frozen")))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    return sorted(rows, key=lambda row: targets.index(row["target"]))


def learn_without_forgetting(transfers: Transfers, published: pd.DataFrame) -> list[Row]:
    """Tables 4 to 7: learning without forgetting, by way (`method`) and lambda_d; the frozen and the untrained source last.

    Which way the published tables come from is not known: they stand beside each.
    """
    runs = transfers.learn_without_forgetting[transfers.learn_without_forgetting["method"] != "distance"]
    says = published["setting"].str.extract(r"lambda_d=([0-9.e-]+)")[0].astype(float)
    return list(
        _rows(
            runs,
            transfers,
            published,
            lambda row: (row["method"] not in REFERENCES) & np.isclose(says, row["lambda_d"], rtol=1e-6),
        )
    )


def _rows(runs: pd.DataFrame, transfers: Transfers, published: pd.DataFrame, which: Any) -> Iterator[Row]:
    """A row for each kind of run; `which` says of a row to which of the published ones it may belong."""
    for (source, target, method, setting), group in runs.groupby(["source", "target", "method", "setting"], sort=False):
        row: Row = {"source": source, "target": target, "method": method, "lambda_d": setting}
        row["clean"], row["robust"] = (row_at(group, measure=measure) for measure in ("clean", transfers.attack))
        yield row | {"published": _published(published[which(row)], transfers, source, target)}


def _published(rows: pd.DataFrame, transfers: Transfers, source: str, target: str) -> dict[str, float] | None:
    """Clean and PGD-20 accuracy that the paper gives for a source model of this kind, data and part of their classes on this target."""
    part, dataset = transfers.cards[source].get("part"), transfers.cards[source]["dataset"]
    targets = rows["target"].map(lambda name: PUBLISHED_TARGETS.get(name, name.removesuffix("+")))
    data = rows["source"].where(rows["source"] != "-", targets).str.split(r"[+ ]", regex=True).str[0]
    halves = rows["source"].str.contains(r"50%|1/2")
    kind = rows["source_model"].str.startswith("robust" if transfers.robust(source) else "natural")
    matching = rows[(targets == target) & (data == dataset) & kind & (halves if part else ~halves)]
    if matching.empty or (part and part["of"] != 2):
        return None
    return {"clean": float(matching["clean_accuracy"].iloc[0]), "robust": float(matching["pgd20_accuracy"].iloc[0])}


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
