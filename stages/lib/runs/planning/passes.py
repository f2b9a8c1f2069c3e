"""How many images pass frozen parts: each once, where its activation is kept on disk or in memory, and else again and again."""

from dataclasses import dataclass

from stages.lib import machine
from stages.lib.runs.costs import Kind, Sizes


@dataclass(frozen=True)
class Needed:
    """An entry of activations that runs of a kind need, and how many images would pass without it."""

    kind: Kind
    held: int  # activations of the entry, of all views
    runs: list[tuple[int, int]]  # of each run: activations that it reads; images that pass where it cannot keep these in memory


@dataclass(frozen=True)
class Passes:
    """Passes through the frozen parts of a transfer, and what of their results is kept."""

    images: dict[Kind, int]  # that pass the frozen part
    held: float  # bytes on disk
    without_room: int  # runs that can keep activations neither on disk nor in memory
    anew: int  # images that these pass again and again


def count(needed: list[Needed], sizes: dict[Kind, Sizes], room: float) -> Passes:
    """Keep the smallest entries first, up to `room` bytes of disk; a run without its entry keeps activations in memory, up to a limit."""
    from stages.lib.networks import inference  # here, as torch takes seconds to import

    memory = inference.HELD_BYTES["cuda" if machine.gpus() else "cpu"]
    images: dict[Kind, int] = {}
    held, without_room, anew = 0.0, 0, 0
    for entry in sorted(needed, key=lambda entry: entry.held * sizes[entry.kind].activation):
        each = sizes[entry.kind].activation
        if held + entry.held * each <= room:
            held += entry.held * each
            passed = entry.held
        else:
            large = [again for once, again in entry.runs if once * each > memory]
            without_room, anew = without_room + len(large), anew + sum(large)
            passed = sum(large) + sum(once for once, _ in entry.runs if once * each <= memory)
        images[entry.kind] = images.get(entry.kind, 0) + passed
    return Passes(images, held, without_room, anew)
