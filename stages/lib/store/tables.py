"""Result tables on disk: where they lie and what columns they have, declared once for the stages that write and read them."""

from pathlib import Path

RESULTS = Path("models/results")  # of experiments, a folder each: runs.parquet, arrays.npz, settings.json


def finetuned(source: str) -> Path:
    """The folder of runs.parquet, of all targets, and of weights/."""
    return Path("models/finetuned") / source


def kept_weights(source: str) -> Path:
    """The folder of <target>/<blocks>_<subset>.safetensors, of the runs whose weights are kept, and of settings.json, which they had."""
    return finetuned(source) / "weights"


def robustness(source: str) -> Path:
    """The folder of robustness.parquet, images.parquet, checks.parquet and examples.npz of a source and of what is fine-tuned from it."""
    return Path("models/robustness") / source


RUNS = {
    "source": "string", "target": "string", "blocks": "string", "n_images": "int64", "seed": "int64", "epoch": "int64",
    "test_accuracy": "float64", "train_accuracy": "float64", "train_loss": "float64", "cell": "string",
}  # fmt: skip
"""runs.parquet: a row per evaluated epoch of each fine-tuning run; accuracy in percent."""

_MODEL = {"model": "string", "source": "string", "dataset": "string", "blocks": "string", "n_images": "int64", "seed": "int64"}
"""What is attacked: `model` is `source` or `finetuned`, the three after dataset are of the latter only."""

WORST = "worst"  # in the place of an attack's name: what stands against all of them

ATTACKED = _MODEL | {"attack": "string", "norm": "string", "eps": "float64", "accuracy": "float64", "n_test": "int64"}
"""robustness.parquet: a row per model, attack, norm and eps."""

PER_IMAGE = _MODEL | {"attack": "string", "norm": "string", "eps": "float64", "image": "int64", "correct": "bool"}
"""images.parquet: the same per image; `correct` where it is labelled correctly at this eps and at every smaller one."""

CHECKS = _MODEL | {"norm": "string", "check": "string", "passed": "bool", "says": "string"}
"""checks.parquet: whether the evaluation of a model within a norm can be trusted, and what was found."""

EXPERIMENT_RUNS = {
    "source": "string", "target": "string", "method": "string", "setting": "float64", "seed": "int64", "measure": "string",
    "value": "float64", "cell": "string",
}  # fmt: skip
"""runs.parquet of an experiment: a row per run and measure, such as `clean` or the name of an attack; accuracy in percent."""
