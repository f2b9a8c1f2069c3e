"""The report from synthetic results whose means are known: its files, its words, its bytes, and what it refuses."""

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest
import yaml
from browser import WIDTHS, beyond, browser, needs_chromium, shown
from made import PIXELS

from stages import report
from stages.lib.errors import RunError
from stages.lib.report import drawings
from stages.lib.store import journal, tables
from stages.lib.store.files import sha256_of

ROOT = Path(__file__).resolve().parents[1]
SEEDS = [20000000 + 100000 * i for i in range(12)]
SIZES = [50, 100, 200]
BASE = {  # accuracy on digits, on textures; each at 50 images and the last epoch
    "natural": (64.0, 70.0), "l2_eps0_5": (74.0, 52.0), "linf_eps8_255": (72.0, 48.0), "random": (40.0, 45.0),
}  # fmt: skip
ON_SOURCE = {"natural": (99.0, 80.0), "l2_eps0_5": (93.0, 90.0), "linf_eps8_255": (91.0, 89.0), "random": None}
THREATS = {"l2_eps0_5": {"norm": "l2", "eps": 0.5}, "linf_eps8_255": {"norm": "linf", "eps": 8 / 255}}
IN_EVERY_REPORT = {"figure2", "figure3_10", "figure4", "figure5", "epochs"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The report of 4 sources x 2 targets x blocks 0 and 1, for the tests that only look."""
    return made.reported(tmp_path_factory.mktemp("finished"), make, ("svg", "png"))


@pytest.fixture
def workspace(tmp_path, finished, monkeypatch):
    """A folder with the same results and no report, whose figures need not be drawn again where nothing of them changes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(finished.parent))
    monkeypatch.setattr(journal, "LIVE_AFTER_S", 1000)
    monkeypatch.setattr(drawings, "processes", nullcontext)
    monkeypatch.setattr(drawings, "KINDS", ("svg",))
    make(tmp_path)
    return tmp_path


def change(**settings: object) -> None:
    """Change top-level keys of params.yaml."""
    content = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(content | settings))


