"""The house holds: who may import whom, how large a room is, one word for each stage, and dvc.yaml says what the code reads."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from stages.lib.store import code
from stages.studies import registry

ORDER = [  # each may import what stands before it, and itself; those of one line do not know one another
    {"errors", "progress", "machine"},
    {"command", "choice"},
    {"norms"},
    {"settings"},
    {"store"},
    {"workers", "fetching"},
    {"datasets"},
    {"networks"},
    {"attacks", "training", "curvature", "information", "report", "models"},
    {"runs"},
    {"studies"},
    {"recommending"},
    {"stages"},
]
MOST_MODULES, MOST_LINES = 12, 250  # of a room, of a file
MOST_STAGES = 16  # and commands, each a module of `stages/` itself
STAGES = yaml.safe_load((code.ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((code.ROOT / "params.yaml").read_text())
MODULES = sorted(path.relative_to(code.ROOT) for path in (code.ROOT / "stages").rglob("*.py") if path.name != "__init__.py")
COMMANDS = {"plan", "predict", "profile", "recommend", "ui"}  # what is run by hand and no stage
HOW_TO_RUN = {"grid", "models"}  # no result depends on how, nor on what is trained beside it, so that no stage declares them
WHAT_TO_RUN = {"datasets", "models", "sources", "targets", "blocks", "experiments"}  # keys of params.yaml that are no stage's section
CATALOGS = {"data/catalog.yaml": "dataset_entry", "models/catalog.yaml": "source_entry"}


def room(module: str) -> str:
    """The room of a dotted name: of stages.lib.store.files `store`, of stages.check `stages`."""
    words = module.split(".")[1:]
    if words[0] == "lib":
        return words[1]
    return words[0] if words[0] in ("studies", "recommending") else "stages"


def place(name: str) -> int:
    return next(i for i, rooms in enumerate(ORDER) if name in rooms)


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts)


def imported(path: Path) -> set[str]:
    """Modules of the project that a file imports, also those that only a type checker reads."""
    names = set()
    for node in ast.walk(ast.parse((code.ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stages"):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(map(dotted, MODULES))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_import_points_back(path):
    own = room(dotted(path))
    for module in imported(path):
        other = room(module)
        assert other == own or place(other) < place(own), module


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[1] == "studies" and len(path.parts) > 3], ids=str)
def test_a_study_knows_no_other_study(path):
    others = {module for module in imported(path) if module.split(".")[1] == "studies" and len(module.split(".")) > 3}
    assert {module.split(".")[2] for module in others} <= {path.parts[2]}


def test_stages_meet_through_files_alone():
    for path in MODULES:
        assert not {module for module in imported(path) if module.count(".") == 1}, path


def test_only_the_registry_names_a_study():
    for path in MODULES:
        if path.parts[1] != "studies" or len(path.parts) == 3:
            named = {study.name for study in registry.STUDIES if re.search(rf"\b{study.name}\b", (code.ROOT / path).read_text())}
            assert not named - {"question"} or path.name == "registry.py", path  # which is a word, too


def test_only_tracking_imports_mlflow_and_nothing_imports_dvc():
    for path in MODULES:
        tops = {name.split(".")[0] for node in ast.walk(ast.parse((code.ROOT / path).read_text())) for name in _names(node)}
        assert "dvc" not in tops, path
        assert "mlflow" not in tops or path.name in ("tracking.py", "logged.py"), path


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_no_room_is_crowded_and_no_file_is_long():
    rooms = Counter(path.parent for path in MODULES)
    assert rooms.pop(Path("stages")) <= MOST_STAGES
    assert {str(folder): count for folder, count in rooms.items() if count > MOST_MODULES} == {}
    lines = {str(path): (code.ROOT / path).read_text().count("\n") for path in MODULES}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_importing_a_module_runs_nothing_but_definitions(path):
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Expr)
    for node in ast.parse((code.ROOT / path).read_text()).body:
        assert isinstance(node, allowed), f"{path}:{node.lineno}"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            assert ast.unparse(node.value).startswith("os.environ.setdefault"), f"{path}:{node.lineno}"


def test_what_makes_a_folder_a_package_is_empty():
    assert not [path for path in (code.ROOT / "stages").rglob("__init__.py") if path.read_text()]


def test_every_module_of_stages_is_a_stage_and_the_other_way_round():
    modules = {path.stem for path in MODULES if len(path.parts) == 2}
    assert modules - COMMANDS == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_test_and_runs_the_module_of_its_name(stage):
    assert (code.ROOT / "tests" / f"test_{stage}.py").is_file()
    assert STAGES[stage]["cmd"].startswith(f"python -m stages.{stage}")


def test_sections_of_params_are_stages_or_experiments():
    assert set(PARAMS) - WHAT_TO_RUN - HOW_TO_RUN <= set(STAGES) | set(registry.EXPERIMENTS)


def test_an_experiment_has_one_name():
    for study in registry.STUDIES:
        for experiment in study.experiments:
            assert experiment.module.startswith(f"stages.studies.{study.name}.")
            assert experiment.module.endswith(f".{experiment.name}")
            assert code.file_of(experiment.module)
            assert (code.ROOT / "tests/studies" / study.name / f"test_{experiment.name}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_code(stage):
    code_of = {"check": "stages", "experiment": "data/checked/${item.experiment}"}.get(stage, f"data/checked/{stage}")
    assert code_of in STAGES[stage]["deps"]


def reads(stage: str) -> set[str]:
    """What the stage reads of params.yaml and the catalogs, found in the text of all modules that it is made of."""
    paths = [path for path in code.closure(f"stages.{stage}") if path.name not in ("params.py", "catalog.py", "registry.py")]
    text = "\n".join((code.ROOT / path).read_text() for path in paths)
    named = set(re.findall(r'(?:params|registry)\.section\("(\w+)"\)', text))
    if re.search(r"(?:params|registry)\.load_params\(|PARAMS\.read_text|Path\(\"params.yaml\"\)", text):
        named = {"params.yaml"}
    if "registry.section(experiment)" in text:
        named |= {"${item.experiment}"}
    return named | {name for name, call in CATALOGS.items() if call in text}


@pytest.mark.parametrize("stage", STAGES)
def test_params_list_exactly_the_keys_that_the_stage_reads(stage):
    listed = set()
    for entry in STAGES[stage].get("params", []):
        listed |= set(entry) if isinstance(entry, dict) else {entry}
    listed |= {path for path in STAGES[stage]["deps"] if path in CATALOGS}
    assert listed == reads(stage) - HOW_TO_RUN


def test_dvc_yaml_and_params_yaml_stay_short():
    assert (code.ROOT / "dvc.yaml").read_text().count("\n") < 190
    assert (code.ROOT / "params.yaml").read_text().count("\n") < 90
