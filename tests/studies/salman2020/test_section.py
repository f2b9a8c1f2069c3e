"""The section of the page: every figure draws, published figures have columns where there are any, and without a grid there is none."""

from pathlib import Path

import made
import made_salman

from stages.lib.report import figures, looks
from stages.lib.report.section import Section
from stages.lib.report.web import page
from stages.lib.settings.params import section as section_of_params
from stages.studies import registry
from stages.studies.salman2020 import report
from stages.studies.salman2020.results import SalmanResults
from stages.studies.salman2020.study import SalmanSettings


class Report:
    """The section `report` of params.yaml, as far as this study reads it."""

    def __init__(self, settings: SalmanSettings):
        self.salman2020 = settings


def section_of(results: SalmanResults, settings: SalmanSettings) -> tuple[Section, dict]:
    of = looks.looks_of([(name, results.labels[name], results.family(name), results.eps(name)) for name in results.cards])
    return report.section(results, {"report": Report(settings)}, {}, {}, of), of


def page_of(results: SalmanResults, section: Section, of: dict) -> str:
    environment = page.environment_of(results, of, {}, {})
    macros = environment.from_string(Path(page.MACROS).read_text(), globals=environment.globals).module
    return page._filled(environment, section.template, section, macros)


def test_every_figure_of_the_embedded_study_draws_and_every_table_is_kept():
    styled = made.short_card(None, test=80.0, test_decorrelated=79.0) | {"architecture": "small_resnet_x0_5", "dataset": "letters"}
    settings = SalmanSettings(coarser={"fine": "coarse"}, low_resolution={"fine": "fine_low"}, texture_robust=["styled"])
    results = made_salman.results(
        lambda a, eps, m, t, k: 60 + k + eps, architectures=("small_resnet_x0_5", "small_resnet"), targets=("fine", "fine_low", "coarse"),
        own=lambda a, eps, k: 90 - eps + k, extra={"styled": styled}, settings=settings,
    )  # fmt: skip
    section, of = section_of(results, settings)
    assert {drawing.name for drawing in section.drawings} == {
        "salman_figure2", "salman_figure3", "salman_figure8",
        *(f"salman_figure{which}" for mode in ("fixed", "full") for which in (f"5_{mode}", f"5_{mode}_source", f"6_{mode}", f"7_{mode}")),
    }  # fmt: skip
    for drawing in section.drawings:
        if not drawing.name.startswith(("salman_figure3", "salman_figure5_full", "salman_figure6_full", "salman_figure7_full")):
            figures.encode(drawing.draw(*drawing.arguments), "svg")  # those of the other mode are the same with other numbers
    assert set(section.tables) == set(report.TABLES)
    text = page_of(results, section, of)
    assert text.count("<td>full-network</td>") == 6 + 3 + 3  # best radius of two architectures, Table 1, Table 2
    assert "published: radius" not in text
    assert [claim.verdict for claim in section.claims].count("not run") == 0


def test_published_figures_have_columns_of_their_own():
    results = made_salman.results(
        lambda a, eps, m, t, k: 60 + eps, architectures=("resnet18",), radii=(0.0, 0.5, 1.0, 3.0), targets=("cifar10", "digits"),
        modes=("fixed",), n_models=1, seeds=5, name=lambda a, eps: f"salman_{a}_l2_eps{eps:g}",
    )  # fmt: skip
    section, of = section_of(results, SalmanSettings())
    text = page_of(results, section, of)
    assert "published: radius" in text
    assert "<td>95.53</td><td>81.31</td>" in text  # Table 1, CIFAR-10
    assert {drawing.name for drawing in section.drawings} == {
        "salman_figure2",
        "salman_figure5_fixed",
        "salman_figure5_fixed_source",
        "salman_figure7_fixed",
    }
    [best] = [drawing for drawing in section.drawings if drawing.name == "salman_figure2"]
    assert b"published best run" in figures.encode(best.draw(*best.arguments), "svg")


def test_a_source_that_has_not_learnt_its_own_data_is_said_above_the_figures():
    pages = []
    for weakest in (90.0, 4.0):
        results = made_salman.results(
            lambda a, eps, m, t, k: 60 + eps, targets=("fine",), own=lambda a, eps, k, weakest=weakest: 90.0 if eps < 1 or k else weakest
        )
        pages.append(page_of(results, *section_of(results, SalmanSettings())))
    assert "has not learnt" not in pages[0]
    assert "model 1 of 4, <b>has not learnt its own data</b>: 4.0 % of the test images" in pages[1]


def test_without_a_grid_of_radii_there_is_no_section_no_claim_and_no_table():
    results = made_salman.results(lambda *_: 60.0, radii=(0.0, 0.5))
    section, of = section_of(results, SalmanSettings())
    assert (section.claims, section.tables, section.drawings, section.anchors) == ([], {}, [], {})
    assert page_of(results, section, of).strip() == ""


def test_settings_may_be_absent(workspace):
    assert registry.section("report").salman2020 == SalmanSettings()
    assert section_of_params("targets")