def make(folder: Path) -> None:
    for name in ("data/catalog.yaml", "models/catalog.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings |= {"sources": list(BASE), "targets": ["digits", "textures"], "datasets": ["glyphs", "digits", "textures"], "blocks": [0, 1]}
    settings["draw_subsets"] |= {"n_images": SIZES, "n_seeds": len(SEEDS)}
    settings["report"] |= {"natural": "natural", "headline": {"n_images": 100, "blocks": 1}}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    for name in settings["datasets"]:
        splits = dict.fromkeys(("train", "test", "test_decorrelated") if name == "glyphs" else ("train", "test"), 1000)
        made.images(folder / "data/images" / name, name, channels=1 if name == "digits" else 3, splits=splits)
    for source in BASE:
        accuracy = dict(zip(("test", "test_decorrelated"), ON_SOURCE[source], strict=True)) if ON_SOURCE[source] else {}
        card = made.card(source, "random" if source == "random" else "trained", THREATS.get(source), accuracy)
        made.write_source(folder, card)
        rows = [row for index, target in enumerate(settings["targets"]) for row in rows_of(source, target, BASE[source][index])]
        made.runs(rows, folder / tables.finetuned(source) / "runs.parquet")
        make_robustness(folder / tables.robustness(source), source, settings["targets"])
    made.diverge(folder / tables.finetuned("random") / "runs.parquet", target="digits", n_images=50, seed=SEEDS[:2])


def rows_of(source: str, target: str, base: float) -> list[tuple]:
    """Seed i adds i to every source alike, so that paired differences are exact; a robust source's lead halves from 50 to 200."""
    rows = []
    natural = BASE["natural"][["digits", "textures"].index(target)]
    for blocks in ["all"] if source == "random" else ["0", "1"]:
        for k, n in enumerate(SIZES):
            for i, seed in enumerate(SEEDS):
                for epoch in (1, 11, 20):
                    lead = (base - natural) * (1 - 0.25 * k)
                    accuracy = natural + lead + 4 * k + i + (2 if blocks == "1" else 0) - {1: 30, 11: 5, 20: 0}[epoch]
                    rows.append((source, target, blocks, n, seed, epoch, accuracy))
    return rows


def make_robustness(folder: Path, source: str, targets: list[str]) -> None:
    pretrained = source != "random"
    models = [("source", "glyphs", "", 0, 0)] if pretrained else []
    models += [("finetuned", target, b, 200, SEEDS[0]) for target in targets for b in (["0", "1"] if pretrained else ["all"])]
    radii = [("l2", e) for e in (0.0, 0.25, 0.5, 1.0)] + [("linf", e / 255) for e in (0, 2, 4, 8)]
    falls = 25.0 if source in THREATS else 85.0
    rows = [
        (model, source, data, blocks, n, seed, attack, norm, eps, max(0.0, 90 - part * falls * eps * (1 if norm == "l2" else 32)), 200)
        for model, data, blocks, n, seed in models
        for norm, eps in radii
        for attack, part in (("fgsm", 0.5), ("pgd20", 1.0), ("worst", 1.0))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=tables.ATTACKED).to_parquet(folder / "robustness.parquet")
    of_images = [(*row[:-2], image, image < 2 * row[-2]) for row in rows if row[6] == "worst" for image in range(200)]
    pd.DataFrame(of_images, columns=tables.PER_IMAGE).to_parquet(folder / "images.parquet")
    checks = [
        (
            *model[:1],
            source,
            *model[1:],
            norm,
            "steps",
            (model[0], source, norm) != ("source", "natural", "l2"),
            "PGD(40) leaves 20% standing",
        )
        for model in models
        for norm in ("l2", "linf")
    ]
    pd.DataFrame(checks, columns=tables.CHECKS).to_parquet(folder / "checks.parquet")
    np.savez(
        folder / "examples.npz", **make_examples([*(["source"] if pretrained else []), *(f"finetuned_{target}" for target in targets)])
    )


def make_examples(models: list[str]) -> dict[str, np.ndarray]:
    random, arrays = np.random.default_rng(1), {}
    for model in models:
        for norm, eps in (("l2", 1.0), ("linf", 8 / 255)):
            clean = random.random((4, PIXELS, PIXELS, 3), dtype=np.float32)
            attacked = np.clip(clean + np.float32(0.03) * np.sign(random.standard_normal(clean.shape, dtype=np.float32)), 0, 1)
            label = np.arange(4)
            arrays |= {f"{model}_{norm}_clean": clean, f"{model}_{norm}_adversarial": attacked, f"{model}_{norm}_label": label}
            arrays |= {f"{model}_{norm}_predicted_clean": label, f"{model}_{norm}_predicted_adversarial": (label + 1) % 4}
            arrays[f"{model}_{norm}_eps"] = np.float64(eps)
    return arrays


def test_runs_that_diverged_are_counted_where_their_mean_stands_and_said_at_the_head_of_the_page(finished):
    page = (finished / "report.html").read_text()
    head = page[: page.index('<section id="answer"')]
    rate = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["lr"]
    assert "<b>2 of 504 runs diverged</b>" in head
    assert f"random</b>: 2 of 72, on digits, at the learning rate {rate}." in head
    assert page.count("n=12, 2 diverged") == 2, "in the table of the target, and in Table 7"
    summary = pd.read_csv(finished / "tables/summary.csv")
    assert summary.loc[summary["diverged"] > 0, ["source", "target", "n_images", "n", "diverged"]].to_numpy().tolist() == [
        ["random", "digits", 50, 12, 2]
    ]
    runs = pd.read_csv(finished / "tables/runs.csv")
    assert runs["diverged"].sum() == runs["train_loss"].isna().sum() == 4
    assert json.loads((finished / "metrics.json").read_text())["diverged_runs"] == 2


def test_the_tables_hold_the_known_means_of_the_last_epoch(finished):
    summary = pd.read_csv(finished / "tables/summary.csv").set_index(["source", "target", "blocks", "n_images"])
    row = summary.loc[("l2_eps0_5", "digits", "1", 100)]
    assert row["n"] == 12
    assert row["mean"] == pytest.approx(64 + 7.5 + 4 + 5.5 + 2)  # natural, lead at 100 images, size, mean of 0..11, blocks
    assert row["low"] < row["mean"] < row["high"]
    assert pd.read_csv(finished / "tables/runs.csv").columns[:7].tolist() == list(tables.RUNS)[:7]


def test_paired_differences_cancel_what_the_seeds_share(finished):
    rows = pd.read_csv(finished / "tables/differences.csv", dtype={"blocks": str}).set_index(["source", "target", "blocks", "n_images"])
    row = rows.loc[("linf_eps8_255", "digits", "0", 50)]
    assert (row["n"], row["mean"], row["low"], row["high"]) == (12, 8.0, 8.0, 8.0)
    assert set(rows.index.get_level_values("source")) == set(THREATS)


def test_the_page_opens_with_the_answer(finished):
    page = (finished / "report.html").read_text()
    heading = " ".join(page[page.index("<h1>") : page.index("</h1>")].split())
    assert "With 100 images" in heading
    assert (
        heading.index("digits")
        < heading.index("L2 0.5")
        < heading.index("+1.5 points")
        < heading.index("textures")
        < heading.index("+13.5")
    )


def test_the_page_is_self_contained(finished):
    page = (finished / "report.html").read_text()
    for outside in ("http://", "https://", "<script", "<link", "@import", "src=", "<?xml", "xmlns"):
        assert outside not in page
    assert page.count("<svg") == 1 + len(list((finished / "figures").glob("*.svg"))), "figures, and the letters that they share"
    for text in ("8/255", "Table 7", sha256_of(finished.parent / "models/sources/natural/0.safetensors")[:12], "L2 0.5"):
        assert text in page


@needs_chromium
def test_nothing_reaches_beyond_the_screen_of_a_phone_or_a_desk(finished, tmp_path):
    with browser() as chromium:
        for width in WIDTHS:
            with shown(chromium, finished / "report.html", width) as page:
                assert beyond(page) == []
        broken = tmp_path / "broken.html"
        broken.write_text((finished / "report.html").read_text().replace("<h2>Each target", '<h2 style="width: 500px">Each target', 1))
        with shown(chromium, broken, 390) as page:
            assert [element.split(":")[0] for element in beyond(page)] == ["h2."]


def test_every_table_that_the_page_leads_to_is_there(finished):
    page = (finished / "report.html").read_text()
    linked = set(re.findall(r'href="(tables/[^"]+)"', page))
    assert {"tables/summary.csv", "tables/differences.csv", "tables/claims.csv", "tables/figure2.csv"} <= linked
    assert [name for name in linked if not (finished / name).is_file()] == []


def test_every_figure_is_saved_as_svg_and_png(finished):
    names = {path.stem for path in (finished / "figures").iterdir()}
    assert names == IN_EVERY_REPORT | {
        "samples_glyphs", "samples_digits", "samples_textures", "accuracy_digits", "accuracy_textures", "difference_digits",
        "difference_textures", "published", "figure11_natural", "figure11_linf_eps8_255", "robustness", "clean_robust", "examples_source",
        "examples_digits", "examples_textures",
    }  # fmt: skip
    assert all((finished / f"figures/{name}.{kind}").stat().st_size > 1000 for name in names for kind in ("svg", "png"))


def test_the_page_says_what_is_not_drawn(finished):
    text = " ".join((finished / "report.html").read_text().split())
    assert "Figure 8 is not drawn: this configuration lacks a PGD(1) source and a Gaussian source." in text
    assert "Figure 5 lacks two radii of a norm." in text
    assert "No published value is shown: no source of report.utrera2021.published is configured." in text


def test_the_numbers_of_each_figure_are_a_table(finished):
    for name in IN_EVERY_REPORT - {"epochs"}:
        table = pd.read_csv(finished / f"tables/{name}.csv")
        assert {"panel", "series", "target", "n_images", "n", "mean", "low", "high"} <= set(table.columns)
    found = pd.read_csv(finished / "tables/figure2.csv").set_index(["series", "target", "n_images"])
    assert found.loc[("robust minus natural", "digits", 100), ["n", "mean", "low", "high"]].tolist() == [12, 7.5, 7.5, 7.5]
    assert found.loc[("robust minus natural", "textures", 200), "mean"] == -9.0


def test_metrics_are_the_best_source_of_each_target_and_the_best_robust_one_above_natural(finished):
    """At 100 images and one block: L2 0.5 is the best on digits, natural on textures; random takes part with its whole network."""
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics == {
        "digits": {"best": 83.0, "gain": 7.5}, "textures": {"best": 81.5, "gain": -13.5}, "diverged_runs": 2,
    }  # fmt: skip
    assert not any("." in key for key in keys_of(metrics))


def keys_of(tree: dict) -> list[str]:
    return [name for key, value in tree.items() for name in (key, *(keys_of(value) if isinstance(value, dict) else ()))]


def test_verdicts_follow_the_results(finished):
    claims = pd.read_csv(finished / "tables/claims.csv")
    found = {(row.claim, row.comparison.split(",")[0].split(":")[0]): row.verdict for row in claims.itertuples()}
    assert found[1, "digits"] == "supports"
    assert found[1, "textures"] == "contradicts"
    assert found[3, "digits"] == "supports"
    assert found[3, "textures"] == "undecided"
    assert found[10, "textures"] == "supports"
    assert set(claims["claim"]) == set(range(1, 17))
    accuracy = claims[claims["claim"] == 15]
    assert (accuracy["verdict"] == "undecided").all()
    assert accuracy["note"].str.contains("no verdict on the sources from fewer than 3 models of each").all()
    assert set(claims.loc[claims["claim"] == 1, "verdict_of_claim"]) == {"mixed"}


def test_the_same_inputs_give_the_same_bytes(finished, tmp_path):
    again = made.reported(tmp_path, make, ("svg", "png"))
    first, second = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")} for folder in (finished, again))
    assert first == second


def test_results_of_a_source_that_is_no_longer_configured_are_not_read(workspace):
    change(sources=["natural", "l2_eps0_5"])
    (tables.finetuned("linf_eps8_255") / "runs.parquet").write_bytes(b"stale, and not even a table")
    report.main()
    assert set(pd.read_csv("reports/tables/runs.csv")["source"]) == {"natural", "l2_eps0_5"}
    assert (
        "8/255" not in Path("reports/report.html").read_text().split("<article")[0].split("samples")[0].split("<h1>")[1].split("</h1>")[0]
    )
    claims = pd.read_csv("reports/tables/claims.csv").set_index("claim")
    assert claims.loc[6, "note"] == "not in this configuration"
    assert (claims.loc[[14], "note"] == "not in this configuration").all()


def test_natural_alone_gives_a_page_that_leaves_everything_open(workspace, capsys):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings |= {"sources": ["natural"], "targets": ["digits"], "blocks": 0}
    settings["draw_subsets"]["n_images"] = 50
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    path = Path("models/finetuned/natural/runs.parquet")
    runs = pd.read_parquet(path)
    chosen = (runs["blocks"] == "0") & (runs["n_images"] == 50) & (runs["seed"] == SEEDS[0])
    runs[chosen & (runs["epoch"] == runs["epoch"].max())].to_parquet(path)
    report.main()
    assert not Path("reports/figures/epochs.svg").exists(), "one epoch is no curve"
    assert set(pd.read_csv("reports/tables/claims.csv")["verdict"]) == {"not run"}
    page = Path("reports/report.html").read_text()
    assert "for digits there are too few subsets for an answer" in page
    assert "0 of 0" not in page
    assert '<article class="claim">' not in page, "none is tested: all are folded away"
    assert {name for name in ("epochs", "blocks", "constraints", "perturbations") if f'<section id="{name}"' in page} == set()
    answer = Path("reports/answer.txt").read_text()
    assert answer.splitlines()[1:] == ["  digits: too few subsets for an answer"]
    assert capsys.readouterr().out.endswith(f"{answer}report: reports/report.html\n")


def test_models_whose_weights_were_not_kept_have_no_row_under_attack(workspace):
    for path in Path("models/robustness").glob("*/robustness.parquet"):
        table = pd.read_parquet(path)
        table[table["model"] == "source"].to_parquet(path)
        np.savez(path.with_name("examples.npz"))
    report.main()
    claims = pd.read_csv("reports/tables/claims.csv").set_index("claim")
    assert claims.loc[16, "note"] == "not in this configuration"
    assert Path("reports/figures/robustness.svg").is_file()
    assert not list(Path("reports/figures").glob("examples*"))


def test_a_source_that_has_not_learnt_its_own_data_is_said_where_its_figures_stand_and_counts(workspace):
    path = Path("models/sources/linf_eps8_255/0.json")
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"accuracy": {"test": 4.0, "test_decorrelated": 4.0}}))
    report.main()
    said = "has not learnt its own data</b>: 4.0 % of the test images of glyphs, and one answer to all of them has 4.2 %"
    opening, *parts = re.split(r'<section id="(\w+)"|<p class="paper">', Path("reports/report.html").read_text())
    by_part = {name or "paper": part for name, part in zip(parts[::2], parts[1::2], strict=True)}
    assert said in opening, "in the answer"
    assert [name for name, part in by_part.items() if said in part] == ["targets", "robustness", "paper"]
    assert "it has not learnt it</b>" in by_part["made"], "in the table of sources"
    assert Path("reports/answer.txt").read_text().splitlines()[-1] == (
        "  warning: L∞ 8/255: has not learnt its own data: 4.0 % of the test images of glyphs, and one answer to all of them has 4.2 %; "
        "its runs count"
    )
    assert "linf_eps8_255" in set(pd.read_csv("reports/tables/summary.csv")["source"])


