"""The report's page: one self-contained HTML file, figures inlined as SVG that takes the page's colours, light or dark."""

import json
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from stages.lib.report import evidence, figures
from stages.lib.report.cards import threat_text
from stages.lib.report.looks import Look
from stages.lib.report.results import Results
from stages.lib.report.section import Section
from stages.lib.report.web import forest, svg
from stages.lib.report.wording import block_text, counted, eps_text, images, number, signed

FRAME = Path(__file__).with_name("page.html.j2")
MACROS = Path(__file__).with_name("macros.html.j2")
STYLE = Path(__file__).with_name("style.css")
COLOURS = {figures.INK: "var(--ink)", figures.MUTED: "var(--muted)", figures.GRID: "var(--grid)", figures.PAPER: "var(--panel)"}
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "seaborn", "scikit-learn")


def render(results: Results, sections: list[Section], *, looks: dict[str, Look], svgs: dict[str, str], settings: dict[str, Any]) -> str:
    """The page as text.

    Args:
        sections: of the studies, in the order of the page.
        looks: of the sources, whose colours their names have.
        svgs: every figure by name.
        settings: the sections of params.yaml by name.
    """
    claims = [claim for section in sections for claim in section.claims]
    environment = environment_of(results, looks, svgs, settings)
    environment.globals["counts"] = evidence.verdicts(claims)
    macros = environment.from_string(MACROS.read_text(), globals=environment.globals).module
    filled = {section.title: _filled(environment, section.template, section, macros) for section in sections}
    openings = [_filled(environment, section.opening, section, macros) for section in sections if section.opening]
    numbered = iter(enumerate(claims, 1))
    by_study = {section.title: [next(numbered) for _ in section.claims] for section in sections if section.claims}
    return environment.from_string(FRAME.read_text()).render(
        style=Markup(STYLE.read_text()), macros=macros, sections=sections, filled=filled, openings=openings, claims=by_study,
        threats={name: threat_text(card) for name, card in results.cards.items()}, parameters=as_yaml(settings), versions=versions(),
        false_verdicts=evidence.false_verdicts(claims),
        cells=results.runs["cell"].nunique(),
    )  # fmt: skip


def environment_of(results: Results, looks: dict[str, Look], svgs: dict[str, str], settings: dict[str, Any]) -> Environment:
    """The environment of all templates, with the filters and the values that each of them may use."""
    shown, letters = svg.inlined(svgs, COLOURS)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "signed": signed, "images": images, "block_text": block_text, "known": pd.notna, "number": number, "counted": counted,
        "ticks": forest.ticks, "place": forest.place,
    }  # fmt: skip
    environment.globals |= {
        "eps_text": eps_text, "results": results, "conditional": conditional(results), "settings": settings, "cards": results.cards,
        "labels": {name: look.label for name, look in looks.items()},
        "colours": {name: COLOURS.get(look.colour, look.colour) for name, look in looks.items()},
        "figures": shown, "letters": letters,
    }  # fmt: skip
    return environment


def _filled(environment: Environment, template: Path, section: Section, macros: Any) -> Markup:
    beside = environment.overlay(loader=FileSystemLoader(template.parent))  # so that it may include templates of its folder
    return Markup(beside.from_string(template.read_text()).render(section.context, macros=macros))


def as_yaml(settings: dict[str, Any]) -> str:
    plain = {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in settings.items()}
    return yaml.safe_dump(json.loads(json.dumps(plain)), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


def conditional(results: Results) -> str:
    """What the intervals of comparisons between sources are over."""
    counts = sorted({len(models) for name, models in results.models.items() if name != results.random})
    if counts in ([], [1]):
        return "Each source is one trained model: what holds of another model, trained from another seed, the intervals do not say."
    count = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    return f"A source is {count} models, trained from as many seeds; of three and more, intervals are over models."


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that computed and drew the results; torch is not imported for that."""
    return {"python": python_version()} | {name: metadata.version(name) for name in PACKAGES}
