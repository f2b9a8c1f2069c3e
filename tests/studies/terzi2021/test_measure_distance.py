"""Distances of sets are those of the linear programme that defines them, of the features that enter the head."""

import kinds
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.optimize import linprog

from stages.lib.datasets import sets
from stages.lib.errors import RunError
from stages.lib.networks import sources
from stages.lib.store import cells
from stages.studies.terzi2021.distance import means, runs
from stages.studies.terzi2021.distance.settings import MeasureDistanceSettings
from stages.studies.terzi2021.experiments import class_means, measure_distance

RNG = np.random.default_rng(0)


def transport(left, left_counts, right, right_counts) -> float:
    """The earth mover's distance as a linear programme over all m n flows (Cui et al. 2018, equations 4 and 5)."""
    m, n = len(left), len(right)
    cost = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in right] for a in left])
    leaving = np.kron(np.eye(m), np.ones(n))
    arriving = np.kron(np.ones(m), np.eye(n))
    moved = np.concatenate([left_counts / sum(left_counts), right_counts / sum(right_counts)])
    return linprog(cost.ravel(), A_eq=np.vstack([leaving, arriving]), b_eq=moved, method="highs").fun


@pytest.mark.parametrize(("m", "n"), [(3, 3), (5, 8), (1, 4)])
def test_the_distance_solves_the_linear_programme(m, n):
    left, right = RNG.normal(size=(m, 6)), RNG.normal(1.0, 2.0, size=(n, 6))
    counts = [RNG.integers(1, 50, size) for size in (m, n)]
    ours = measure_distance.earth_movers(left, counts[0], right, counts[1])
    assert ours == pytest.approx(transport(left, counts[0], right, counts[1]), rel=1e-9)


def test_a_set_is_at_no_distance_from_itself_and_a_shift_is_its_length():
    points, counts = RNG.normal(size=(7, 4)), RNG.integers(1, 9, 7)
    order = RNG.permutation(7)
    assert measure_distance.earth_movers(points, counts, points[order], counts[order]) == pytest.approx(0, abs=1e-9)
    assert measure_distance.earth_movers(points, counts, points + np.array([3.0, 0, 4.0, 0]), counts) == pytest.approx(5.0)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the images `noise` and the source `src`, which is the current one."""
    folder = tmp_path_factory.mktemp("distance")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        kinds.prepare(folder)
        yield folder


@pytest.mark.parametrize("per_class", [None, 3])
def test_class_means_are_those_of_the_input_of_the_head(here, per_class):
    pretrained = sources.pretrained_of(sources.card_of("src"))
    found = class_means.class_means(pretrained, "noise", None, per_class)
    network, entered = pretrained.network(), []
    network.head.register_forward_hook(lambda module, inputs, output: entered.append(inputs[0]))
    x, y = sets.load("noise", "train")
    with torch.no_grad():
        network(torch.tensor(np.array(x)).permute(0, 3, 1, 2) / 255)
    for label in range(4):
        expected = entered[0][torch.tensor(np.flatnonzero(y == label)[:per_class])].mean(0)
        torch.testing.assert_close(found["means"][label].float(), expected, rtol=1e-4, atol=1e-5)
    assert found["counts"].tolist() == [10] * 4  # of all images, however many are looked at


def test_rare_classes_of_the_source_do_not_count_and_one_has_to_be_left(here):
    settings = MeasureDistanceSettings(sources=["src"], targets=["noise"], least=1)
    [run] = runs.measure_distance(settings, sources.card_of)
    wanted = means.means_of_model("src", run.number, run.how["per_class"])
    means._work(wanted)
    pretrained, stored = wanted.source, wanted.path
    values, _ = measure_distance.compute(run, pretrained, stored)
    assert values["emd"] == pytest.approx(0, abs=1e-6)  # its own data
    own, path = cells.arrays(means.KIND, wanted.key), here / "fewer.safetensors"
    save_file(own | {"counts": np.array([10, 10, 10, 2])}, path)
    [few] = runs.measure_distance(MeasureDistanceSettings(sources=["src"], targets=["noise"], least=5), sources.card_of)
    values, _ = measure_distance.compute(few, pretrained, path)
    expected = transport(own["means"][:3], np.array([10.0] * 3), own["means"], np.array([10.0] * 4))
    assert values["emd"] == pytest.approx(expected, rel=1e-6)
    [none] = runs.measure_distance(MeasureDistanceSettings(sources=["src"], targets=["noise"], least=11), sources.card_of)
    with pytest.raises(RunError, match="least is 11, and no class of src has so many images; allowed: 1 to 10"):
        measure_distance.compute(none, pretrained, path)
