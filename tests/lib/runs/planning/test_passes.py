"""Passes through frozen parts, and the operations of runs, of a few numbers that are counted by hand."""

from dataclasses import replace

import pytest

from stages.lib.networks import inference
from stages.lib.networks.layers import operations as of_networks
from stages.lib.runs import costs
from stages.lib.runs.planning import operations, passes
from stages.lib.runs.planning.passes import Needed

BOTH = frozenset({"train", "test"})
KIND = costs.Kind("small_resnet", (1,), "none", False, False, 16, 16, False, None, 32, "source", BOTH, BOTH, 8)
HEAD = replace(KIND, at_once=(0,))
SIZES = {KIND: costs.Sizes(1000, 0, 0), HEAD: costs.Sizes(10, 0, 0)}


@pytest.fixture(autouse=True)
def _memory(monkeypatch):
    monkeypatch.setattr(passes.machine, "gpus", lambda: 0)
    monkeypatch.setitem(inference.HELD_BYTES, "cpu", 250_000)


def test_the_smallest_entries_are_kept_on_disk_and_pass_once():
    found = passes.count([Needed(KIND, 80, [(40, 500)]), Needed(HEAD, 80, [(40, 500), (40, 500)])], SIZES, 80_800)
    assert found == passes.Passes({HEAD: 80, KIND: 80}, 80_800, 0, 0)


def test_without_disk_a_run_passes_once_where_memory_has_room_and_anew_where_it_has_not():
    needed = [Needed(KIND, 8000, [(240, 3000), (250, 3100), (260, 3200), (800, 9000)]), Needed(HEAD, 800, [(40, 500)])]
    found = passes.count(needed, SIZES, 8_000)
    assert found == passes.Passes({HEAD: 800, KIND: 240 + 250 + 3200 + 9000}, 8_000, 2, 3200 + 9000)


@pytest.mark.parametrize(
    ("fixed", "again"), [(BOTH, 0), (frozenset({"test"}), 700), (frozenset(), 700 + 90)], ids=["kept", "augmented anew", "as released"]
)
def test_operations_are_those_of_steps_tests_and_passes(fixed, again):
    kind = replace(KIND, fixed_within_a_run=fixed)
    frozen, trained = of_networks.of_parts("small_resnet", 1, 16)
    assert trained > 0 < frozen
    work = {kind: costs.Work(runs=3, trained=700, tested=90, frozen=5)}
    found = operations.of_runs(work, [passes.Passes({kind: 60}, 0.0, 0, 0), passes.Passes({kind: 4}, 0.0, 0, 0)])
    own = (3 * 700 + 90) * trained
    assert found == (2 * (own + (again + 5 + 64) * frozen), 2 * (own + 790 * frozen))
    assert operations.seconds(989e12) == 2.0


def test_of_runs_that_share_a_pass_the_longest_frozen_part_is_counted_once():
    kind = replace(KIND, at_once=(1, 0, 2), frozen_batchnorm="batch", fixed_within_a_run=frozenset(), fixed_in_all_runs=frozenset())
    parts = {blocks: of_networks.of_parts("small_resnet", blocks, 16) for blocks in (0, 1, 2)}
    work = {kind: costs.Work(runs=3, trained=3 * 700, tested=3 * 90)}  # images of all three runs
    kept, anew = operations.of_runs(work, [])
    own = sum((3 * 700 + 90) * trained for _, trained in parts.values())
    assert kept == pytest.approx(2 * (own + (700 + 90) * parts[0][0]))
    assert anew == pytest.approx(2 * (own + (700 + 90) * sum(frozen for frozen, _ in parts.values())))
