"""A folder like this repository, with its sources and images, settings of its own and an empty store, for stages to run in."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from stages.lib.datasets import sets
from stages.lib.networks import sources
from stages.lib.settings import params
from stages.lib.store import code


@contextmanager
def place(**changes: object) -> Iterator[Path]:
    """Settings are those of params.yaml, but for `changes`; of a section, of its keys."""
    settings = params.read_yaml(code.ROOT / params.PARAMS)
    for key, value in changes.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / params.PARAMS).write_text(yaml.safe_dump(settings))
        for shared in (params.DATA_CATALOG, params.MODEL_CATALOG, sets.IMAGES, sources.FOLDER):
            (folder / shared).parent.mkdir(exist_ok=True)
            (folder / shared).symlink_to(code.ROOT / shared)
        yield folder


def stage(folder: Path, *arguments: str) -> tuple[float, int]:
    """Run a stage there; seconds, and the most bytes that its processes held at once (shared pages counted once)."""
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"} | {"PYTHONPATH": str(code.ROOT)}
    started = time.perf_counter()
    with open(folder / "log", "w") as log:
        command = [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]]
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    most = 0
    while process.poll() is None:
        most = max(most, held(process))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError((folder / "log").read_text()[-2000:])
    return time.perf_counter() - started, most


def held(process: psutil.Process) -> int:
    """Bytes of a process and of all that it started."""
    total = 0
    try:
        for part in [process, *process.children(recursive=True)]:
            total += part.memory_full_info().pss
    except psutil.Error:  # one has just ended
        return 0
    return total
