"""What the runs of `detect` cost: kinds are told apart by what decides it, and their loops are the ones that are measured."""

import numpy as np
import pytest
from detection import SECTION, TASK

from stages import plan
from stages.lib.runs import costs
from stages.lib.runs.planning import measuring
from stages.lib.runs.transfers import expected_card
from stages.studies import registry
from stages.studies.salman2020.detection import cost


class Here:
    """Workers that are this process."""

    processes = 2

    def run_all(self, function, tasks):
        return ((task, function(task), None) for task in tasks)


@pytest.fixture
def runs(workspace):
    workspace.edit("params.yaml", experiments=["detect"], detect=SECTION, datasets=["glyphs", "digits", "scenes"])
    return plan.runs_of(registry.load_params())["detect"]


def test_runs_of_one_architecture_and_task_are_of_one_kind(runs):
    assert [run.source for run in runs] == ["natural", "l2_eps0_5", "random"] * 2
    kinds = [cost.kind_of(run, expected_card) for run in runs]
    assert kinds[0] == kinds[1] != kinds[2], "a source without pre-training is trained whole"
    assert kinds[0] != kinds[3], "masks are another task"
    assert kinds[3].how == {name: value for name, value in TASK.items() if name != "dataset"}


def test_seconds_are_iterations_and_tests_of_all_runs(runs, monkeypatch):
    monkeypatch.setattr(cost, "rates_of", lambda kind: (2.0, 0.5) if kind.pretrained else (3.0, 0.25))
    assert cost.seconds(runs, expected_card, Here()) == pytest.approx(4 * (3 * 2.0 + 4 * 0.5) + 2 * (3 * 3.0 + 4 * 0.25))


def test_the_loops_themselves_are_measured_and_give_no_loss_that_ends_them(runs, monkeypatch):
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    losses = []
    from stages.studies.salman2020.experiments import detect

    def fit(*given):
        losses.append(whole(*given))
        return losses[-1]

    whole = detect.fit
    monkeypatch.setattr(detect, "fit", fit)
    per_iteration, per_test = cost.rates_of(cost.kind_of(runs[3], expected_card))
    assert min(per_iteration, per_test) >= 0
    assert losses
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(("alone", "expected"), [(0.01, 0.04), (2.0, 8.0)])
def test_where_an_image_takes_long_a_batch_takes_as_many_times_that(alone, expected, monkeypatch):
    seen = []
    monkeypatch.setattr(measuring, "line", lambda run: (run(1), 0.0))

    def train(iterations, batch_size):
        seen.append(batch_size)
        return alone * batch_size

    assert measuring.step(train, 4) == pytest.approx(expected)
    assert max(seen) == (4 if alone < measuring.SECONDS else 1)


def test_the_plan_has_their_time_and_says_no_more_that_it_lacks(runs, workspace):
    settings = registry.load_params()
    pairs = [plan.pair_of(settings, source, target) for source in settings.sources for target in settings.targets]
    done = {kind for pair in pairs for kind in pair.work}
    rates = dict.fromkeys(done, costs.Rates(0, 0, 1e-12, 1e-12, 0))
    said = "\n".join(plan.report("p", settings, pairs, plan.beside_of(settings), plan.Speed(rates, 2, 0.0, {"detect": 120.0})))
    assert "detect 2.0 min)" in said
    assert "time   2.0 min on this machine" in said
    assert "6 of detect, of which 0 are done" in said
    assert "of detect" not in said.partition("not in it")[2]
    assert len(plan.beside_of(settings)["detect"].lacking) == len(runs)
