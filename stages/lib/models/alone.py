"""What a model runs on where this project is not installed: the few files of the project that its classifier is made of."""

from collections.abc import Iterable
from pathlib import Path
from shutil import copy2

from stages.lib.networks.families.table import FAMILIES
from stages.lib.networks.names import known
from stages.lib.store import code

LOADERS = {"torch": "stages.lib.models.classifier"}  # what a model runs with: a table of choices (`choice.py`)
READERS = {"pillow": "stages.lib.models.labelling"}  # what reads image files as the model was tested on them: another such table
SCRIPT = "classify.py"


def code_of(architecture: str) -> tuple[Path, ...]:
    """The files behind a model's `_load_pyfunc`, relative to the root."""
    return code.closure(LOADERS["torch"], FAMILIES[known(architecture)])


def copied(paths: Iterable[Path], folder: Path) -> None:
    """Copy files of the project to a folder, with what makes their folders packages."""
    for path in paths:
        for part in [path, *(above / "__init__.py" for above in path.parents if above.name)]:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            copy2(code.ROOT / part, folder / part)


def complete(folder: Path, architecture: str) -> None:
    """Add to a folder with a card and weights what labels images with them: `classify.py`, and `code/`, which that needs."""
    copied({*code_of(architecture), *code.closure(READERS["pillow"])}, folder / "code")
    copy2(Path(__file__).with_name(SCRIPT), folder / SCRIPT)
