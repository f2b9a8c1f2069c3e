"""The report's page: one self-contained HTML file, figures inlined as SVG that takes the page's colours, light or dark."""

import json
import re
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from stages.lib.report import figures
from stages.lib.report.figures import Look
from stages.lib.report.study import Answer, Evidence, Study, at, block_text, eps_text, images, signed
from stages.studies.question import under_attack
from stages.studies.shafahi2020.numbers import Transfers
from stages.studies.shafahi2020.tables import Tables
from stages.studies.utrera2021 import table7
from stages.studies.utrera2021.claims import Claim
from stages.studies.utrera2021.numbers import Numbers

TEMPLATE = Path(__file__).with_name("report.html.j2")
COLOURS = {figures.INK: "var(--ink)", figures.MUTED: "var(--muted)", figures.GRID: "var(--grid)", figures.PAPER: "var(--panel)"}
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "seaborn", "scikit-learn")


def render(
    study: Study, transfers: Transfers, *, looks: dict[str, Look], answers: list[Answer], claims: list[Claim], svgs: dict[str, str],
    paper: dict[str, Numbers], tables: dict[str, pd.DataFrame], shafahi: Tables, settings: dict[str, Any],
) -> str:  # fmt: skip
    """The page as text.

    Args:
        looks: of the sources, whose colours their names have.
        svgs: every figure by name; paper: the numbers of those of the paper, drawn or not.
        shafahi: the tables of Shafahi et al., ours beside theirs.
        tables: summary (source, target, blocks, n_images, n, mean, low, high) and table7.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"signed": signed, "images": images, "block_text": block_text, "known": pd.notna, "groupby_paper": by_paper}
    environment.globals["eps_text"] = eps_text
    colours = {name: look.colour for name, look in looks.items()}
    return environment.get_template(TEMPLATE.name).render(
        study=study, answers=answers, claims=claims, colours=colours, counts=verdicts(claims), verdicts=verdicts, wins=wins(study, answers),
        figures={name: inline(svg, name) for name, svg in svgs.items()}, paper=paper, numbers=numbers(study, tables["summary"]),
        table7=table7.rows_of(tables["table7"]), order=table7.order_of(study), agreement=table7.agreement(tables["table7"]),
        attacks=under_attack.by_attack(study), doubts=under_attack.doubts(study), checked=len(study.checks),
        transfers=transfers, shafahi=shafahi,
        threats=threats(study), parameters=as_yaml(settings), settings=settings,
        cards=study.cards, versions=versions(), cells=study.runs["cell"].nunique(),
    )  # fmt: skip


def inline(svg: str, name: str) -> Markup:
    """An SVG file as an element of the page: no header, no ids that repeat, its greys as the page's variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"', "", svg, count=3)
    svg = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"([^>]*?)\s(?:width|height)="[^"]*"', r"\1\2", svg, count=1)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{name.replace("_", " ")}"', 1))


def numbers(study: Study, summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Per target, a row for each blocks and n_images, with the summary's row of each source, and the highest mean."""
    found = []
    for target in study.targets:
        rows = []
        for (blocks, n), group in at(summary, target=target).groupby(["blocks", "n_images"], sort=False):
            cells = {r["source"]: r for r in group.to_dict("records")}
            top = max(cells, key=lambda s: cells[s]["mean"]) if len(cells) > 1 else None
            rows.append({"blocks": blocks, "n_images": n, "cells": cells, "top": top})
        found.append({"target": target, "rows": rows})
    return found


def wins(study: Study, answers: list[Answer]) -> list[Evidence]:
    """What the best robust source has over natural, of the targets that are learned best from one; the least first."""
    found = [a.difference for a in answers if a.best in study.robust and a.difference.mean is not None]
    return sorted(found, key=lambda difference: difference.mean)


def threats(study: Study) -> dict[str, str]:
    """Of each source the ball, and how images were perturbed within it where that is known: `L2 0.5, PGD(3)`."""
    found = {}
    for name in study.cards:
        ball = eps_text(study.norm(name), study.eps(name)) if study.eps(name) else "none"
        found[name] = ", ".join([ball, *filter(None, [study.perturbation(name)])])
    return found


def by_paper(claims: list[Claim]) -> list[tuple[str, list[Claim]]]:
    """The claims below the name of their paper."""
    theirs = [c for c in claims if c.place.startswith("Shafahi")]
    ours = [c for c in claims if c not in theirs]
    return [(name, found) for name, found in (("Utrera et al. (ICLR 2021)", ours), ("Shafahi et al. (ICLR 2020)", theirs)) if found]


def verdicts(claims: list[Claim]) -> dict[str, int]:
    """How many pieces of evidence support, contradict, or leave open."""
    given = [e.verdict for c in claims for e in c.evidence if e.mean is not None]
    return {verdict: given.count(verdict) for verdict in ("supports", "contradicts", "open")}


def as_yaml(settings: dict[str, Any]) -> str:
    plain = {name: value.model_dump() if isinstance(value, BaseModel) else value for name, value in settings.items()}
    return yaml.safe_dump(json.loads(json.dumps(plain)), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


def versions() -> dict[str, str]:
    """Of Python and of what computed and drew the results; torch is not imported for that."""
    return {"python": python_version()} | {name: metadata.version(name) for name in PACKAGES}
