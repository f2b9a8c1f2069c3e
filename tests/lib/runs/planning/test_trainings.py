"""What a plan says of trainings: steps are those of the loop that trains, and time is counted from them."""

import pytest
import torch

from stages.lib.errors import RunError
from stages.lib.networks import devices, units
from stages.lib.runs import counts, pretraining
from stages.lib.runs.planning import measuring, trainings
from stages.lib.settings import params
from stages.studies import registry


class Here:
    """Workers that compute in this process."""

    processes = 2

    def run_all(self, run, tasks):
        for task in tasks:
            yield task, run(task), None


@pytest.fixture
def few(workspace):
    """Names of sources -> their trainings, of settings in which all that is counted differs."""

    def of(*names, **changed):
        workspace.edit("params.yaml", **{"source__epochs": 5, "source__batch_size": 10} | changed)
        settings = params.section("source")
        return [each for name in names for each in pretraining.trainings_of(name, params.source_entry(name), settings)]

    return of


@pytest.mark.parametrize(("source", "passes"), [
    ("natural", (1, 1)), ("l2_eps0_5", (1, 1 + 3)), ("pgd1_l2_eps0_5", (1, 1 + 1)), ("gaussian_l2_eps0_5", (1, 1)), ("free4_linf_eps8_255", (1, 1)),
])  # fmt: skip
def test_a_step_has_as_many_passes_as_in_training(few, source, passes, monkeypatch):
    """Of 9 steps: natural ones have one pass, PGD(k) k more, and free training one for each replay, which is a step by itself."""
    [training] = few(source, source__attack__steps=3, source__batch_size=measuring.FEW)
    seen = []
    build = units.build

    def counting(*args):
        network = build(*args)
        network.register_forward_hook(lambda *_: seen.append(1))
        return network

    def line(run):
        seen.clear()
        run(0)
        none = len(seen)
        run(8)
        return float(len(seen) - 2 * none), 0.0  # that 8 more steps take, in passes

    monkeypatch.setattr(units, "build", counting)
    monkeypatch.setattr(measuring, "line", line)
    assert trainings.rates_of(trainings.Kind(training, 16, 1)) == pytest.approx(tuple(8 * n for n in passes))


def test_models_are_trained_side_by_side_and_none_waits_for_the_last_of_its_source(few, monkeypatch):
    """20 steps in each of 5 epochs; of adversarial training the first tenth is natural."""
    asked = few("natural", "l2_eps0_5", source__n_models=3, source__attack__eps_hold=0.1)
    n = trainings.n_images(asked[0])
    steps = 5 * -(-n // 10)
    monkeypatch.setattr(trainings, "rates_of", lambda kind: (1.0, 4.0 if kind.perturbation else 1.0))
    adversarial = 0.1 + 0.9 * 4
    assert trainings.seconds(asked, 16, Here()) == pytest.approx(steps * (3 + 3 * adversarial) / 2), "three models each, two at a time"
    assert trainings.seconds(asked[:1], 16, Here()) == pytest.approx(steps)
    of_one_model = few("natural", "l2_eps0_5", source__n_models=1)
    assert trainings.seconds(of_one_model, 16, Here()) == pytest.approx(steps * adversarial), "both at once"
    one_by_one = few("natural", "l2_eps0_5", source__threads=2)
    assert trainings.seconds(one_by_one, 16, Here()) == pytest.approx(steps * (1 + adversarial)), "each on both cores"
    by_two = few("natural", source__n_models=3, source__processes=2)
    assert trainings.seconds(by_two, 16, Here()) == pytest.approx(3 * steps), "two processes share the cores"
    monkeypatch.setattr(trainings.machine, "gpus", lambda: 2)
    assert trainings.seconds(by_two, 16, Here()) == pytest.approx(3 * steps / 2), "or have a GPU each"


def test_kinds_that_cost_the_same_are_measured_once(few, monkeypatch):
    seen = []
    monkeypatch.setattr(trainings, "rates_of", lambda kind: seen.append(kind.what) or (1.0, 1.0))
    trainings.seconds(few("linf_eps8_255", "linf_eps4_255", "natural", source__threads=2), 16, Here())  # one at a time
    assert len(seen) == len(set(seen)) == 2


def test_images_are_those_of_the_part_and_a_set_that_does_not_say_is_named(few, workspace):
    whole, half = few("natural", "natural_half")
    assert trainings.n_images(half) == -(-trainings.n_images(whole) // 2)
    workspace.edit("data/catalog.yaml", mine={"kind": "folder", "path": "/nowhere"})
    with pytest.raises(RunError, match=r"^data/catalog\.yaml: mine does not say how many images it has"):
        trainings.n_images(few("natural", source__dataset="mine")[0])


def test_those_that_are_counted_are_of_all_models(workspace):
    workspace.edit("params.yaml", source__n_models=2)
    settings = registry.load_params()
    asked = counts.trainings(settings)
    assert [(each.source, each.number) for each in asked] == [("natural", 0), ("natural", 1), ("l2_eps0_5", 0), ("l2_eps0_5", 1)]


def test_a_process_has_its_threads_again_after_it_was_measured(few, monkeypatch):
    monkeypatch.setattr(measuring, "line", lambda run: (float(torch.get_num_threads()), 0.0))
    with devices.threads(torch.device("cpu"), 1):
        [training] = few("natural", source__batch_size=measuring.FEW)
        assert trainings.rates_of(trainings.Kind(training, 16, 2)) == (2.0, 2.0)
        assert torch.get_num_threads() == 1
