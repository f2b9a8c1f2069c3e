"""The part of the report on shape and texture: Tables 1 and 2 of Utrera et al. (2021), cue-conflict images, and the texture dial."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.lib.norms.table import norm_of
from stages.lib.report.cards import family_of, threat_of
from stages.lib.report.looks import Look, looks_of
from stages.lib.report.reading import ExperimentResults
from stages.lib.report.results import row_at
from stages.lib.report.section import Drawing, Section
from stages.studies.utrera2021.results import UtreraResults
from stages.studies.utrera2021.shape import claims, figures, published
from stages.studies.utrera2021.shape import numbers as shape
from stages.studies.utrera2021.shape.measures import ACCURACY, BIAS, SHAPE, TEXTURE
from stages.studies.utrera2021.shape.numbers import ShapeNumbers
from stages.studies.utrera2021.shape.published import PublishedTexture
from stages.studies.utrera2021.shape.runs import TEXTURE_ATTACK

TEMPLATE = Path(__file__).with_name("section.html.j2")
TITLE = "Shape and texture"


def part(results: UtreraResults, experiments: dict[str, ExperimentResults], cards: dict[str, Any], looks: dict[str, Look]) -> Section:
    """Tables, the figure of the dial and claims, where an experiment is on or targets without detail are compared.

    Args:
        experiments: what was computed, by name.
        cards: of the sources of the experiments.
        looks: of all sources.
    """
    paper = published.load()
    found = shape.load(results, experiments, cards)
    rows = {"bias": list(_bias(found, paper)), "attack": list(_attack(found, paper)), "degraded": list(_degraded(results, found, paper))}
    tables = {f"utrera_{name}": pd.DataFrame(of) for name, of in
              (("table1a", rows["bias"]), ("table1b", rows["attack"]), ("table2", rows["degraded"])) if of}  # fmt: skip
    values, advantages, of_radii = _by_radius(found, found.dial), _by_radius(found, found.advantage), _looks(found)
    drawings = [Drawing("utrera_dial", figures.dial, (values, advantages, of_radii))] if len(values) else []
    dial = {"utrera_dial": pd.concat([values.assign(of="sources"), advantages.assign(of="robust minus natural")])} if len(values) else {}
    return Section(
        title=TITLE,
        template=TEMPLATE,
        anchors={} if found.is_empty else {"shape": TITLE},
        context={"shape": found, "shape_rows": {name: _plain(of) for name, of in rows.items()}, "state_text": claims.state_text},
        tables=tables | dial,
        drawings=drawings,
        claims=claims.claims_of(results, found, paper),
    )


def _bias(numbers: ShapeNumbers, paper: PublishedTexture) -> Iterator[dict[str, Any]]:
    """A row for each source and state: accuracy on stylised images, shape and texture accuracy, shape bias; and what was published."""
    for method, setting, source in dict.fromkeys(numbers.bias[["method", "setting", "source"]].itertuples(index=False, name=None)):
        of = {m: row_at(numbers.bias, method=method, setting=setting, source=source, measure=m) for m in (ACCURACY, SHAPE, TEXTURE, BIAS)}
        card = numbers.cards[source]
        counted = row_at(numbers.bias_runs, source=source, measure=SHAPE)["n_test"]
        theirs = paper.geirhos(card, method, numbers, int(counted)) or {}
        stylised = paper.table1a(card, method, setting, numbers) if of[ACCURACY] is not None else None
        yield {"state": claims.state_text(method, setting), "source": source} | _cells(of) | {
            f"published_{m}": value for m, value in {ACCURACY: stylised, SHAPE: None, TEXTURE: None, BIAS: None}.items() | theirs.items()
        }  # fmt: skip


def _attack(numbers: ShapeNumbers, paper: PublishedTexture) -> Iterator[dict[str, Any]]:
    """A row for each source: accuracy at each radius, and what was published of it."""
    settings = numbers.settings.get(TEXTURE_ATTACK, {})
    for kind in ("rich", "poor", "both"):
        for row in numbers.attack[numbers.attack["source"] == settings.get(kind)].to_dict("records"):
            beside = paper.table1b(numbers.cards[row["source"]], row["eps"], numbers)
            yield {"learnt": kind, "source": row["source"], "eps": row["eps"], **_interval(row), "published": beside}


def _degraded(results: UtreraResults, numbers: ShapeNumbers, paper: PublishedTexture) -> Iterator[dict[str, Any]]:
    """A row for each target, version and source."""
    for row in numbers.degraded.to_dict("records"):
        beside = paper.table2(numbers.cards[row["source"]], row["target"], row["version"], results.blocks)
        yield {"target": row["target"], "version": row["version"], "source": row["source"], **_interval(row), "published": beside}


def _cells(of: dict[str, pd.Series | None]) -> dict[str, Any]:
    """The mean and interval of each measure, as `<measure>_mean` and so on; None where it was not measured."""
    return {
        f"{measure}_{name}": None if row is None else value
        for measure, row in of.items()
        for name, value in (_interval(row) if row is not None else dict.fromkeys(("n", "mean", "low", "high"))).items()
    }


def _interval(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in ("n", "mean", "low", "high")}


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows for the page: what is no number is None."""
    return [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()} for row in rows]


def _by_radius(numbers: ShapeNumbers, table: pd.DataFrame) -> pd.DataFrame:
    """A table of sources with the radius of each, as its line is called."""
    return table.assign(radius=[_radius(numbers, source) for source in table["source"]])


def _radius(numbers: ShapeNumbers, source: str) -> str:
    threat = threat_of(numbers.cards[source])
    return f"{norm_of(threat['norm']).label} {numbers.eps(source):g}" if threat else "natural"


def _looks(numbers: ShapeNumbers) -> dict[str, Look]:
    """A look for each radius on the dial, as sources of that radius have."""
    radii = {_radius(numbers, source): source for source in numbers.dial["source"]}
    known = [(radius, radius, family_of(numbers.cards[source]), numbers.eps(source)) for radius, source in radii.items()]
    return looks_of(sorted(known, key=lambda each: each[3]))
