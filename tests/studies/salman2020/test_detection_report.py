"""What the report says of detection: means, paired differences, a choice that does not see what it is measured on, published numbers."""

from pathlib import Path

import made
import numpy as np
import pytest
from detection import CARDS, TASK, detections

from stages.lib.report import evidence, looks
from stages.lib.report.results import row_at
from stages.lib.report.section import Section
from stages.lib.report.web import page
from stages.studies.salman2020.detection import numbers, published, report
from stages.studies.salman2020.report import TEMPLATE

NOISE = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5])
APS = {"nat": list(40 + NOISE), "weak": list(44 + NOISE + 0.1 * NOISE[::-1]), "strong": list(42 + NOISE), "none": list(20 + NOISE)}
LOOKS = looks.looks_of(
    [("nat", "natural", "natural", 0.0), ("weak", "L2 0.25", "l2", 0.25), ("strong", "L2 1", "l2", 1.0), ("none", "random", "random", 0.0)]
)
RESNET = {"architecture": "resnet50", "kind": "fetched", "dataset": "imagenet", "threat": None}
THEIRS = {"nat": RESNET, "weak": RESNET | {"threat": {"norm": "l2", "eps": 0.5}}}
VOC = TASK | {
    "dataset": "voc0712", "detector": "faster_rcnn", "iterations": 18000, "drops": [12000, 16000], "batch_size": 16, "lr": 0.02, "recall_points": 11,
}  # fmt: skip
COCO = VOC | {"dataset": "coco2017", "detector": "mask_rcnn", "iterations": 270000, "drops": [210000, 250000], "recall_points": 101}


def test_differences_are_paired_by_seed_and_over_the_natural_source():
    found = detections(APS)
    gain = row_at(found.gains, measure="box_ap", source="strong")
    assert (gain["mean"], gain["low"], gain["high"], gain["n"]) == (2, 2, 2, 6)
    assert row_at(found.means, measure="mask_ap", source="nat")["mean"] == pytest.approx(np.mean(APS["nat"]) - 5)
    assert set(found.gains["source"]) == {"weak", "strong", "none"}
    assert found.robust == ["weak", "strong"]


def test_the_best_robust_source_is_chosen_by_the_half_that_does_not_measure_it():
    aps = {"nat": [0.0] * 6, "weak": [9.0, 0, 0, 0, 0, 0], "strong": [1.0] * 6}  # weak is the best of the first seed, by chance
    differences = numbers.of_best_robust(detections(aps), ("shapes", "scenes", "box_ap"))
    assert differences["source"].tolist() == ["strong", "weak"] * 3, "seeds 0, 2 and 4 choose for 1, 3 and 5"
    assert differences["difference"].tolist() == [1, 0, 1, 0, 1, 0]
    models = numbers.of_best_robust(detections(aps, models=3), ("shapes", "scenes", "box_ap"))
    assert models["source_model"].tolist() == [0, 1, 2]
    assert models["source"].tolist() == ["strong", "weak", "strong"], "models 0 and 2 choose for 1"


def test_of_pure_noise_the_best_gains_nothing_on_average():
    rng, found = np.random.default_rng(0), []
    for _ in range(20):
        aps = {name: rng.normal(30, 1, 6).tolist() for name in ("nat", "weak", "strong")}
        found.append(numbers.of_best_robust(detections(aps), ("shapes", "scenes", "box_ap"))["difference"].mean())
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    assert np.std(found) > 0.2


def test_the_claim_has_a_verdict_for_boxes_and_masks():
    [claim] = report.claims(detections(APS))
    assert claim.verdict == evidence.SUPPORTS
    assert [found.of for found in claim.evidence] == ["paired seeds"] * 2
    assert [claim.verdict for claim in report.claims(detections(APS | {"weak": list(30 + NOISE), "strong": list(31 + NOISE)}))] == [
        evidence.CONTRADICTS
    ]
    [few] = report.claims(detections({name: values[:3] for name, values in APS.items()}))
    assert few.verdict == evidence.UNDECIDED
    assert few.evidence[0].note == "3 seeds, no verdict from fewer than 5"
    [one] = report.claims(detections({name: values[:1] for name, values in APS.items()}))
    assert one.evidence[0].comparison.endswith("chosen by the run that it is measured on")


