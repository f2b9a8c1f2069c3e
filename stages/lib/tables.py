"""Result tables on disk: where they lie and what columns they have, declared once for the stages that write and read them."""

from pathlib import Path

FINETUNED, ROBUSTNESS = Path("models/finetuned"), Path("models/robustness")


def kept_weights(source: str, target: str) -> Path:
    """The folder of <blocks>_<subset>.safetensors, of the runs whose weights are kept, and of settings.json, how they came about."""
    return FINETUNED / source / target / "weights"


RUNS = {
    "source": "string", "target": "string", "blocks": "string", "n_images": "int64", "seed": "int64", "epoch": "int64",
    "test_accuracy": "float64", "train_accuracy": "float64", "train_loss": "float64", "cell": "string",
}  # fmt: skip
"""runs.parquet: a row per evaluated epoch of each fine-tuning run; accuracy in percent."""

ATTACKED = {
    "model": "string", "source": "string", "dataset": "string", "blocks": "string", "n_images": "int64", "seed": "int64",
    "attack": "string", "norm": "string", "eps": "float64", "accuracy": "float64", "n_test": "int64",
}  # fmt: skip
"""robustness.parquet: a row per model, norm and eps; model is `source` or `finetuned`, the three after dataset are of the latter only."""
