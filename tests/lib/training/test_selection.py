"""The choice of a learning rate and of an epoch: by test or validation images, by the metric of the target, for each setting by itself."""

import pandas as pd
import pytest

from stages.lib.settings.sections import Selection
from stages.lib.training import selection

TOP1 = {"digits": "accuracy", "pets": "mean_per_class"}
# Of each rate, by epoch: test accuracy, mean of it over classes; validation accuracy, mean of it over classes
RUNS = {0.1: [(70, 50, 60, 40), (60, 70, 50, 55)], 0.01: [(50, 60, 65, 50), (65, 60, 70, 45)]}


def table(target: str = "digits", blocks: str = "0", seeds: int = 3, bonus: float = 0.0) -> pd.DataFrame:
    """Runs that learn from all images, and those that leave some out; seeds differ by a point, `bonus` is for 0.01 on the test images."""
    rows = []
    for held_out in (0, 4):
        for lr, epochs in RUNS.items():
            for seed in range(seeds):
                for epoch, (test, by_class, validation, validation_by_class) in enumerate(epochs, 1):
                    more = seed + (bonus if lr == 0.01 else 0.0)
                    rows.append(("natural", target, blocks, 20, seed, epoch, test + more, by_class + more, lr, held_out, f"{lr} {held_out} {seed}",
                                 validation + seed if held_out else None, validation_by_class + seed if held_out else None))  # fmt: skip
    names = ["source", "target", "blocks", "n_images", "seed", "epoch", "test_accuracy", "test_mean_per_class", "lr", "held_out", "cell",
             "validation_accuracy", "validation_mean_per_class"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


@pytest.mark.parametrize(
    ("how", "target", "lr", "epoch"),
    [
        (Selection(by="test"), "digits", 0.01, 2),  # 65 against 60 at the last epoch
        (Selection(by="test", epoch="best"), "digits", 0.1, 1),  # 70 against 65
        (Selection(by="test"), "pets", 0.1, 2),  # 70 against 60, over classes
        (Selection(by="test", epoch="best"), "pets", 0.1, 2),
        (Selection(by="validation", validation=0.2), "digits", 0.01, 2),  # 70 against 50
        (Selection(by="validation", validation=0.2), "pets", 0.1, 2),  # 55 against 45
        (Selection(by="validation", validation=0.2, epoch="best"), "pets", 0.1, 2),
    ],
)
def test_the_chosen_rate_and_epoch_are_those_of_the_highest_mean(how, target, lr, epoch):
    found = selection.reported(table(target), TOP1, how)
    assert (found["lr"].unique().tolist(), found["held_out"].unique().tolist()) == ([lr], [0])
    assert len(found) == 3 * 2, "every epoch of every trial stays"
    assert found.loc[found["reported"], "epoch"].tolist() == [epoch] * 3


def test_validation_images_choose_without_a_look_at_the_test_images():
    how = Selection(by="validation", validation=0.2, epoch="best")
    chosen = [selection.reported(table(bonus=bonus), TOP1, how) for bonus in (-50.0, 0.0, 50.0)]
    assert [list(zip(c["lr"], c["epoch"], c["reported"], strict=True)) for c in chosen[1:]] == [
        list(zip(chosen[0]["lr"], chosen[0]["epoch"], chosen[0]["reported"], strict=True))
    ] * 2
    by_test = [selection.reported(table(bonus=bonus), TOP1, Selection(by="test"))["lr"].iloc[0] for bonus in (-50.0, 50.0)]
    assert by_test == [0.1, 0.01]


def test_each_source_target_number_of_blocks_and_of_images_has_a_rate_of_its_own():
    tables = [table(), table("pets"), table(blocks="1", bonus=-10.0)]
    found = selection.reported(pd.concat(tables, ignore_index=True), TOP1, Selection(by="test"))
    rates = found.groupby(["target", "blocks"])["lr"].unique().map(list).to_dict()
    assert rates == {("digits", "0"): [0.01], ("pets", "0"): [0.1], ("digits", "1"): [0.1]}


def test_each_trial_has_its_own_best_epoch_and_one_rate_is_for_all_trials():
    rows = table()
    rows.loc[rows["seed"].eq(2) & rows["lr"].eq(0.1) & rows["epoch"].eq(2), "test_accuracy"] = 99.0
    found = selection.reported(rows, TOP1, Selection(by="test", epoch="best"))
    assert found.loc[found["reported"], ["lr", "seed", "epoch"]].to_numpy().tolist() == [[0.1, 0, 1], [0.1, 1, 1], [0.1, 2, 2]]


def test_of_equal_rates_the_first_is_reported_and_one_rate_needs_no_choice():
    rows = table(bonus=-5.0)  # 60 and 60
    assert selection.reported(rows, TOP1, Selection(by="test"))["lr"].unique().tolist() == [0.1]
    one = rows[rows["lr"].eq(0.01) & rows["held_out"].eq(0)]
    found = selection.reported(one, TOP1, None)
    pd.testing.assert_frame_equal(found[list(one)], one.reset_index(drop=True))
    assert found["reported"].tolist() == [False, True] * 3