def test_what_was_not_run_is_not_undecided():
    for without in ({}, {"nat": APS["nat"]}, {"nat": APS["nat"], "none": APS["none"]}):
        found = detections(without) if without else numbers.load({}, {}, "nat")
        assert [claim.verdict for claim in report.claims(found)] == [evidence.NOT_RUN]
        tables, drawn = report.tables(found), list(report.drawings(found, LOOKS))
        assert bool(tables) == bool(without)
        assert not drawn or "none" in without


def test_over_models_of_a_source_the_interval_is_over_them():
    aps = {"nat": [0.0] * 9, "weak": [1.0, 2, 3] * 3}
    gain = row_at(detections(aps, models=3).gains, measure="box_ap")
    assert gain["high"] - gain["low"] == pytest.approx(2 * 4.303 * 1 / np.sqrt(3), rel=1e-3), "Student's, over the means of three models"


@pytest.mark.parametrize(
    ("task", "expected"), [(VOC, {"box_ap": (52.80, 53.87)}), (COCO, {"box_ap": (40.67, 40.91), "mask_ap": (36.92, 37.08)})]
)
def test_published_numbers_stand_beside_the_same_comparison_alone(task, expected):
    aps = {"nat": [50.0], "weak": [51.0]}

    def table(cards=THEIRS, **changes):
        return report.tables(detections(aps, cards, {"a": task | changes}))["salman_detection"].set_index(["measure", "source"])[
            "published"
        ]

    for measure, (natural, robust) in expected.items():
        assert table()[measure].to_dict() == {"nat": natural, "weak": robust}
    for changes in ({"iterations": 1}, {"freeze_at": 0}, {"recall_points": 7}, {"dataset": "scenes"}):
        assert table(**changes).isna().all(), changes
    assert table(cards=THEIRS | {"weak": CARDS["weak"]}).isna().all()
    assert table(cards=THEIRS | {"nat": RESNET | {"dataset": "cifar10"}}).isna().all()


def test_every_published_row_is_known_and_said():
    rows = published.load()
    assert set(rows["task"]) == set(published.TASKS.values())
    assert "VOC Object Detection, box AP: 52.80 to 53.87 (+1.07)" in published.text(rows)


def pictures(source: str, k: int) -> dict[str, np.ndarray]:
    start = f"{source}/scenes/shapes"
    return {
        f"{start}/{i}/{name}": array
        for i in range(2)
        for name, array in (
            ("image", np.zeros((20, 30, 3), np.uint8)), ("boxes", np.ones((k, 4)) * [1, 2, 9, 9]), ("labels", np.zeros(k, int)), ("truth", np.ones((1, 4))),
        )
    }  # fmt: skip


def test_figures_show_what_the_runs_say_and_the_page_the_table():
    found = detections(APS, **pictures("nat", 2), **pictures("weak", 0))
    drawn = {drawing.name: drawing.draw(*drawing.arguments) for drawing in report.drawings(found, LOOKS)}
    assert set(drawn) == {"salman_figure4", "salman_detections_shapes"}
    box, mask = drawn["salman_figure4"].axes
    points = [line.get_ydata()[0] for line in box.lines if line.get_gid()]
    assert points == pytest.approx([np.mean(APS[name]) - np.mean(APS["nat"]) for name in ("weak", "strong", "none")])
    assert (box.get_title("left"), mask.get_title("left")) == ("shapes on scenes, box AP", "shapes on scenes, mask AP")
    sheet = drawn["salman_detections_shapes"].axes[0]
    assert len(sheet.images) == 4
    assert len(sheet.patches) == 2 * (2 * (2 + 1) + 2 * (0 + 1))  # each box is drawn twice, dark and light
    environment = page.environment_of(made.results(lambda *_: 0.0, seeds=2), LOOKS, {}, {})
    macros = environment.from_string(Path(page.MACROS).read_text(), globals=environment.globals).module
    context = {"numbers": None, "detected": found, "detection_rows": report.rows_of_page(found)}
    text = page._filled(environment, TEMPLATE, Section(title="", template=TEMPLATE, context=context), macros)
    assert "+2.0 <small>+2.0 to +2.0</small>" in text
    assert "published" not in text.lower()
    ours = detections({"nat": [50.0], "weak": [51.0]}, THEIRS, {"a": VOC})
    context = {"numbers": None, "detected": ours, "detection_rows": report.rows_of_page(ours)}
    assert "<td>53.87</td>" in page._filled(environment, TEMPLATE, Section(title="", template=TEMPLATE, context=context), macros)
