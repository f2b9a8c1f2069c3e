"""Salman et al., "Do Adversarially Robust ImageNet Models Transfer Better?" (NeurIPS 2020): which robustness is best for which target?"""

from pydantic import Field

from stages.lib.settings.catalog import AnySource
from stages.lib.settings.fields import Name, Settings
from stages.lib.settings.params import DATA_CATALOG, MODEL_CATALOG, entry_names, unknown
from stages.lib.settings.sections import Params
from stages.studies.salman2020.detection import runs as detection
from stages.studies.salman2020.detection.settings import DetectSettings
from stages.studies.study import Experiment, Study


class SalmanSettings(Settings):
    """How the paper's figures are made from the configured sources and targets; all of it may be absent."""

    low_resolution: dict[Name, Name] = Field(default_factory=dict)  # of a target: the same images at a low resolution (Figure 7)
    coarser: dict[Name, Name] = Field(default_factory=dict)  # of a fine-grained target: one of coarser classes, with which it is compared
    texture_robust: list[Name] = Field(default_factory=list)  # sources that were trained naturally on stylised images (Figure 8)


def problems(settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """Names that are in no catalog, and what detection cannot run."""
    wanted, datasets = settings.report.salman2020, entry_names(DATA_CATALOG)
    wrong = unknown("report.salman2020.texture_robust", wanted.texture_robust, entry_names(MODEL_CATALOG), MODEL_CATALOG)
    for key in ("low_resolution", "coarser"):
        pairs = getattr(wanted, key)
        wrong += unknown(f"report.salman2020.{key}", [*pairs, *pairs.values()], datasets, DATA_CATALOG)
    return wrong + detection.problems(settings, sources)


SALMAN = Study(
    name="salman2020",
    title="Salman et al. (NeurIPS 2020)",
    report="stages.studies.salman2020.report",
    experiments=(
        Experiment(detection.DETECT, DetectSettings, detection.detect, detection.MODULE, arrays=detection.pictures, cost=detection.COST),
    ),
    settings=SalmanSettings,
    problems=problems,
)
