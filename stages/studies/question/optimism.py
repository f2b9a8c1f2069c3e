"""How much a learning rate that is chosen on the test images flatters: its figure minus that of the rate that validation images choose.

Both figures are test accuracies of runs that learn from all their images, paired by subset. Where both ways choose one rate the difference
is 0, and with the last epoch it is never below 0 on average, as the test images choose the rate with the highest mean. The interval of a
source and target is over its subsets, with both rates given; that of a target is over its sources.
"""

import pandas as pd

from stages.lib.report import statistics
from stages.lib.report.results import Results
from stages.lib.settings.sections import Selection
from stages.lib.training import selection

TARGET = ["target", "blocks", "n_images"]


def optimism(results: Results, how: Selection | None) -> pd.DataFrame:
    """A row for each setting, and for each target over its sources: source (`all` of these), target, blocks, n_images, lr_test,
    lr_validation, n, mean, low, high; n counts subsets or sources. Empty where no run holds images out."""
    if how is None or how.validation is None or results.rates.empty:
        return pd.DataFrame()
    chosen = {}
    for by in ("test", "validation"):
        runs = selection.reported(results.rates, results.metrics, how.model_copy(update={"by": by}))
        runs = runs[runs["reported"]]
        chosen[by] = runs.assign(test_accuracy=selection.scores(runs, results.metrics, "test"))
    gaps = statistics.paired(chosen["test"], chosen["validation"], statistics.RUN)
    rates = pd.concat({by: runs.groupby(selection.SETTING, sort=False)["lr"].first() for by, runs in chosen.items()}, axis=1)
    of_settings = statistics.summarise(gaps, selection.SETTING, "difference", statistics.DIFFERENCE)
    of_settings = of_settings.join(rates.add_prefix("lr_"), on=selection.SETTING)
    of_targets = statistics.summarise(of_settings.rename(columns={"mean": "difference"}), TARGET, "difference", statistics.DIFFERENCE)
    columns = [*selection.SETTING, "lr_test", "lr_validation", "n", "mean", "low", "high"]
    return pd.concat([of_settings, of_targets.assign(source="all")], ignore_index=True)[columns]


def shown(results: Results, how: Selection | None, table: pd.DataFrame) -> dict | None:
    """What the page says of the choice; None where nothing was chosen."""
    if how is None or results.rates.empty:
        return None
    of_targets = table[table["source"] == "all"].to_dict("records") if len(table) else []
    return {"by": how.by, "epoch": how.epoch, "share": how.validation, "rates": sorted(results.rates["lr"].unique()), "targets": of_targets}
