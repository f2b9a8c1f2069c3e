"""A model where this project is not installed: as MLflow serves it, and in a process that can import little beside torch and safetensors."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

BLOCKED = """
import importlib.machinery, json, sys
allowed, folder = set(json.loads(sys.argv[1])) | sys.stdlib_module_names, sys.argv[2]
class Blocked(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name not in allowed:
            found = super().find_spec(name, path, target)
            if found is None or not str(found.origin).startswith(folder):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
sys.meta_path.insert(0, Blocked)
sys.path.insert(0, folder)
"""


def by_mlflow(served: Path, folder: Path) -> list[dict]:
    """What `mlflow models predict` makes of the model's own example, where `stages` is a package that cannot be imported.

    Args:
        served: the folder of the logged model.
        folder: an empty one.
    """
    (folder / "stages").mkdir()
    (folder / "stages/__init__.py").write_text("raise ImportError('not the code of the model')")
    command = ["mlflow", "models", "predict", "--model-uri", str(served), "--input-path", str(served / "serving_input_example.json"),
               "--content-type", "json", "--output-path", str(folder / "out.json"), "--env-manager", "local"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(folder), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())["predictions"]


def alone(folder: Path, script: str, *packages: str) -> str:
    """What a script prints in a process that can import the standard library, what is in a folder, some packages and what these need."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", BLOCKED + script, json.dumps(sorted(needed(packages))), str(folder)]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def needed(packages: tuple[str, ...]) -> set[str]:
    """The modules of packages and of all that these say they need, without extras."""
    distributions, waiting = set(), list(packages)
    while waiting:
        if (name := waiting.pop().lower().replace("_", "-")) not in distributions:
            distributions.add(name)
            asked = [Requirement(text) for text in metadata.requires(name) or ()]
            waiting += [one.name for one in asked if (one.marker is None or one.marker.evaluate({"extra": ""})) and _is_here(one.name)]
    of = metadata.packages_distributions()
    return {module for module, names in of.items() if {name.lower().replace("_", "-") for name in names} & distributions}


def _is_here(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
