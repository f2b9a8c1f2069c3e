"""Terzi et al., "Adversarial Training Reduces Information and Improves Transferability" (AAAI 2021).

When do robust sources transfer better, and how much do they know of their data?
"""

from stages.lib.settings.catalog import AnySource
from stages.lib.settings.params import DATA_CATALOG, entry_names, unknown
from stages.lib.settings.sections import Params
from stages.studies.study import Experiment, Study
from stages.studies.terzi2021.distance import runs as distance
from stages.studies.terzi2021.distance.means import prepare
from stages.studies.terzi2021.distance.settings import MeasureDistanceSettings
from stages.studies.terzi2021.information import runs as information
from stages.studies.terzi2021.information.settings import InformationSettings
from stages.studies.terzi2021.settings import TerziSettings

EXPERIMENTS = (
    Experiment(distance.MEASURE_DISTANCE, MeasureDistanceSettings, distance.measure_distance, distance.MODULE, prepare=prepare),
    Experiment(information.INFORMATION, InformationSettings, information.information, information.MODULE, arrays=information.maps),
)


def problems(settings: Params, sources: dict[str, AnySource]) -> list[str]:
    """Targets that are in no catalog, and experiments that cannot be run; a line each."""
    wanted, datasets = settings.report.terzi2021, entry_names(DATA_CATALOG)
    wrong = [
        line for key in ("near", "distant") for line in unknown(f"report.terzi2021.{key}", getattr(wanted, key), datasets, DATA_CATALOG)
    ]
    return wrong + distance.problems(settings, sources) + information.problems(settings, sources)


TERZI = Study(
    name="terzi2021",
    title="Terzi et al. (AAAI 2021)",
    report="stages.studies.terzi2021.report",
    experiments=EXPERIMENTS,
    settings=TerziSettings,
    problems=problems,
)
