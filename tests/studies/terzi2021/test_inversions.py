"""Inversions of Terzi et al. (2021) in the report: which sources count, what their differences are, and what the page shows of them."""

from collections.abc import Callable
from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest
from jinja2 import FileSystemLoader

from stages.lib.report import evidence, figures, looks
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.section import Section
from stages.lib.report.web import page
from stages.lib.store.tables import CORRECT
from stages.studies.terzi2021.inversions import claims, part

CARD = {"architecture": "small_resnet", "dataset": "letters", "part": None}
EPS = {"nat": 0.0, "weak": 0.25, "strong": 0.75}
LOOKS = looks.looks_of([(name, f"L2 {eps:g}" if eps else "natural", "l2" if eps else "natural", eps) for name, eps in EPS.items()])
N = 6
WAYS = (("plain", 0.0), ("variational", 1e-6), ("effective", 1e-6))
MODELS = (0.0, 3.0, -2.0, 1.0)  # by how much the inversions of a model are worse than those of others
BY_MODEL = 1 + 0.01 * np.arange(4)  # differences between sources vary by model


def card(eps: float, **more: object) -> dict:
    return made.short_card({"norm": "l2", "eps": eps, "perturbation": "PGD(2)"} if eps else None, test=90.0) | CARD | more


def inversions(
    gain: float, noise: float = 0.0, models: int = 4, ways: tuple = WAYS, eps: dict[str, float] | None = None
) -> ExperimentResults:  # fmt: skip
    """Distances that are `gain` percent less for each 0.25 of eps, and `noise` percent less with noise that is drawn once."""
    arrays: dict[str, np.ndarray] = {}
    for source, radius in (EPS if eps is None else eps).items():
        for (method, setting), seed in ((way, seed) for way in ways for seed in range(models)):
            start = f"{source}/letters/{method}/{setting:g}/{seed}/"
            less = BY_MODEL[seed] * (gain * radius / 0.25 + (noise if method == "variational" else 0.0))
            level = (60 + np.linspace(-3, 3, N) + MODELS[seed] - less).astype(np.float32)
            arrays |= {start + name: level for name in ("pixel", "outline", "feature")}
            arrays |= {start + name: np.full(N, 75, np.float32) for name in ("start", "blank", "other", "start_outline", "other_outline")}
            arrays[f"{start}{CORRECT}recognised_nat"] = np.arange(N) < (2 + 4 * radius)
            arrays |= {f"{start}curve_{name}": np.array(values) for name, values in (
                ("step", [0, 1, 8]), ("pixel", [75, 70, 60]), ("feature", [90, 40, 5]))}  # fmt: skip
            if seed == 0:
                arrays |= {start + name: np.full((2, 8, 8, 3), 9, np.uint8) for name in ("original", "inversion")}
                arrays[start + "place"] = np.array([4, 1])
    runs = pd.DataFrame({"source": list(EPS if eps is None else eps)})
    return ExperimentResults({}, runs, arrays, pd.DataFrame())


@pytest.fixture
def part_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Section | None]:
    def of(ran: ExperimentResults, cards: dict | None = None, models: int = 4) -> Section | None:
        monkeypatch.setattr("stages.lib.report.inversions.drawings.count", lambda source: models)
        known = {name: card(eps) for name, eps in EPS.items()} if cards is None else cards
        return part.part(made.results(lambda *_: 0.0), {}, {"invert": ran}, known, LOOKS)

    return of


def by_statement(section: Section) -> dict[str, evidence.Claim]:
    return dict(zip(("better", "faster", "improves"), section.claims, strict=True))


def test_the_mean_over_the_radii_is_compared_with_the_natural_source_image_by_image(part_of):
    found = by_statement(part_of(inversions(4.0)))["better"].evidence
    assert [e.comparison for e in found] == [
        "letters, outlines: natural minus robust", "letters, pixels: natural minus robust",
        "letters, recognised by another natural: robust minus natural",
    ]  # fmt: skip
    assert found[0].mean == pytest.approx(4.0 * (1 + 3) / 2 * BY_MODEL.mean())  # 0.25 is one quarter, 0.75 are three
    assert found[2].mean == pytest.approx(100 * ((3 + 5) / 2 - 2) / N)  # of six images, 2 and 3 and 5 are recognised
    assert found[0].n == 4 * N
    assert "4 source models" in found[0].of


