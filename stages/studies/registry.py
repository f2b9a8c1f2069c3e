"""The studies that exist, in the order of the report, and params.yaml with the settings that they bring.

The only module that names a study. Imports are plain, as the hash of a stage's code follows imports.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, create_model

from stages.lib.settings import params, sections
from stages.lib.settings.fields import Settings
from stages.lib.settings.params import PARAMS, SettingsError
from stages.studies.question.study import QUESTION
from stages.studies.salman2020.study import SALMAN
from stages.studies.shafahi2020.study import SHAFAHI
from stages.studies.study import Experiment, Study
from stages.studies.terzi2021.study import TERZI
from stages.studies.utrera2021.study import UTRERA

STUDIES: tuple[Study, ...] = (QUESTION, UTRERA, SHAFAHI, SALMAN, TERZI)
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for study in STUDIES for experiment in study.experiments}


def _default_of(settings: type[Settings]) -> Any:
    """The settings of a study where params.yaml has none: those that all have a value of their own, or else none, which is an error."""
    return ... if any(field.is_required() for field in settings.model_fields.values()) else settings()


ReportSettings = create_model(
    "ReportSettings",
    __base__=sections.ReportSettings,
    **{study.name: (study.settings, _default_of(study.settings)) for study in STUDIES if study.settings},
)
Params = create_model(
    "Params",
    __base__=sections.Params,
    report=(ReportSettings, ...),
    **{name: (Annotated[experiment.settings | None, Field()], None) for name, experiment in EXPERIMENTS.items()},
)
"""params.yaml as a whole; the section of an experiment may be absent, which is then off."""


def load_params(path: Path = PARAMS) -> sections.Params:
    return params.load_params(path, Params)


def section(name: str, path: Path = PARAMS) -> Any:
    """One top-level key of params.yaml, as its typed object; raises SettingsError where it is missing."""
    return params.section(name, path, Params)


def experiment_of(name: str) -> Experiment:
    """The experiment of a name; raises SettingsError where no study has it."""
    if name not in EXPERIMENTS:
        raise SettingsError(f"{PARAMS}: experiments: {name!r} is no experiment; allowed: {params.choices(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]
