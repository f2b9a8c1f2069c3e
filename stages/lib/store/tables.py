"""Result tables on disk: where they lie and what columns they have, declared once for the stages that write and read them."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

FINETUNED = Path("models/finetuned")
RESULTS = Path("models/results")  # of experiments, a folder each: runs.parquet, images.parquet, arrays.npz, settings.json


def finetuned(source: str) -> Path:
    """The folder of a source's fine-tuning runs on all targets: runs.parquet, cells.json and weights/."""
    return FINETUNED / source


def kept_weights(source: str) -> Path:
    """The folder of kept weights: <target>/<blocks>_<subset>.safetensors, and settings.json, with which they were trained."""
    return finetuned(source) / "weights"


def robustness(source: str) -> Path:
    """The folder of robustness.parquet, images.parquet, checks.parquet and examples.npz of a source and networks fine-tuned from it."""
    return Path("models/robustness") / source


DIVERGED = "diverged"  # a run whose loss was not finite: a column of runs, and a measure of the runs of experiments

RUNS = {
    "source": "string", "target": "string", "blocks": "string", "n_images": "int64", "seed": "int64", "epoch": "int64",
    "test_accuracy": "float64", "train_accuracy": "float64", "train_loss": "float64", "diverged": "bool", "source_model": "int64",
    "cell": "string", "test_mean_per_class": "float64", "lr": "float64", "reported": "bool",
}  # fmt: skip
"""runs.parquet: a row per evaluated epoch of each fine-tuning run, from a model of the source, counted from 0; accuracy in percent, of all
test images and as the mean over the classes that have one. Of several learning rates `lr`, the chosen one. Each run is `reported` by one
of its epochs.

A run has `diverged` from the epoch on in which its loss, or after which a weight, was not finite; `train_loss` is then missing where it
was no number, and `test_accuracy` is what the network gave: of logits that are no numbers, the first class."""

RATES = RUNS | {"held_out": "int64", "validation_accuracy": "float64", "validation_mean_per_class": "float64"}
"""rates.parquet, where learning rates or epochs are chosen: the same of every rate, of which a row is `reported` as it is in runs.parquet;
and of runs without the images that were `held_out` of their subset, on which the validation accuracies are.
"""

_MODEL = {"model": "string", "source": "string", "dataset": "string", "blocks": "string", "n_images": "int64", "seed": "int64"}
"""The attacked network: `model` is `source` or `finetuned`; only the latter has blocks, n_images and seed."""

WORST = "worst"  # in the place of an attack's name: accuracy on the images that no attack changes the label of

ATTACKED = _MODEL | {"attack": "string", "norm": "string", "eps": "float64", "accuracy": "float64", "n_test": "int64"}
"""robustness.parquet: a row per model, attack, norm and eps."""

PER_IMAGE = _MODEL | {"attack": "string", "norm": "string", "eps": "float64", "image": "int64", "correct": "bool"}
"""images.parquet: a row per model, attack, norm, eps and image; `image`: its place in the test split; `correct`: labelled correctly at
this eps and at every smaller one.
"""

CHECKS = _MODEL | {"norm": "string", "check": "string", "passed": "bool", "says": "string"}
"""checks.parquet: whether the evaluation of a model within a norm can be trusted; `says` holds the figures of the check."""

EXPERIMENT_RUNS = {
    "source": "string", "target": "string", "method": "string", "setting": "float64", "seed": "int64", "measure": "string",
    "value": "float64", "n_test": "int64", "cell": "string",
}  # fmt: skip
"""runs.parquet of an experiment: a row per run and measure, such as `clean` or the name of an attack; accuracy in percent, of `n_test`
images; 0 where that is not known, and for what is no accuracy. A run whose trained network has weights that are no numbers has the measure
`diverged` besides, with the value 1.
"""

CORRECT, IMAGE = "correct/", "image/"  # before a measure's name, of the arrays of a run: which images were correct, and their places

EXPERIMENT_IMAGES = {
    "source": "string", "target": "string", "method": "string", "setting": "float64", "seed": "int64", "measure": "string",
    "image": "int64", "correct": "bool",
}  # fmt: skip
"""images.parquet of an experiment: a row per run, measure and test image; `image`: its place in the test split."""


def read_table(path: Path, columns: list[str]) -> "pd.DataFrame":
    """The columns of a Parquet or CSV file.

    Raises:
        RunError: names the file, when it is missing, unreadable or without one of the columns.
    """
    import pandas as pd  # here, as stages that only need to know where a table lies do without

    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise RunError(f"{path}: the file is missing; the stage that writes it has not run") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({' '.join(str(error).split())}); run `dvc repro` to make it again") from None
    absent = [name for name in columns if name not in table]
    if absent:
        raise RunError(f"{path}: has no column {absent[0]!r}; found: {', '.join(table.columns)}")
    return table if path.suffix == ".csv" else table[columns]
