"""The profile `utrera-why-influence`, shrunk: CIFAR-10 in its own format and small networks in the published ones, from a server here."""

import pandas as pd
import pytest
from inprocess import run_all, settings_only
from repository import ROOT, Repository, merge
from served import Server, serve_sets
from test_profiles import FORMATS, serve_sources

from stages.lib.settings import overlays

SOURCES = ["torchvision_resnet50", "utrera_l2_eps3"]
TINY = {
    "datasets": ["imagenet", "cifar10"],
    "models": SOURCES,
    "sources": SOURCES,
    "blocks": [3],
    "upscale": {"image_size": 36},
    "draw_subsets": {"n_images": [50], "n_seeds": 2},
    "finetune": {"epochs": 1, "eval_every": 1, "batch_size": 50, "mixed_precision": False},
    "report": {"headline": {"n_images": 50, "blocks": 3}, "utrera2021": {"epochs_at": [50]}},
    "influence": {"n_images": 60, "finetune": {"epochs": 2, "batch_size": 20}, "ranks": 30, "memory_gib": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Repository:
    settings = merge(overlays.merged(["utrera-why-influence"], ROOT / "profiles"), TINY)
    settings["report"]["utrera2021"]["published"] = {"natural": SOURCES[0], "l2_eps3": SOURCES[1]}
    repository = settings_only(tmp_path_factory.mktemp("influence"), settings)
    with Server({}) as server:
        serve_sets(repository, server, {"cifar10": (120, 40)})
        serve_sources(repository, server, {name: FORMATS[name] for name in SOURCES})
        run_all(repository)
    return repository


def test_section_6_has_its_figures_its_table_and_a_verdict_for_each_claim(finished):
    table = pd.read_csv(finished.folder / "reports/tables/utrera_influence.csv")
    ways = {"cut_0.05", "cut_1e-10", "damped_0.01", "features", "labels"}
    assert set(table["way"].dropna()) == ways
    assert set(table["n"]) == {5}
    assert table["published"].isna().all(), "60 images are not 3,200"
    ranks = pd.read_csv(finished.folder / "reports/tables/utrera_figure7b.csv")
    assert set(zip(ranks["way"], ranks["rank"], strict=True)) == {(way, rank) for way in ways for rank in range(1, 31)}
    drawn = {path.stem for path in (finished.folder / "reports/figures").glob("utrera_*.svg")}
    assert drawn == {f"utrera_figure{name}_cifar10" for name in ("6", "7a", "7b")}
    claims = pd.read_csv(finished.folder / "reports/tables/claims.csv")
    of_section = claims[claims["place"].str.startswith("Section 6")]
    assert of_section["claim"].nunique() == 4
    assert set(of_section["verdict_of_claim"]) <= {"supports", "contradicts", "mixed", "undecided"}
    assert of_section["difference"].notna().all()
    page = finished.text("reports/report.html")
    assert '<section id="influence">' in page
    assert "all are shown. Means are over 5 subsets" in page
