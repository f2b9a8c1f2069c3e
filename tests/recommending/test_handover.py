"""The model that is handed over predicts the same here, in `mlflow models predict`, and where there is little beside torch."""

import json
import re
from pathlib import Path

import elsewhere
import made_answer
import numpy as np
import pytest
from PIL import Image

from stages import predict
from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.models import card, classifier, kept
from stages.lib.store import tracking
from stages.recommending import handover

IN_PYTHON = """
import classify, numpy
found = classify.load().probabilities(numpy.load(classify.HERE / "images.npy"))
print(json.dumps([found.tolist(), sorted({name.partition(".")[0] for name in sys.modules} & {"pandas", "PIL", "mlflow", "pydantic"})]))
"""
FROM_FILES = """
allowed.add("PIL")
classify.main(str(classify.HERE / "files"))
"""


@pytest.fixture
def packed(runs_ready, tmp_path_factory):
    """A model in the folder recommend/mine/ of a workspace; and that folder."""
    out = runs_ready.folder / "recommend/mine"
    return out, handover.packed(out / handover.MODEL, kept.kept_of("l2_eps0_5", "digits")[0])


@pytest.fixture
def home(packed, tmp_path_factory):
    """Its model elsewhere, with some images as an array and as files."""
    out, _ = packed
    folder = tmp_path_factory.mktemp("home") / "model"
    (out / handover.MODEL).rename(folder)
    x, _ = sets.load("digits", "test")
    np.save(folder / "images.npy", np.asarray(x[:40]))
    (folder / "files").mkdir()
    for i in range(3):
        Image.fromarray(np.asarray(x[i])[..., 0]).save(folder / f"files/{i}.png")
    (folder / "files/notes.txt").write_text("no image")
    return folder


def test_it_predicts_the_same_where_there_is_little_beside_torch(home, capsys):
    """Images in an array, where there is no Pillow either; and then files, where there is."""
    said, _, files = elsewhere.alone(home, IN_PYTHON + FROM_FILES, "torch", "safetensors", "numpy").partition("\n")
    found, others = json.loads(said)
    wanted = classifier.load(home).probabilities(np.load(home / "images.npy"))
    assert np.array_equal(np.array(found, np.float32), wanted)
    assert others == []
    predict.main(str(home), str(home / "files"))
    assert files == capsys.readouterr().out
    assert files.count("\n") == 4


def test_what_the_page_says_of_it_is_what_its_files_hold(packed):
    out, said = packed
    own, weights = card.read(out / "model"), kept.files.read_arrays(out / "model/weights.safetensors")
    buffers = re.compile(r"running_|num_batches|normalise")
    assert said["parameters"] == sum(array.size for name, array in weights.items() if not buffers.search(name))
    assert (said["title"], said["accuracy"], said["image_size"]) == (own.title, own.test_accuracy, 16)
    assert said["low"] < said["accuracy"] < said["high"]


def test_mistakes_are_counted_against_the_labels(packed):
    out, said = packed
    x, y = sets.load("digits", "test")
    paths = [f"{label}/{i}.png" for i, label in enumerate(y)]
    counts, wrong, examples = handover.mistakes(out / "model", "digits", paths)
    given = [int(label) for label, _ in classifier.load(out / "model").labels(np.asarray(x[:]))]
    assert counts.sum() == len(y)
    assert 100 * np.trace(counts) / len(y) == pytest.approx(said["accuracy"])
    assert {one["file"] for one in wrong} == {paths[i] for i in range(len(y)) if given[i] != y[i]}
    assert [one["probability"] for one in wrong] == sorted((one["probability"] for one in wrong), reverse=True)
    assert counts[3, 5] == sum(one["true"] == "3" and one["given"] == "5" for one in wrong)
    right = [i for i in range(len(y)) if y[i] == given[i]]
    assert [paths.index(path) in right for path in examples] == [label in y[right] for label in range(10)]


def test_it_is_registered_once_with_its_image_set_and_mlflow_predicts_the_same(packed, tmp_path_factory):
    out, said = packed
    answer = made_answer.answer(Path("/data/mine"))
    answer.model = said | {"under_attack": {"mean": 12.5, "norm": "linf", "eps": 4 / 255}}
    for name in ("index.html", "answer.json"):
        (out / name).write_text("{}")
    assert handover.register(out, answer, "mine") == handover.register(out, answer, "mine") == "models:/mine/1"
    store = tracking.Store("robust-transfer")
    [model] = store.client.search_logged_models([store.experiment])
    assert {metric.key: (metric.value, metric.dataset_name) for metric in model.metrics} == {
        "test_accuracy": (said["accuracy"], "digits"), "under_attack/linf_4_255": (12.5, "digits"),
    }  # fmt: skip
    run = store.client.get_run(model.source_run_id)
    assert (run.info.run_name, run.data.params["labels"]) == ("recommend: mine", "100")
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["digits"]
    assert {file.path for file in store.client.list_artifacts(run.info.run_id)} == {"index.html", "answer.json"}
    [found] = elsewhere.by_mlflow(Path(model.artifact_location.removeprefix("file://")), tmp_path_factory.mktemp("elsewhere"))
    [(label, probability)] = classifier.load(out / "model").labels(np.load(out / "model/sample.npy"))
    assert found == {"label": label, "probability": pytest.approx(probability)}


def test_a_store_that_is_away_and_a_model_that_is_not_there_are_one_line(packed, monkeypatch):
    out, _ = packed
    answer = made_answer.answer(Path("/data/mine"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RunError, match=r"127.0.0.1:9: the tracking store is away .*the same command again registers it"):
        handover.register(out, answer, "mine")
    answer.model = {}
    with pytest.raises(RunError, match="no time for the model"):
        handover.register(out, answer, "mine")
