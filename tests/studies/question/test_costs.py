"""What a source costs, counted: nothing of it depends on the machine."""

from types import SimpleNamespace

import made
import pytest

from stages.lib.errors import RunError
from stages.lib.networks.sources import paths
from stages.lib.report import reading
from stages.studies.question import costs

TRAINING = SimpleNamespace(dataset="glyphs", epochs=10)
PGD = {"norm": "l2", "eps": 0.5, "perturbation": "PGD(3)"}


def card(kind: str = "trained", threat: dict | None = None, **more: object) -> dict:
    return {"kind": kind, "dataset": "glyphs", "threat": threat} | more


@pytest.mark.parametrize(
    ("card", "passes"),
    [
        (card(), 40_000), (card(threat=PGD), 160_000), (card(threat=PGD | {"perturbation": "Gaussian"}), 40_000),
        (card(threat=PGD | {"perturbation": "free(4)"}), 40_000), (card("random"), 0), (card("fetched"), None),
        (card(dataset="imagenet"), None), (card(part={"of": 2, "number": 0, "seed": 0}), None),
    ],
)  # fmt: skip
def test_a_pass_is_an_image_in_a_step_or_in_a_step_of_an_attack(card, passes):
    assert costs.passes_of(card, TRAINING, 4000) == passes


def test_size_counts_parameters_without_statistics_and_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, kind in (("natural", "trained"), ("l2", "trained"), ("none", "random")):
        made.write_source(tmp_path, made.card(source, kind, None))
    n_bytes = (tmp_path / "models/sources/natural/0.safetensors").stat().st_size
    assert reading.size_of(paths("natural")[0]) == (12, n_bytes)
    results = made.results(
        lambda *_: 0.0, cards={"natural": card(), "l2": card(threat=PGD), "none": card("random")}, n_test={"train": 4000}
    )
    assert costs.costs_of(results, {"source": TRAINING}) == [
        costs.Cost("natural", 12, n_bytes / 1e6, 40_000, 1.0), costs.Cost("l2", 12, n_bytes / 1e6, 160_000, 4.0),
        costs.Cost("none", 0, reading.size_of(paths("none")[0])[1] / 1e6, 0, 0.0),
    ]  # fmt: skip
    assert costs.passes_of_fine_tuning(results) == 11 * 200
    path = tmp_path / "models/sources/l2/0.safetensors"
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(RunError, match=f"models/sources/l2/{path.name}: cannot be read"):
        reading.size_of(paths("l2")[0])
