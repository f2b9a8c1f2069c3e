"""The profiles of Terzi et al.: that of CIFAR-10, shrunk, from the published formats to the report; of the others what they would run."""

import pandas as pd
import photographs
import pytest
from checkpoints import robustness_format
from inprocess import run_all, settings_only
from repository import ROOT, Repository, merge
from served import Server, serve_sets
from test_profiles import serve_sources

from stages import plan
from stages.lib.settings import overlays
from stages.lib.store import code

SOURCES = ["robustness_cifar10_natural", "robustness_cifar10_l2_eps1"]
TARGETS = ["svhn", "cinic_imagenet"]
TINY = {
    "datasets": ["cifar10", *TARGETS],
    "targets": TARGETS,
    "upscale": {"image_size": 16, "store": "upscaled"},
    "draw_subsets": {"n_seeds": 5},
    "finetune": {"epochs": 3, "eval_every": 2, "batch_size": 60, "drops": [1, 2]},
    "measure_distance": {"targets": TARGETS, "least": 5},
    "report": {"terzi2021": {"distant": ["svhn"]}},
}
MODES = ["0", "last_norm", "norms", "all"]


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory) -> Repository:
    repository = settings_only(tmp_path_factory.mktemp("terzi"), merge(overlays.merged(["terzi-cifar10"], ROOT / "profiles"), TINY))
    formats = {name: lambda network: robustness_format(network, [0.4] * 3, [0.2] * 3) for name in SOURCES}
    with Server({}) as server:
        serve_sets(repository, server, {"cifar10": (120, 80), "svhn": (120, 80)})
        photographs.serve(repository, server, "cinic_imagenet", photographs.cinic_imagenet(10, 6))
        serve_sources(repository, server, formats)
        run_all(repository)
    return repository


def test_each_mode_is_fine_tuned_from_both_sources_and_stands_in_the_report(cifar10):
    runs = pd.read_csv(cifar10.folder / "reports/tables/runs.csv", dtype={"blocks": str})
    assert runs["cell"].nunique() == len(SOURCES) * len(TARGETS) * len(MODES) * 5
    assert list(dict.fromkeys(runs["blocks"])) == MODES
    rows = pd.read_csv(cifar10.folder / "reports/tables/terzi_modes.csv")
    assert rows[["mode", "target"]].apply(tuple, axis=1).tolist() == [(mode, target) for mode in MODES for target in TARGETS]
    means = runs[runs["epoch"] == 3].groupby(["source", "blocks", "target"])["test_accuracy"].mean()
    for row in rows.itertuples():
        standard, robust = (means[source, row.mode, row.target] for source in SOURCES)
        assert (row.standard_mean, row.robust_mean) == (pytest.approx(standard), pytest.approx(robust))
        assert row.gap_mean == pytest.approx(robust - standard, abs=1e-5)
        assert row.gap_low <= row.gap_mean <= row.gap_high
    assert rows["published_gap"].isna().all()  # these small networks are none of the paper's


def test_every_source_has_its_own_distance_of_each_target(cifar10):
    distances = pd.read_csv(cifar10.folder / "reports/tables/experiments.csv")
    assert distances[["source", "target"]].apply(tuple, axis=1).tolist() == [(source, target) for source in SOURCES for target in TARGETS]
    assert (distances["value"] > 0).all()
    points = pd.read_csv(cifar10.folder / "reports/tables/terzi_distance.csv")
    assert set(points["features"]) == {"standard", "robust"}
    by_robust = points[points["features"] == "robust"].set_index("target")["emd"]
    assert by_robust.to_dict() == pytest.approx(
        distances[distances["source"] == SOURCES[1]].set_index("target")["value"].to_dict(), abs=1e-5
    )


def test_the_page_has_both_parts_and_the_published_tables(cifar10):
    page = cifar10.text("reports/report.html")
    for text in ("Robust or standard: by target and mode", "Does the gap grow with the distance?", '<td class="left">mode 1</td>',
                 "near: cinic_imagenet; distant: svhn", "The difference shrinks where more is trained", "36.67", "imagenet, resnet50, L2 3"):  # fmt: skip
        assert text in page, text
    claims = pd.read_csv(cifar10.folder / "reports/tables/claims.csv")
    of_terzi = claims[claims["place"].str.startswith("Terzi")]
    assert of_terzi["statement"].nunique() == 4
    assert not of_terzi[of_terzi["verdict"] == "not run"]["statement"].nunique()


@pytest.mark.parametrize(
    ("profile", "source", "target", "models", "epochs"),
    [("terzi-cifar10", "robustness_cifar10_l2_eps1", "svhn", 1, 120), ("terzi-cifar100", "cifar100_resnet18_natural", "mnist", 3, 120),
     ("terzi-imagenet", "utrera_l2_eps3", "birds", 1, 300)],
)  # fmt: skip
def test_the_plan_knows_every_run_and_what_is_computed_once(profile, source, target, models, epochs, monkeypatch):
    monkeypatch.chdir(code.ROOT)
    settings = plan.settings_of([profile])
    pair = plan.pair_of(settings, source, target)
    once = {kind.at_once[0]: kind.fixed_in_all_runs for kind in pair.work}
    both = frozenset({"train", "test"})
    assert once == {0: both, "last_norm": both, "norms": frozenset(), "all": frozenset()}
    n = {"svhn": 73257, "mnist": 60000, "birds": 5994}[target]
    assert {work.trained for work in pair.work.values()} == {max(3, models) * n * epochs}
