"""The files that a module is made of, against what Python loads when the module is imported."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib.store import code

MODULES = sorted(".".join(path.relative_to(code.ROOT).with_suffix("").parts) for path in code.ROOT.glob("stages/**/[a-z]*.py"))

LOAD_EACH = """
import importlib, json, sys
loaded = {}
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "stages"]:
        del sys.modules[name]
    importlib.import_module(module)
    loaded[module] = [name for name in sys.modules if name.split(".")[0] == "stages"]
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """For each module of the project, the project modules that Python holds once it is imported."""
    environment = os.environ | {"PYTHONPATH": str(code.ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOAD_EACH, *MODULES]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def late_imports(path: Path) -> set[str]:
    """Project modules that a file imports inside a function, or for type checkers only."""
    tree = ast.parse((code.ROOT / path).read_text())
    inner = [node for top in tree.body if not isinstance(top, ast.Import | ast.ImportFrom) for node in ast.walk(top)]
    names = set()
    for node in inner:
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Dict):  # a table of choices
            names |= {value.value for value in node.values if isinstance(value, ast.Constant)}
    return names & set(MODULES)


def with_late_imports(module: str, loaded: dict[str, list[str]]) -> set[str]:
    """What is loaded once every function of every loaded module has run."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found or name not in MODULES:
            continue
        found.add(name)
        waiting += [*loaded[name], *late_imports(code.file_of(name))]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_made_of_what_python_loads_for_it(module, loaded):
    now = {code.file_of(name) for name in loaded[module]} - {None}
    assert now <= set(code.closure(module))
    assert {code.file_of(name) for name in with_late_imports(module, loaded)} == set(code.closure(module))


def test_the_modules_of_the_project_are_found():
    assert {"stages.finetune", "stages.lib.store.code"} <= set(MODULES)


def test_no_import_is_relative_as_those_are_not_followed():
    for path in code.ROOT.glob("stages/**/*.py"):
        levels = [node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not any(levels), path


TREE = {
    "stages/__init__.py": "",
    "stages/lib/__init__.py": "",
    "stages/verb.py": "import numpy\nfrom stages.lib import a, b as other\n",
    "stages/other.py": "from stages.lib.alone import x\n",
    "stages/lib/a.py": "import stages.lib.c as c\n",
    "stages/lib/b.py": "def f():\n    from stages.lib.late import g\n    return g\n",
    "stages/lib/c.py": "from stages.lib.a import something\n",
    "stages/lib/late.py": "g = 1\n",
    "stages/lib/alone.py": "x = 1\n",
}
VERB = ["stages/lib/a.py", "stages/lib/b.py", "stages/lib/c.py", "stages/lib/late.py", "stages/verb.py"]


def forget() -> None:
    for function in (code.closure, code.imports, code.digest, code.digest_alone):
        function.cache_clear()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    forget()
    monkeypatch.setattr(code, "ROOT", tmp_path)
    yield tmp_path
    forget()


def test_the_closure_follows_chains_circles_and_late_imports_and_nothing_else(tree):
    assert [str(path) for path in code.closure("stages.verb")] == VERB
    assert [str(path) for path in code.closure("stages.other")] == ["stages/lib/alone.py", "stages/other.py"]
    assert code.closure("numpy") == ()
    assert code.closure("stages.lib.none") == ()


@pytest.mark.parametrize("name", [name for name in TREE if not name.endswith("__init__.py")])
def test_the_digest_changes_with_the_text_of_just_the_files_that_a_module_is_made_of(tree, name):
    before = code.digest("stages.verb")
    forget()
    assert code.digest("stages.verb") == before
    with open(tree / name, "a") as file:
        file.write("# a word\n")
    forget()
    assert (code.digest("stages.verb") != before) == (name in VERB)


def test_the_digest_of_several_modules_holds_each_file_once(tree):
    together = code.digest("stages.verb", "stages.other")
    assert together == code.digest("stages.other", "stages.verb", "stages.lib.alone")
    assert len({together, code.digest("stages.verb"), code.digest("stages.other")}) == 3


@pytest.mark.parametrize("name", ["stages/verb.py", "stages/lib/alone.py", "stages/lib/a.py"])
def test_a_digest_alone_changes_with_these_modules_and_not_with_what_they_import(tree, name):
    before = code.digest_alone("stages.verb", "stages.lib.alone")
    with open(tree / name, "a") as file:
        file.write("# a word\n")
    forget()
    assert (code.digest_alone("stages.verb", "stages.lib.alone") != before) == (name != "stages/lib/a.py")
