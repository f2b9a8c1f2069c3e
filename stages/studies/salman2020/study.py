"""Salman et al., "Do adversarially robust ImageNet models transfer better?" (NeurIPS 2020): which robustness is best for which target?"""

from stages.studies.salman2020.detection import runs as detection
from stages.studies.salman2020.detection.settings import DetectSettings
from stages.studies.study import Experiment, Study

SALMAN = Study(
    name="salman2020",
    title="Salman et al. (NeurIPS 2020)",
    report="stages.studies.salman2020.report",
    experiments=(Experiment(detection.DETECT, DetectSettings, detection.detect, detection.MODULE, arrays=detection.pictures),),
    problems=detection.problems,
)