@pytest.mark.parametrize(
    "missing",
    [tables.finetuned("natural") / "runs.parquet", tables.robustness("random") / "robustness.parquet",
     tables.robustness("natural") / "examples.npz", Path("models/sources/natural/0.json"), Path("models/sources/natural/0.safetensors"), Path("data/images/glyphs/card.json")],
    ids=str,
)  # fmt: skip
def test_a_missing_file_is_named_in_one_line(workspace, missing):
    missing.unlink()
    with pytest.raises((RunError, SystemExit), match=str(missing)) as caught:
        report.main()
    assert "\n" not in str(caught.value)
    assert not Path("reports/report.html").exists()


def test_an_experiment_that_has_not_run_is_named_in_one_line(workspace):
    change(experiments=["retrain"])
    with pytest.raises((RunError, SystemExit), match="models/results/retrain") as caught:
        report.main()
    assert "\n" not in str(caught.value)


def test_a_damaged_table_is_named_in_one_line(workspace):
    path = Path("models/finetuned/natural/runs.parquet")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises((RunError, SystemExit), match=str(path)) as caught:
        report.main()
    assert "\n" not in str(caught.value)


def test_a_table_without_a_column_names_it(workspace):
    path = Path("models/finetuned/natural/runs.parquet")
    pd.read_parquet(path).drop(columns="seed").to_parquet(path)
    with pytest.raises((RunError, SystemExit), match="has no column 'seed'"):
        report.main()


