"""The report of the paper's study, from results that lie a known distance from its Table 7."""

import re

import made
import numpy as np
import pandas as pd
import pytest

IN_EVERY_REPORT = {"figure2", "figure3_10", "figure4", "figure5", "epochs"}


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The report of the paper's study: 7 sources, and of its targets, numbers of images and blocks as many as prove all."""
    return made.reported(tmp_path_factory.mktemp("paper"), made.paper)


def test_the_paper_s_study_has_every_figure_and_nothing_missing(paper):
    names = {path.stem for path in (paper / "figures").iterdir()}
    figure11 = {f"figure11_{name}" for name in ("torchvision_resnet50", "utrera_linf_eps4_255", "utrera_linf_eps8_255")}
    assert names >= IN_EVERY_REPORT | figure11 | {"figure8"} | {f"difference_{target}" for target in made.WHOLE}
    assert "published" not in names  # it stands in Figure 2
    page = (paper / "report.html").read_text()
    assert 'class="missing"' not in page
    assert "Under attack" not in page
    assert "samples_imagenet" not in names  # an optional set that is not there


def test_table_7_of_the_paper_s_study_is_as_far_from_the_published_one_as_it_was_made(paper):
    table = pd.read_csv(paper / "tables/table7.csv", keep_default_na=False, na_values=[""])
    compared = table.dropna(subset=["published"])
    assert len(compared) == len(made.WHOLE) * (len(made.SIZES) + 1) * len(made.COLUMNS)
    perturbed = compared["column"].isin(["l2_eps3", "linf_eps4_255", "linf_eps8_255"])
    assert np.allclose(compared["difference"], made.OURS + made.ROBUST * perturbed)
    row = table.set_index(["target", "n_images", "source"]).loc[("svhn", 100, "utrera_l2_eps3")]
    assert row[["n", "mean", "published", "difference", "best", "published_best"]].tolist() == [12, 38.65, 37.90, 0.75, True, True]
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert compared.loc[compared["n_images"] > 1600, "difference_low"].isna().all()
    assert compared[compared["n_images"] >= 50000]["n"].unique().tolist() == [1]


def test_figures_of_the_paper_s_study_have_known_differences_and_n(paper):
    published = pd.read_csv(made.TABLE7).query("target in @made.WHOLE and (n_images in @made.SIZES or n_images >= 50000)")
    gaps = pd.read_csv(paper / "tables/figure2.csv").set_index(["whose", "series", "target", "n_images"])
    assert len(published) == len(made.WHOLE) * (len(made.SIZES) + 1)
    for (target, n), row in published.set_index(["target", "n_images"]).iterrows():
        expected = row["l2_eps3"] - row["natural"]
        assert gaps.loc[("ours", "robust minus natural", target, n), "mean"] == pytest.approx(expected + made.ROBUST, abs=1e-6)
        assert gaps.loc[("published", "robust minus natural", target, n), "mean"] == pytest.approx(expected, abs=0.02)
        assert gaps.loc[("ours", "robust minus natural", target, n), "n"] == (1 if n >= 50000 else 12 if n <= 1600 else 5)
    blocks = pd.read_csv(paper / "tables/figure4.csv")
    assert np.allclose(blocks[(blocks["panel"] == "b") & (blocks["whose"] == "ours")]["mean"], 1.5)
    steps = pd.read_csv(paper / "tables/figure8.csv").pivot_table(index=["target", "n_images"], columns="series", values="mean")
    assert np.allclose(steps["L2 3 minus natural"] - steps["PGD(1), L2 3 minus natural"], 0.4)


def test_claims_of_the_paper_s_study_follow_its_table(paper):
    claims = pd.read_csv(paper / "tables/claims.csv")
    verdicts = claims.groupby("claim")["verdict"].agg(set)
    assert verdicts[1] == {"supports"}
    assert verdicts[11] == verdicts[12] == verdicts[13] == {"supports"}
    assert set(claims["claim"]) == set(range(1, 17))
    many = claims[claims["claim"] == 2]
    assert many["comparison"].str.contains("25,600 images").all()  # the most images that have five subsets
    assert (many["n"] == 5).all()


def test_the_page_of_the_paper_s_study_counts_its_answers(paper):
    page = " ".join(re.sub("<h1>|</?b[^>]*>", "", (paper / "report.html").read_text()).split())
    assert "With 800 images, 4 of 4 targets are learned better from a robust source than from natural." in page
    assert "published 71.19" in page  # of svhn at 800 images