@pytest.mark.parametrize(
    ("gain", "noise", "models", "expected"),
    [(4.0, 5.0, 4, ("supports", "supports", "supports")), (-4.0, -5.0, 4, ("mixed", "contradicts", "contradicts")),
     (4.0, 5.0, 2, ("undecided",) * 3)],
)  # fmt: skip
def test_claims_follow_the_differences(part_of, gain, noise, models, expected):
    section = part_of(inversions(gain, noise, models), models=models)
    assert tuple(claim.verdict for claim in section.claims) == expected


def test_noise_is_compared_at_each_level_for_each_source(part_of):
    of_noise = by_statement(part_of(inversions(4.0, 5.0)))["faster"].evidence
    assert [e.comparison.partition(":")[0] for e in of_noise] == [
        f"{label}, letters, features" for label in ("natural", "L2 0.25", "L2 0.75")
    ]
    assert [e.mean for e in of_noise] == pytest.approx([5.0 * BY_MODEL.mean()] * 3, rel=1e-4)


def test_without_noise_its_claims_were_not_run(part_of):
    section = part_of(inversions(4.0, ways=WAYS[:1]))
    assert [claim.verdict for claim in section.claims] == ["supports", "not run", "not run"]
    assert not any("_ways_" in drawing.name for drawing in section.drawings)


def test_a_source_that_differs_in_more_than_its_radius_does_not_count(part_of):
    grid = {name: card(eps) for name, eps in EPS.items()}
    wide = grid | {"wide": card(0.5, architecture="small_resnet_x2")}
    with_wide = part_of(inversions(4.0, eps=EPS | {"wide": 20.0}), cards=wide)
    assert set(with_wide.tables["terzi_inversions"]["source"]) == set(EPS)
    assert by_statement(with_wide)["better"].evidence == by_statement(part_of(inversions(4.0)))["better"].evidence
    assert part_of(inversions(4.0, eps={"nat": 0.0, "wide": 0.5}), cards={"nat": grid["nat"], "wide": wide["wide"]}) is None
    assert part_of(inversions(4.0, eps={"weak": 0.25, "strong": 0.75})) is None


def test_an_image_that_one_radius_lacks_is_left_out():
    rows = pd.DataFrame([
        {"source": source, "target": "letters", "seed": 0, "image": image, "source_model": 0, "pixel": value}
        for source, image, value in (("weak", 0, 10.0), ("weak", 1, 20.0), ("strong", 0, 30.0))
    ])  # fmt: skip
    assert claims.mean_of(rows, "pixel")[["image", "pixel"]].to_numpy().tolist() == [[0, 20.0]]


def test_every_figure_is_drawn_and_stands_on_the_page(part_of):
    section = part_of(inversions(4.0))
    drawn = {drawing.name: figures.encode(drawing.draw(*drawing.arguments), "svg").decode() for drawing in section.drawings}
    assert list(drawn) == [
        "terzi_ways_letters_nat", "terzi_ways_letters_strong", "terzi_inversion_steps_letters", "terzi_inversions_letters",
        "terzi_inversion_eps_letters",
    ]  # fmt: skip
    assert drawn["terzi_ways_letters_strong"].count("<image ") == (1 + len(WAYS)) * 2
    assert drawn["terzi_inversions_letters"].count("<image ") == (1 + len(EPS)) * 2
    assert "without noise, eps 0.75: 48.3" in drawn["terzi_inversion_eps_letters"]
    assert "an image of grey, eps 0.25: 75.0" in drawn["terzi_inversion_eps_letters"]
    table = section.tables["terzi_inversions"]
    assert dict(zip(table["source"], table["eps"], strict=True)) == EPS
    environment = page.environment_of(made.results(lambda *_: 0.0), LOOKS, {}, {})
    environment.globals["figures"] = dict.fromkeys(drawn, "(drawn)")
    macros = environment.from_string(Path(page.MACROS).read_text(), globals=environment.globals).module
    beside = environment.overlay(loader=FileSystemLoader(section.template.parent))
    text = beside.from_string(section.template.read_text()).render(section.context, macros=macros)
    assert text.count("(drawn)") == len(drawn)
    assert "Algorithm 2" in text
