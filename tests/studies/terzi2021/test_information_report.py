"""What the report says of information: geometric means, differences paired by model, verdicts, figures and the part of the page."""

from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest
from jinja2 import FileSystemLoader

from stages.lib.report import evidence, figures, looks
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import at, row_at
from stages.lib.report.web import page
from stages.studies.terzi2021.information import claims, numbers, report
from stages.studies.terzi2021.information.numbers import Information

EPS = {"nat": 0.0, "weak": 0.5, "strong": 1.0}
LAYERS = ("stem.conv1.weight", "head.weight")
NOISE = np.array([0.0, 0.1, -0.1, 0.2, -0.2])  # of the models, as a logarithm
LOOKS = looks.looks_of([(name, f"L2 {eps:g}" if eps else "natural", "l2" if eps else "natural", eps) for name, eps in EPS.items()])


def card(eps: float, **more: object) -> dict:
    threat = {"norm": "l2", "eps": eps, "perturbation": "PGD(2)"} if eps else None
    return made.short_card(threat, test=90.0) | {"architecture": "small_resnet", "dataset": "letters", "part": None} | more


CARDS = {name: card(eps) for name, eps in EPS.items()}


def rows(models: int = 5, halved: float = 2.0) -> pd.DataFrame:
    """Runs whose Fisher informations are halved `halved` times by each unit of eps; kNN rises by 4 eps on digits, and falls on letters."""
    found = []
    for source, eps in EPS.items():
        for seed, noise in enumerate(NOISE[:models]):
            factor = 0.5 ** (halved * eps) * np.exp(noise)
            own = {"fisher_w": 100 * factor, "log_variance": -7 - np.log(factor), "damped": 0.0, "weight_norm": 27 - eps}
            own |= {f"fisher_w/{layer}": 50 * factor for layer in LAYERS} | {
                f"log_variance/{layer}": -7 - np.log(factor) for layer in LAYERS
            }
            seen = {
                "fisher_z": 60 * factor,
                "fisher_z_relative": 50 * factor,
                "fisher_linear": 40 * factor,
                "fisher_y": 5 * factor,
                "label_above": 0.0,
            }
            for method, target, values in (
                ("weights", "letters", own), ("representation", "letters", seen), ("separation", "letters", {"knn": 95 - eps + noise * eps}),
                ("separation", "digits", {"knn": 70 + 4 * eps + 3 * noise}), ("separation", "textures", {"knn": 80.0 + noise}),
            ):  # fmt: skip
                found += [
                    (source, target, method, 0.0, seed, measure, value, 800 if measure == "knn" else 0, f"{source}{seed}")
                    for measure, value in values.items()
                ]
    return pd.DataFrame(found, columns=["source", "target", "method", "setting", "seed", "measure", "value", "n_test", "cell"])


def norms(epochs: int = 3) -> pd.DataFrame:
    kept = [
        (source, model, epoch, 20.0 + epoch - eps) for source, eps in EPS.items() for model in range(5) for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(kept, columns=["source", "source_model", "epoch", "weight_norm"])


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"{source}/digits/{name}": array for source in EPS
        for name, array in (("map", rng.normal(size=(40, 2)).astype(np.float32)), ("label", np.arange(40) % 10))
    }  # fmt: skip


def information(runs: pd.DataFrame | None = None, cards: dict | None = None, **more: object) -> Information:
    known = {"arrays": arrays(), "norms": norms()} | more
    return numbers.of_runs(rows() if runs is None else runs, CARDS if cards is None else cards, "nat", **known)


def verdicts(found: Information) -> dict[str, str]:
    return {claim.statement: claim.verdict for claim in claims.claims_of(found)}


def test_means_of_what_differs_by_factors_are_geometric():
    table = numbers.summary(information())
    row = row_at(table, source="strong", measure="fisher_w")
    assert row["mean"] == pytest.approx(25.0)
    assert row["mean"] / row["low"] == pytest.approx(row["high"] / row["mean"])
    assert row["low"] < 25.0 * np.exp(-0.1)
    assert (row["n"], row["eps"]) == (5, 1.0)
    assert row_at(table, source="nat", target="digits", measure="knn")["mean"] == pytest.approx(70.0)
    assert not table["measure"].str.contains("/").any()


def test_differences_are_paired_by_model():
    halved = information().differences("strong", "letters", "fisher_w")
    assert halved.tolist() == pytest.approx([-2.0] * 5)
    assert information().differences("strong", "letters", "log_variance").tolist() == pytest.approx([2.0] * 5)
    assert information().differences("weak", "digits", "knn").tolist() == pytest.approx([2.0] * 5)
    assert information(rows(models=3)).differences("weak", "digits", "knn").index.tolist() == [0, 1, 2]


def test_every_claim_is_supported_where_information_falls_and_contradicted_where_it_rises():
    falls, rises = verdicts(information()), verdicts(information(rows(halved=-2.0)))
    assert set(falls.values()) == {evidence.SUPPORTS}
    of_factors = [statement for statement in falls if "Fisher" in statement or "log-variance" in statement]
    assert len(of_factors) == 4
    assert {rises[statement] for statement in of_factors} == {evidence.CONTRADICTS}


