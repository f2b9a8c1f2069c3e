"""The files that a module is made of, against what Python loads when the module is imported."""

import ast
from pathlib import Path

import asked
import processes
import pytest

from stages.lib.store import code, syntax

MODULES = sorted(".".join(path.relative_to(code.ROOT).with_suffix("").parts) for path in code.ROOT.glob("stages/**/[a-z]*.py"))


@pytest.fixture(scope="module")
def seen() -> tuple[list[str], dict[str, list[str]]]:
    """What Python holds of the project once `stages.report` is imported, and what each module has asked for while it was loaded."""
    return processes.forked(asked.asked, "stages.report", MODULES)


@pytest.fixture(scope="module")
def loaded(seen) -> dict[str, list[str]]:
    """For each module of the project, the project modules that Python holds once it is imported: what it imports, and so on."""
    return {module: sorted(reached(module, seen[1])) for module in MODULES}


@pytest.fixture(scope="module")
def loaded_in_the_end(seen) -> dict[str, set[str]]:
    """... and those that it holds once every function of every loaded module has run."""
    ever = {module: [*seen[1].get(module, ()), *late_imports(code.file_of(module))] for module in MODULES}
    return {module: reached(module, ever) for module in MODULES}


def reached(module: str, from_each: dict[str, list[str]]) -> set[str]:
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name.split(".")[0] == "stages":
            found.add(name)
            waiting += [name.rpartition(".")[0], *from_each.get(name, ())]
    return found


def test_what_modules_were_seen_to_ask_for_is_what_python_holds(seen, loaded):
    """Each is loaded once, and not once more for each module that leads to it; one that leads to many is loaded alone besides."""
    assert seen[0] == loaded["stages.report"]
    assert len(seen[0]) > 100


def late_imports(path: Path) -> set[str]:
    """Project modules that a file imports inside a function."""
    tree = ast.parse((code.ROOT / path).read_text())
    inner = [node for top in tree.body if not isinstance(top, ast.Import | ast.ImportFrom | ast.If) for node in ast.walk(top)]
    names = set()
    for node in inner:
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Dict):  # a table of choices
            names |= {value.value for value in node.values if isinstance(value, ast.Constant)}
    return names & set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_made_of_what_python_loads_for_it(module, loaded, loaded_in_the_end):
    now = {code.file_of(name) for name in loaded[module]} - {None}
    modules = {path for path in code.closure(module, choices=True) if path.suffix == ".py"}
    assert now <= modules
    assert {code.file_of(name) for name in loaded_in_the_end[module]} - {None} == modules


def test_the_modules_of_the_project_are_found():
    assert {"stages.finetune", "stages.lib.store.code"} <= set(MODULES)


