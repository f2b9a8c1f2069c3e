"""Fine-tuning a batch of cells, from images, subsets and weights to accuracies. All of it is in their keys."""

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from torch import Tensor

from stages.lib.networks.devices import best_device
from stages.lib.networks.layers import cuts, nested
from stages.lib.runs.jobs import Batch
from stages.lib.runs.work import frozen as frozen_parts
from stages.lib.training import finetuning, views


def run(batch: Batch) -> list[tuple[list[dict[str, Any]], dict[str, Tensor]]]:
    """The result of each cell: its evaluated epochs; and what of its network is no longer the source's, which are the trained weights
    and all statistics."""
    job, first = batch.job, batch.requests[0].cell
    weights = frozen_parts.weights_of(job)
    inputs, chosen, held_out = inputs_of(batch)
    device, cells = best_device(job.mixed_precision), [request.cell for request in batch.requests]
    started = [finetuning.start(job.architecture, weights, job.classes, job.head_init, cell.seed, job.moments) for cell in cells]
    networks = [network.to(device) for network in started]
    parts = nested.cut(networks, [cell.blocks for cell in cells]) if batch.one_pass else [cuts.cut(each, first.blocks) for each in networks]
    runs = [
        finetuning.FineTuning(trained, rows, cell.seed, frozen, held)
        for cell, (frozen, trained), rows, held in zip(cells, parts, chosen, held_out, strict=True)
    ]
    rates = [cell.lr for cell in cells] if batch.one_pass else first.lr
    schedule = {"epochs": first.epochs, "eval_every": first.eval_every, "lr": rates, "one_pass": batch.one_pass}
    changed = {"augmentation": job.augmentation, "views": job.views_of(first.blocks)}
    view = replace(frozen_parts.view_of(job), **changed, fused=batch.fused and device.type == "cuda")
    evaluated = zip(*finetuning.finetune_together(runs, inputs, view=view, **schedule, **job.training), strict=True)
    results = [[asdict(row) for row in rows] for rows in evaluated]
    changed = [dict(network.named_buffers()) | run.network.state_dict() for network, run in zip(networks, runs, strict=True)]
    return list(zip(results, changed, strict=True))


def inputs_of(batch: Batch) -> tuple[finetuning.Inputs, list[np.ndarray], list[np.ndarray | None]]:
    """The data of a batch, activations where they are kept and images elsewhere; and for each cell the rows of the training data that it
    learns from, and those that are held out. Activations of views stand beside the images, which those that are held out are taken from."""
    (train_x, train_y), (test_x, test_y) = (frozen_parts.images_of(batch.job, split) for split in ("train", "test"))
    chosen, held_out = [request.subset for request in batch.requests], [request.held_out for request in batch.requests]
    with suppress(KeyError, FileNotFoundError):  # not kept, or removed or changed since
        test_x = batch.stored["test"].load()
    with suppress(KeyError, FileNotFoundError):
        stored = batch.stored["train"]
        if batch.job.views_of(batch.requests[0].cell.blocks):
            kept = views.Kept(stored.load(), stored.rows)
            return finetuning.Inputs(train_x, train_y, test_x, test_y, kept), chosen, held_out
        train_x, chosen = stored.load(), [stored.places(subset) for subset in chosen]
        held_out = [None if held is None else stored.places(held) for held in held_out]
        train_y = train_y if stored.rows is None else train_y[stored.rows]
    return finetuning.Inputs(train_x, train_y, test_x, test_y), chosen, held_out