def test_intervals_hold_their_mean_where_information_falls_to_a_thousandth():
    for claim in claims.claims_of(information(rows(halved=10.0))):
        assert all(e.low <= e.mean <= e.high for e in claim.evidence)


def test_what_is_the_same_has_no_verdict():
    same = rows(halved=0.0)
    rng = np.random.default_rng(1)
    same["value"] *= np.exp(rng.normal(0, 0.05, len(same)))
    assert evidence.SUPPORTS not in {
        verdicts(information(same))[statement] for statement in verdicts(information()) if "Fisher" in statement
    }


def test_fewer_than_three_models_have_no_verdict():
    assert set(verdicts(information(rows(models=2))).values()) == {evidence.UNDECIDED}


def test_what_was_not_asked_for_was_not_run():
    found = verdicts(information(at(rows(), method="separation")))
    assert [verdict for statement, verdict in found.items() if "Fisher" in statement or "log-variance" in statement] == [
        evidence.NOT_RUN
    ] * 4
    assert evidence.NOT_RUN not in list(found.values())[4:]
    own_alone = at(rows(), target="letters")
    assert list(verdicts(information(own_alone)).values())[4] == evidence.NOT_RUN


def test_a_source_of_another_architecture_norm_or_perturbation_is_off_the_grid():
    others = {
        "wide": card(0.5, architecture="small_resnet_x2"), "linf": card(0.0, threat={"norm": "linf", "eps": 0.03, "perturbation": "PGD(2)"}),
        "noise": card(0.0, threat={"norm": "l2", "eps": 0.5, "perturbation": "Gaussian"}), "half": card(0.5, part={"of": 2, "number": 0, "seed": 0}),
    }  # fmt: skip
    found = information(cards=CARDS | others)
    assert found.grid == EPS
    one_alone = information(cards={"strong": CARDS["strong"], "weak": CARDS["weak"], "nat": CARDS["nat"]} | others)
    assert list(one_alone.grid.items()) == list(EPS.items()), "they rise"


def test_a_network_that_answers_always_the_same_is_no_error():
    still = rows()
    still.loc[(still["source"] == "strong") & (still["measure"] == "fisher_y"), "value"] = 0.0
    found = information(still)
    assert row_at(numbers.summary(found), source="strong", measure="fisher_y") is None
    assert verdicts(found)["Adversarial training lowers the Fisher information of the label"] == evidence.SUPPORTS  # by the other radius
    [*figures_of] = report.figures.drawings_of(found, LOOKS)
    assert "terzi_fisher" in {drawing.name for drawing in figures_of}


def test_layers_stand_in_the_order_of_the_network_and_norms_in_that_of_epochs():
    of_layers = at(numbers.layers(information()), source="nat")
    assert of_layers.sort_values("place")["layer"].tolist() == list(LAYERS)
    of_epochs = at(numbers.norms(information()), source="strong")
    assert of_epochs["mean"].tolist() == [20.0, 21.0, 22.0]


def part_of(found: Information, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(numbers, "load", lambda *_: found)
    ran = ExperimentResults({"representation": {"images": 4}, "neighbours": {"k": 5}}, found.runs, found.arrays, pd.DataFrame())
    return report.part(made.results(lambda *_: 0.0), {}, {"information": ran}, CARDS, LOOKS)


def text_of(section, svgs: dict[str, str]) -> str:
    environment = page.environment_of(made.results(lambda *_: 0.0), LOOKS, {}, {})
    environment.globals["figures"] = svgs
    macros = environment.from_string(Path(page.MACROS).read_text(), globals=environment.globals).module
    beside = environment.overlay(loader=FileSystemLoader(section.template.parent))
    return beside.from_string(section.template.read_text()).render(section.context, macros=macros)


def test_every_figure_draws_and_the_page_shows_it(monkeypatch):
    section = part_of(information(), monkeypatch)
    names = ["terzi_fisher", "terzi_figure4", "terzi_figure5", "terzi_neighbours", "terzi_figure6_digits"]
    assert [drawing.name for drawing in section.drawings] == names
    for drawing in section.drawings:
        svg = figures.encode(drawing.draw(*drawing.arguments), "svg")
        assert b"nan" not in svg
    text = text_of(section, dict.fromkeys(names, "(drawn)"))
    assert text.count("(drawn)") == len(names)
    assert text.count('<td class="left">') == len(EPS)
    assert "25 <small>" in text
    assert "did not keep" not in text
    assert list(section.tables) == ["terzi_information", "terzi_log_variances", "terzi_norms"]


def test_without_norms_of_epochs_the_final_ones_are_shown_and_the_page_says_so(monkeypatch):
    section = part_of(information(norms=norms(0)), monkeypatch)
    [drawing] = [drawing for drawing in section.drawings if drawing.name == "terzi_figure5"]
    assert len([ax for ax in drawing.draw(*drawing.arguments).axes if ax.get_visible()]) == 1
    assert "did not keep the norms of their epochs" in text_of(section, {"terzi_figure5": "(drawn)"})


def test_an_experiment_that_is_off_has_no_part(monkeypatch):
    assert report.part(made.results(lambda *_: 0.0), {}, {}, {}, {}) is None