def test_no_import_is_relative_as_those_are_not_followed():
    for path in code.ROOT.glob("stages/**/*.py"):
        levels = [node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not any(levels), path


TREE = {
    "stages/__init__.py": "",
    "stages/lib/__init__.py": "",
    "stages/verb.py": "import numpy\nfrom stages.lib import a, b as other\nx = 'page.html.j2', 'published/table.csv', 'no.csv', 'b.py'\n",
    "stages/other.py": "from stages.lib.alone import x\n",
    "stages/lib/a.py": "import stages.lib.c as c\n",
    "stages/lib/b.py": "def f():\n    from stages.lib.late import g\n    return g\n",
    "stages/lib/c.py": "from typing import TYPE_CHECKING\nfrom stages.lib.a import something\nif TYPE_CHECKING:\n    import stages.lib.never\n",
    "stages/lib/late.py": "g = 1\n",
    "stages/lib/alone.py": "x = 1\nif x:\n    import stages.lib.table\nelse:\n    import stages.lib.late\n",
    "stages/lib/never.py": "x = 1\n",
    "stages/lib/table.py": "TABLE = {'one': 'stages.lib.one', 'two': 'stages.lib.two'}\n",
    "stages/lib/one.py": "x = 1\n",
    "stages/lib/two.py": "from stages.lib import late\n",
    "stages/page.html.j2": "<html>",
    "stages/published/table.csv": "a,b",
}
VERB = ["stages/lib/a.py", "stages/lib/b.py", "stages/lib/c.py", "stages/lib/late.py", "stages/page.html.j2", "stages/published/table.csv",
        "stages/verb.py"]  # fmt: skip
OTHER = ["stages/lib/alone.py", "stages/lib/late.py", "stages/lib/table.py", "stages/other.py"]


@pytest.fixture
def root(tmp_path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(root: Path, *modules: str, **how: bool) -> str:
    return code.Tree(root).digest(*modules, **how)


def files_of(root: Path, module: str, **how: bool) -> list[str]:
    return [path.as_posix() for path in code.Tree(root).closure(module, **how)]


def test_the_closure_follows_chains_circles_late_imports_and_data_files_and_nothing_else(root):
    assert files_of(root, "stages.verb") == VERB
    assert files_of(root, "stages.other") == OTHER
    assert files_of(root, "numpy") == files_of(root, "stages.lib.none") == []


def test_modules_of_a_table_of_choices_are_followed_where_all_choices_count(root):
    assert files_of(root, "stages.other", choices=True) == sorted([*OTHER, "stages/lib/one.py", "stages/lib/two.py"])


@pytest.mark.parametrize("name", [name for name in TREE if not name.endswith("__init__.py")])
def test_the_digest_changes_with_the_code_of_just_the_files_that_a_module_is_made_of(root, name):
    before = digest(root, "stages.verb")
    assert digest(root, "stages.verb") == before
    with open(root / name, "a") as file:
        file.write("_MUTATION = 1\n")
    assert (digest(root, "stages.verb") != before) == (name in VERB)


def test_the_digest_of_several_modules_holds_each_file_once(root):
    together = digest(root, "stages.verb", "stages.other")
    assert together == digest(root, "stages.other", "stages.verb", "stages.lib.alone")
    assert len({together, digest(root, "stages.verb"), digest(root, "stages.other")}) == 3


def test_a_new_choice_changes_the_digest_only_where_all_choices_count(root):
    before = {choices: digest(root, "stages.other", choices=choices) for choices in (False, True)}
    (root / "stages/lib/three.py").write_text("x = 3\n")
    (root / "stages/lib/table.py").write_text("TABLE = {'one': 'stages.lib.one', 'two': 'stages.lib.two', 'three': 'stages.lib.three'}\n")
    after = {choices: digest(root, "stages.other", choices=choices) for choices in (False, True)}
    assert after[False] == before[False]
    assert after[True] != before[True]


@pytest.mark.parametrize("table", ["{'one': 'stages.lib.nowhere'}", "{'one': 'stages.lib.one', 'two': 'elsewhere'}", "{}", "{'one': 1}"])
def test_a_dict_that_names_anything_but_modules_is_in_the_digest(root, table):
    before = digest(root, "stages.other")
    (root / "stages/lib/table.py").write_text(f"TABLE = {table}\n")
    assert digest(root, "stages.other") != before
    changed = digest(root, "stages.other")
    (root / "stages/lib/table.py").write_text("TABLE = {'one': 'stages.lib.gone'}\n")
    assert digest(root, "stages.other") != changed


SAME = {
    "a docstring": ('"""One."""\n\n\ndef f(x):\n    """Two."""\n    return x', "def f(x):\n    return x"),
    "a comment": ("x = 1  # why", "x = 1"),
    "a string below a constant": ('X = 1\n"""What it is."""', "X = 1"),
    "layout": ("f(a,\n  b = 'c')", 'f(a, b="c")'),
    "imports for type checkers": ("if TYPE_CHECKING:\n    import a", "if TYPE_CHECKING:\n    import b"),
    "another way to name them": ("if typing.TYPE_CHECKING:\n    import a", "if typing.TYPE_CHECKING:\n    import b"),
    "a prefix without meaning": ("x = u'a'", "x = 'a'"),
}
OTHERS = {
    "a number": ("x = 1", "x = 2"),
    "its type": ("x = 1", "x = 1.0"),
    "nothing": ("x = None", "x = 0"),
    "a truth": ("x = 1", "x = True"),
    "a string that is used": ("x = 'a'", "x = 'b'"),
    "bytes": ("x = 'a'", "x = b'a'"),
    "an order": ("f(a, b)", "f(b, a)"),
    "a name": ("x = 1", "y = 1"),
    "an operator": ("x = a + b", "x = a - b"),
    "what a slice leaves out": ("x = a[1:]", "x = a[:1]"),
    "a default": ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
    "what runs where no types are checked": ("if TYPE_CHECKING:\n    a()\nelse:\n    b()", "if TYPE_CHECKING:\n    a()\nelse:\n    c()"),
    "a decorator": ("@a\ndef f(): ...", "def f(): ..."),
    "nesting": ("if a:\n    b()\n    c()", "if a:\n    b()\nc()"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_decides_nothing_is_in_no_digest(name):
    one, other = (syntax.parse(text.encode()).digest for text in SAME[name])
    assert one == other


@pytest.mark.parametrize("name", OTHERS)
def test_what_may_decide_something_is_in_the_digest(name):
    one, other = (syntax.parse(text.encode()).digest for text in OTHERS[name])
    assert one != other


def test_what_is_kept_from_one_process_to_the_next_gives_the_same_without_parsing(root, monkeypatch):
    path = root / ".cells/code.json"
    before = code.Tree(root, syntax.Known(path)).digest("stages.verb", "stages.other")
    monkeypatch.setattr(syntax, "parse", lambda text: pytest.fail("parsed again"))
    assert code.Tree(root, syntax.Known(path)).digest("stages.verb", "stages.other") == before


@pytest.mark.parametrize(
    "damage",
    [lambda text: "", lambda text: text[:-1], lambda text: text.replace("stages.lib.c", "stages.lib.d"), lambda text: "\0" * 99,
     lambda text: "2" + text[1:], lambda text: "[]"],
)  # fmt: skip
def test_a_damaged_file_of_what_is_known_costs_a_parse_and_no_error(root, damage):
    path = root / ".cells/code.json"
    before = code.Tree(root, syntax.Known(path)).digest("stages.verb")
    whole = path.read_text()
    path.write_text(damage(whole))
    assert code.Tree(root, syntax.Known(path)).digest("stages.verb") == before
    assert path.read_text() == whole


def test_what_two_processes_find_is_kept_together_and_what_nobody_reads_is_forgotten(root, monkeypatch):
    path = root / ".cells/code.json"
    one, other = (code.Tree(root, syntax.Known(path)) for _ in range(2))
    one.digest("stages.verb")
    other.digest("stages.other")
    assert len(syntax.Known(path).syntaxes) == len({(root / name).read_bytes() for name in VERB + OTHER if name.endswith(".py")})
    monkeypatch.setattr(syntax, "MOST", 3)
    (root / "stages/other.py").write_text("x = 5\n")
    code.Tree(root, syntax.Known(path)).digest("stages.other")
    assert len(syntax.Known(path).syntaxes) == 1


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(root):
    (root / ".cells").write_text("a file in the place of the folder")
    assert code.Tree(root, syntax.Known(root / ".cells/code.json")).digest("stages.verb") == digest(root, "stages.verb")
