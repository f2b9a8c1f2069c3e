"""What the report says of influence, of runs whose shares are known: means, gaps, verdicts, published figures, and figures as drawn."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stages.lib.datasets import sets
from stages.lib.report.looks import looks_of
from stages.lib.report.reading import ExperimentResults
from stages.studies.utrera2021.influence import claims, figures, numbers, report
from stages.studies.utrera2021.influence import published as theirs

SOURCES = {"nat": None, "rob": {"norm": "l2", "eps": 3.0}}
CARDS = {
    name: {"kind": "fetched", "architecture": "resnet50", "dataset": "imagenet", "threat": threat, "accuracy": {}}
    for name, threat in SOURCES.items()
}
LOOKS = looks_of([("nat", "natural", "natural", 0.0), ("rob", "L2 3", "l2", 3.0)])
SETTINGS = {"n_images": 3200, "blocks": 3, "n_seeds": 6}
SHARES = {  # of the natural source, and what the robust one has more
    "test": (80.0, 5.0), "cut_0.05/first": (50.0, 20.0), "cut_0.05/three_of_five": (45.0, 20.0), "cut_0.05/own_class": (70.0, -4.0),
    "features/first": (60.0, 0.0), "features/three_of_five": (60.0, 3.0), "labels/first": (40.0, 2.0), "labels/three_of_five": (40.0, 2.0),
}  # fmt: skip
N_TEST = 200


def results(seeds: int) -> ExperimentResults:
    """Seed i has i - (seeds - 1) / 2 more of every share, and the robust source half a point more or less by turns."""
    rows, images, arrays = [], [], {}
    for source in SOURCES:
        for seed in range(seeds):
            where = {"source": source, "target": "cifar10", "method": "finetuned", "setting": 3200.0, "seed": seed}
            for measure, (share, lead) in SHARES.items():
                value = share + seed - (seeds - 1) / 2 + (lead + (-0.5) ** (1 + seed % 2) * 0.5 if source == "rob" else 0)
                rows.append(where | {"measure": measure, "value": value, "n_test": N_TEST, "cell": ""})
                if measure.startswith(("test", "cut_0.05/first", "cut_0.05/three")):
                    correct = np.arange(N_TEST) < round(value / 100 * N_TEST)
                    images += [where | {"measure": measure, "image": i, "correct": bool(c)} for i, c in enumerate(correct)]
            rows.append(where | {"measure": "kept/cut_0.05", "value": 30.0 + seed, "n_test": 0, "cell": ""})
            for way in ("cut_0.05", "features", "labels"):
                arrays[f"{source}/cifar10/{seed}/ranks/{way}"] = np.linspace(90, 10, 20, dtype=np.float32)
        arrays |= {f"{source}/cifar10/0/picture/{name}": np.full((10, 32, 32, 3), 90, np.uint8) for name in ("test", "train")}
        arrays |= {f"{source}/cifar10/0/picture/{name}_label": np.arange(10) for name in ("test", "train")}
        arrays[f"{source}/cifar10/0/matrix/grey"] = np.tile(np.arange(40, dtype=np.uint8), (50, 1))
        arrays |= {f"{source}/cifar10/0/matrix/test": np.arange(50) // 5, f"{source}/cifar10/0/matrix/train": np.arange(40) // 4}
    return ExperimentResults(SETTINGS, pd.DataFrame(rows), arrays, pd.DataFrame(images))


def influences(seeds: int = 6) -> numbers.Influences:
    return numbers.of_runs(results(seeds), CARDS, dict.fromkeys(CARDS, 1), "nat", "rob")


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "card_of", lambda name: SimpleNamespace(classes=10, class_names=None))
        patch.setattr(numbers, "count", lambda name: 1)
        return report.part(SimpleNamespace(natural="nat", exemplar="rob"), {"influence": results(6)}, CARDS, LOOKS)


def test_means_gaps_and_published_values_stand_side_by_side(part):
    table = part.tables["utrera_influence"].set_index(["way", "measure", "source"])
    row = table.loc[("cut_0.05", "first", "rob")]
    assert row["n"] == 6
    assert row["difference"] == pytest.approx(20 - 0.0625)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert (row["published"], table.loc[("cut_0.05", "first", "nat"), "published"]) == (78.61, 55.08)
    assert pd.isna(table.loc[("features", "first", "rob"), "published"])
    assert pd.isna(table.loc[("cut_0.05", "own_class", "rob"), "published"])
    assert part.context["influence_kept"] == [("cut at 0.05", "nat", "32"), ("cut at 0.05", "rob", "32")]


def test_verdicts_follow_the_gaps(part):
    verdicts = {claim.statement.split(" ", 2)[1]: {e.comparison.split(", ", 1)[1]: e for e in claim.evidence} for claim in part.claims}
    assert [claim.verdict for claim in part.claims] == ["contradicts", "supports", "supports", "supports"]
    beyond = verdicts["labels"]["cut at 0.05: gap of the first image has the label, beyond that of accuracy"]
    assert beyond.mean == pytest.approx(15.0)
    both = verdicts["labels"]["cut at 0.05: gap of the first image has the label, of images that both label correctly"]
    assert both.n == 6
    features = verdicts["features"]
    assert features["control: most similar features, no label: the first image has the label"].verdict == "undecided"
    assert features["control: gradients of the bias, no feature: the first image has the label"].expected == 0


def test_images_that_both_label_correctly_are_counted_by_hand():
    """Correct are the first 160 + 2 i and the first 170 + 2 i or so: both, the first; of these the first 50 and 70 % of all have the label."""
    gap = claims.both_correct(influences(), "cifar10", "cut_0.05", "first").set_index(np.arange(6))["difference"]
    found = influences()
    for seed in range(6):
        value = {
            (row.source, row.measure): round(row.value / 100 * N_TEST)
            for row in found.runs[(found.runs["seed"] == seed) & found.runs["way"].isin(["", "cut_0.05"])].itertuples()
        }
        both = min(value["nat", "test"], value["rob", "test"])
        hand = 100 * (min(value["rob", "first"], both) - min(value["nat", "first"], both)) / both
        assert gap[seed] == pytest.approx(hand)


def test_one_subset_as_in_the_paper_is_compared_over_its_test_images():
    [seed_by_seed] = [c for c in claims.claims_of(influences(1)) if c.statement.startswith("The most influential")]
    for evidence in seed_by_seed.evidence:
        assert (evidence.n, evidence.of) == (N_TEST, "test images")
        assert evidence.verdict == "supports"
    [class_helps] = [c for c in claims.claims_of(influences(1)) if c.statement.startswith("The class")]
    assert class_helps.verdict == "undecided"
    assert np.isnan(class_helps.evidence[0].low), "which images are not known"


@pytest.mark.parametrize(
    ("change", "settings"),
    [({"architecture": "resnet18"}, {}), ({"dataset": "glyphs"}, {}), ({"threat": {"norm": "l2", "eps": 1.0}}, {}), ({}, {"n_images": 1600}),
     ({}, {"blocks": 1}), ({"threat": {"norm": "linf", "eps": 3.0}}, {})],
)  # fmt: skip
def test_nothing_published_stands_beside_another_comparison(change, settings):
    assert theirs.column_of(CARDS["rob"], "cifar10", SETTINGS) == "robust_l2_eps3"
    assert theirs.column_of(CARDS["rob"] | change, "cifar10", SETTINGS | settings) is None
    assert theirs.column_of(CARDS["rob"], "digits", SETTINGS) is None


def test_the_figures_have_a_panel_for_each_source_or_way(part):
    drawn = {drawing.name: drawing.draw(*drawing.arguments) for drawing in part.drawings}
    assert list(drawn) == [f"utrera_figure{name}_cifar10" for name in ("6", "7a", "7b")]
    assert len(drawn["utrera_figure6_cifar10"].axes[0].images) == 10 * (1 + len(SOURCES))
    assert [ax.get_title(loc="left") for ax in drawn["utrera_figure7a_cifar10"].axes] == ["natural", "L2 3"]
    ranks = drawn["utrera_figure7b_cifar10"].axes
    assert ranks[0].get_title(loc="left") == "cut at 0.05"
    stars = [line.get_ydata()[0] for line in ranks[0].lines if line.get_marker() == "*"]
    assert sorted(stars) == [55.08, 78.61]
    assert not [line for line in ranks[1].lines if line.get_marker() == "*"]


def test_a_wrong_label_is_marked_in_the_picture():
    pictures = {"nat": {"picture/test": np.zeros((2, 8, 8, 1), np.uint8), "picture/test_label": np.array([0, 1]),
                        "picture/train": np.zeros((2, 8, 8, 1), np.uint8), "picture/train_label": np.array([0, 2])}}  # fmt: skip
    texts = [text.get_text() for text in figures.helpful(pictures, LOOKS, "title", ["cat", "dog", "truck"]).axes[0].texts]
    assert [text for text in texts if "≠" in text] == ["truck ≠"]
    assert texts.count("cat") == 2


def test_where_the_experiment_is_off_there_is_nothing():
    off = report.part(SimpleNamespace(natural="nat", exemplar="rob"), {}, {}, LOOKS)
    assert (off.anchors, off.tables, off.drawings, off.claims) == ({}, {}, [], [])