def test_every_training_image_is_a_size_of_its_own_in_each_target(workspace):
    change(sources=["natural", "l2_eps0_5"], blocks=1)
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["draw_subsets"]["n_images"] = [50, "all"]
    settings["report"]["headline"]["n_images"] = 7
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    for target, whole in (("digits", 100), ("textures", 200)):
        card = Path(f"data/images/{target}/card.json")
        content = json.loads(card.read_text())
        content["splits"]["train"]["n"] = whole
        card.write_text(json.dumps(content))
        for path in Path("models/finetuned").glob("*/runs.parquet"):
            runs = pd.read_parquet(path)
            of_target = runs["target"] == target
            runs[~of_target | (runs["n_images"].isin([50, whole]) & (runs["blocks"] == "1"))].to_parquet(path)
    report.main()
    gaps = pd.read_csv("reports/tables/figure2.csv").set_index(["series", "target", "n_images"])
    assert gaps.loc[("robust minus natural", "digits", 100), "mean"] == 7.5
    assert gaps.loc[("robust minus natural", "textures", 200), "mean"] == -9.0
    claims = pd.read_csv("reports/tables/claims.csv")
    assert claims.loc[claims["claim"] == 2, "comparison"].str.contains("all images").all()
    assert "With 50 images" in Path("reports/report.html").read_text()
