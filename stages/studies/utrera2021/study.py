"""Utrera et al., "Adversarially-Trained Deep Nets Transfer Better" (ICLR 2021): what transfers better, when, and to which targets?"""

from typing import Literal

from pydantic import Field

from stages.lib.settings.catalog import AnySource
from stages.lib.settings.fields import Count, Name, OneOrMore, Settings
from stages.lib.settings.params import DATA_CATALOG, MODEL_CATALOG, entry_names, unknown
from stages.lib.settings.sections import Params
from stages.studies.study import Study
from stages.studies.utrera2021.features import runs as features
from stages.studies.utrera2021.influence import runs as influence
from stages.studies.utrera2021.shape import runs as shape
from stages.studies.utrera2021.shape.settings import Degraded


class UtreraSettings(Settings):
    """How the paper's figures are made from the configured sources and targets."""

    robust: Name  # the source that stands for adversarial training
    epochs_at: OneOrMore[Count]  # numbers of images of the figures by epoch
    similar: list[Name]  # targets that resemble the source data
    published: dict[Literal["natural", "l2_eps3", "linf_eps4_255", "linf_eps8_255", "random_init"], Name]  # source by column of Table 7
    degraded: dict[Name, Degraded] = Field(default_factory=dict)  # of a target: the same images with less detail (Table 2)


def problems(settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """Names that are in no catalog."""
    wanted = settings.report.utrera2021
    wrong = unknown("report.utrera2021.robust", [wanted.robust], entry_names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += unknown("report.utrera2021.published", list(wanted.published.values()), entry_names(MODEL_CATALOG), MODEL_CATALOG)
    wrong += unknown("report.utrera2021.similar", wanted.similar, entry_names(DATA_CATALOG), DATA_CATALOG)
    return wrong + shape.problems(settings, sources) + influence.problems(settings, sources) + features.problems(settings, sources)


UTRERA = Study(
    name="utrera2021",
    title="Utrera et al. (ICLR 2021)",
    report="stages.studies.utrera2021.report",
    experiments=(*shape.EXPERIMENTS, *influence.EXPERIMENTS, *features.EXPERIMENTS),
    settings=UtreraSettings,
    problems=problems,
)
