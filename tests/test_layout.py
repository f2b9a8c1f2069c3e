"""The house holds: who imports whom, one word for each stage, and dvc.yaml says what the code reads."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from stages.lib.store import code

STAGES = yaml.safe_load((code.ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((code.ROOT / "params.yaml").read_text())
LIB = sorted(path.relative_to(code.ROOT) for path in (code.ROOT / "stages/lib").glob("*.py"))
COMMANDS = {"plan", "profile"}  # what is run by hand and makes nothing
SHARED = {"robust_transfer"}  # what several stages measure with
HOW_TO_RUN = {"grid"}  # no result depends on it, so that no stage declares it
WHAT_TO_RUN = {"datasets", "models", "sources", "targets", "blocks"}  # keys of params.yaml that are no stage's section
UPPER = {"attacks", "training", "pretraining", "finetuning", "robustness", "grid"}
LEAVES = {
    "params",
    "files",
    "datasets",
    "networks",
    "statistics",
    "figures",
    "architectures",
    "errors",
    "cells",
    "sources",
    "code",
    "fetch",
    "fields",
    "catalog",
    "settings",
    "images",
    "tables",
    "augmentation",
    "cropping",
    "checkpoints",
    "archives",
    "checksums",
    "folders",
    "published",
    "raw",
}


def body(stage: str) -> dict:
    return STAGES[stage]


def imports_of(path: Path) -> set[str]:
    return set(code.imports(path))


def test_every_module_of_stages_is_a_stage_and_the_other_way_round():
    modules = {path.stem for path in (code.ROOT / "stages").glob("*.py")} - {"__init__"}
    assert modules - COMMANDS == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_test_and_runs_the_module_of_its_name(stage):
    assert (code.ROOT / "tests" / f"test_{stage}.py").is_file()
    assert body(stage)["cmd"].startswith(f"python -m stages.{stage}")


def test_sections_of_params_are_stages():
    assert set(PARAMS) - WHAT_TO_RUN - SHARED - HOW_TO_RUN <= set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_code(stage):
    assert ("stages" if stage == "check" else f"data/checked/{stage}") in body(stage)["deps"]


def reads(stage: str) -> set[str]:
    """What the stage reads of params.yaml and the catalogs, found in the text of all modules that it is made of."""
    paths = [path for path in code.closure(f"stages.{stage}") if path.name != "params.py"]
    text = "\n".join((code.ROOT / path).read_text() for path in paths)
    found = set(re.findall(r'params\.section\("(\w+)"\)', text))
    if re.search(r"params\.load_params\(|PARAMS\.read_text|Path\(\"params.yaml\"\)", text):
        found = {"params.yaml"}
    return found | {name for name, call in CATALOGS.items() if call in text}


CATALOGS = {"data/catalog.yaml": "params.dataset_entry", "models/catalog.yaml": "params.source_entry"}


@pytest.mark.parametrize("stage", STAGES)
def test_params_list_exactly_the_keys_that_the_stage_reads(stage):
    listed = set()
    for entry in body(stage).get("params", []):
        listed |= set(entry) if isinstance(entry, dict) else {entry}
    listed |= {path for path in body(stage)["deps"] if path in CATALOGS}
    assert listed == reads(stage) - HOW_TO_RUN


def test_stages_meet_through_files_alone():
    words = {f"stages.{word}" for word in STAGES}
    for path in [*LIB, *(Path("stages") / f"{word}.py" for word in STAGES)]:
        assert not imports_of(path) & words, path


def test_only_tracking_imports_mlflow_and_nothing_imports_dvc():
    for path in [*LIB, *(Path("stages") / f"{word}.py" for word in STAGES)]:
        tops = {name.split(".")[0] for name in imports_of(path)}
        assert "dvc" not in tops, path
        assert "mlflow" not in tops or path.name == "tracking.py", path


def test_leaves_import_nothing_of_the_upper_part():
    upper = {f"stages.lib.{name}" for name in UPPER}
    for leaf in LEAVES:
        assert not imports_of(Path("stages/lib") / f"{leaf}.py") & upper, leaf


def test_training_and_attacks_do_not_know_one_another():
    assert "stages.lib.attacks.perturbations" not in imports_of(Path("stages/lib/training/loop.py"))
    assert "stages.lib.training.loop" not in imports_of(Path("stages/lib/attacks/perturbations.py"))


@pytest.mark.parametrize("path", LIB, ids=str)
def test_importing_a_module_runs_nothing_but_definitions(path):
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If, ast.Expr)
    for node in ast.parse((code.ROOT / path).read_text()).body:
        assert isinstance(node, allowed), f"{path}:{node.lineno}"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            assert ast.unparse(node.value).startswith("os.environ.setdefault"), f"{path}:{node.lineno}"
