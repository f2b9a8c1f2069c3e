"""The sections of Shafahi et al. through DVC: each alone, all in the report, and none where its sources are empty."""

import pandas as pd
import pytest

SECTIONS = ["retrain", "train_heads", "harden", "learn_without_forgetting"]
TINY = {"steps": 6, "batch_size": 16, "lr": 0.05}


@pytest.fixture
def on(copy):
    changes = {
        "robust_transfer__max_images": 16, "robust_transfer__attacks__pgd20__steps": 2, "robust_transfer__attacks__cw20__steps": 2,
        "retrain__k": [1, 4], "retrain__n_seeds": 1, "retrain__training": TINY,
        "train_heads__hidden": [0, 1], "train_heads__n_seeds": 1, "train_heads__training": TINY, "train_heads__gradients": 2,
        "harden__n_per_class": [2], "harden__n_seeds": 1, "harden__from_scratch": TINY, "harden__adversarial_finetuning": TINY,
        "harden__natural_head": TINY, "learn_without_forgetting__lambda_d": [0.0, 0.1], "learn_without_forgetting__n_seeds": 1,
        "learn_without_forgetting__training": TINY, "learn_without_forgetting__histogram_images": 8,
    }  # fmt: skip
    for section in SECTIONS:
        changes[f"{section}__sources"] = ["natural", "l2_eps0_5"] if section == "train_heads" else ["l2_eps0_5"]
        if section != "retrain":
            changes[f"{section}__targets"] = ["digits"]
    copy.edit("params.yaml", **changes)
    return copy


def test_each_section_runs_alone_and_then_all_are_in_the_report(on):
    assert on.repro("harden") == ["check", "harden@l2_eps0_5-digits"]
    ran = on.repro()
    assert set(ran) == {
        "retrain@l2_eps0_5", "train_heads@natural-digits", "train_heads@l2_eps0_5-digits", "learn_without_forgetting@l2_eps0_5-digits",
        "report", "track",
    }  # fmt: skip
    page = on.text("reports/report.html")
    assert "Adversarially Robust Transfer Learning" in page
    assert "Robustness transfers with robust features" in page
    table = pd.read_csv(on.folder / "reports/tables/robust_transfer.csv")
    assert set(table["section"]) == set(SECTIONS)
    figures = {path.stem for path in (on.folder / "reports/figures").glob("shafahi*.svg")}
    assert figures == {
        "shafahi_figure1", "shafahi_figure3", "shafahi_figure4_digits", "shafahi_figure5_digits", "shafahi_forgetting_digits", "shafahi_figure7",
    }  # fmt: skip
    assert on.repro() == []

    on.edit("params.yaml", **{f"{section}__sources": [] for section in SECTIONS})
    again = on.repro()
    assert not [stage for stage in again if stage.split("@")[0] in SECTIONS]
    assert "Adversarially Robust Transfer Learning" not in on.text("reports/report.html")
    assert not (on.folder / "reports/tables/robust_transfer.csv").exists()
    assert not list((on.folder / "reports/figures").glob("shafahi*"))


def test_an_experiment_turns_a_section_on(copy):
    done = copy.dvc("exp", "run", "-S", "retrain.sources=[natural]", "-S", "retrain.k=[1]", "-S", "retrain.n_seeds=1",
                    "-S", "retrain.training.steps=3", "-S", "robust_transfer.max_images=8",
                    "-S", "+evaluate_robustness.attacks.cw20={kind: pgd, loss: margin, steps: 2, step_ratio: 2.5}", "retrain")  # fmt: skip
    assert "Running stage 'retrain@natural'" in done.stdout
    table = pd.read_parquet(copy.folder / "models/robustness/retrained/natural/runs.parquet")
    assert set(table["setting"]) == {0.0, 1.0}
