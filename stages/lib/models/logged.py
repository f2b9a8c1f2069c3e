"""Fine-tuned models in the tracking store: MLflow's logged models, which their metrics rank, and its registry.

A model is sent with a signature, an example of its input, and the few files of this project that it runs on, so that it needs no
installed project. Nothing of it is pickled. What is sent carries the key of the run that it comes from, and is sent once.
"""

import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from stages.lib.models import alone
from stages.lib.store import code
from stages.lib.store.tracking import Store, dataset_input

CELL, BEST = "cell", "best"  # tags: the key of the run that trained the model; the target that it is the best model of
OUTPUTS = Schema([ColSpec("string", "label"), ColSpec("double", "probability")])


@dataclass(frozen=True)
class Model:
    """A model as it is sent."""

    name: str
    cell: str
    folder: Path  # with its card and weights
    loader: str  # dotted name of the module whose `_load_pyfunc` loads that folder
    code: tuple[Path, ...]  # the project's files that it needs, relative to the root
    sample: np.ndarray  # uint8 [n, H, W, channels], images as it takes them
    params: dict[str, str]
    metrics: dict[str, float]  # on the test images of the dataset
    dataset: tuple[str, str]  # name, and hash of the test images
    step: int  # of the run, to which the metrics belong


def find(store: Store, cell: str) -> LoggedModel | None:
    """The model of a run, where the store holds all of it."""
    found = store.client.search_logged_models([store.experiment], f"tags.{CELL} = '{cell}'")
    return next((model for model in found if str(model.status) == "READY"), None)


def send(store: Store, run_id: str, model: Model) -> LoggedModel:
    """Log a model as the output of a run, with its metrics on its data set."""
    made = store.client.create_logged_model(
        store.experiment, name=model.name, source_run_id=run_id, tags={CELL: model.cell}, params=model.params, model_type="classifier"
    )
    with tempfile.TemporaryDirectory() as folder:
        store.client.log_model_artifacts(made.model_id, str(write(model, Path(folder))))
    name, digest = model.dataset
    store.client.log_inputs(run_id, [dataset_input(name, digest, "test")])
    store.client.log_outputs(run_id, [LoggedModelOutput(made.model_id, model.step)])
    now, linked = (
        int(time.time() * 1000),
        {"model_id": made.model_id, "dataset_name": name, "dataset_digest": digest[:36], "run_id": run_id},
    )
    store.log(run_id, [Metric(key, value, now, model.step, **linked) for key, value in model.metrics.items()])
    return store.client.finalize_logged_model(made.model_id, "READY")


def write(model: Model, folder: Path) -> Path:
    """The model as MLflow keeps it, in a folder below this one."""
    alone.copied(model.code, folder / "code")
    images = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, model.sample.shape[-1]))
    mlflow.pyfunc.save_model(
        folder / "model", loader_module=model.loader, data_path=str(model.folder), code_paths=[str(folder / "code" / "stages")],
        signature=ModelSignature(Schema([images]), OUTPUTS), input_example=model.sample, pip_requirements=requirements(model.code),
    )  # fmt: skip
    return folder / "model"


def requirements(paths: Iterable[Path]) -> list[str]:
    """The packages that these files import, in the versions that are installed, and MLflow."""
    tops = {name.partition(".")[0] for path in paths for name in code.imports(path)} - set(sys.stdlib_module_names) - {"stages"}
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in ("mlflow", *sorted(tops))]


def name_best(store: Store, model: LoggedModel, target: str, registered: str | None) -> str | None:
    """Tag a model as the best of a target; and where a name is given, make it the newest version of the registered model of that name.

    Returns:
        That version, or the one of this model that is registered already; None without a name.
    """
    if model.tags.get(BEST) != target:
        store.client.set_logged_model_tags(model.model_id, {BEST: target})
    if not registered:
        return None
    try:
        store.client.create_registered_model(registered)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = store.client.search_model_versions(f"name = '{registered}'")
    version = next((each for each in versions if each.tags.get(CELL) == model.tags[CELL]), None)
    if version is None:
        source = f"models:/{model.model_id}"
        version = store.client.create_model_version(
            registered, source, model.source_run_id, {CELL: model.tags[CELL]}, description=model.name, model_id=model.model_id
        )
    return str(version.version)
