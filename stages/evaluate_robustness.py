"""Accuracy under attack against eps, image by image: of a source on its own data, and of networks fine-tuned from it.

Reads models/sources/, models/finetuned/<source>/weights/, data/images/ of targets and source data, params.yaml: evaluate_robustness,
and sources, among which the checks look for a network whose adversarial examples they try. Writes models/robustness/<source>/:
robustness.parquet, a row for each network, attack, norm and eps, images.parquet, the same of each image, checks.parquet, whether these
figures can be trusted, and examples.npz, images before and after the first attack of each norm, at its largest eps, of the source and
of one network of each target.
"""

from importlib import import_module
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from stages.lib import command
from stages.lib.datasets.sets import IMAGES
from stages.lib.networks import sources
from stages.lib.runs import experiments, missing
from stages.lib.runs.attacked import CHECKING, WORK, AttackedNetwork, Evaluation, evaluations_of, networks_of
from stages.lib.settings import params
from stages.lib.store import cells, files
from stages.lib.store.journal import Journal, execution
from stages.lib.store.tables import ATTACKED, CHECKS, PER_IMAGE, WORST, kept_weights, robustness


def main(source: str) -> None:
    settings, compared, out = params.section("evaluate_robustness"), params.section("sources"), robustness(source)
    networks = networks_of(source)
    inputs = [sources.folder_of(source), kept_weights(source), *(IMAGES / name for name in dict.fromkeys(n.dataset for n in networks))]
    with execution("evaluate_robustness", source, settings=settings.model_dump(), inputs=inputs, outputs=[out]) as journal:
        journal.params({"source": source})
        evaluations = evaluations_of(networks, settings.norms, settings, compared)
        missing.compute(
            f"evaluate_robustness@{source}", "robustness", {asked.key: asked for asked in evaluations}, compute, unit="attack",
            settings=params.section("grid"), preload=list(WORK.values()), inputs=lambda: open_inputs(evaluations),
        )  # fmt: skip
        save(out, evaluations, journal)


def open_inputs(evaluations: list[Evaluation]) -> None:
    """Compare what the attacks read with the hashes in their keys, once, before workers read it."""
    networks, others = [asked.network for asked in evaluations], [asked.other for asked in evaluations if asked.other]
    experiments.open_inputs([one.source for one in [*networks, *others]], [network.dataset for network in networks])


def compute(asked: Evaluation) -> None:
    """In a worker: compute an attack or the checks of one, and keep the result."""
    cells.save("robustness", asked.key, *import_module(asked.module).compute(asked))


def save(out: Path, evaluations: list[Evaluation], journal: Journal) -> None:
    """Write the tables, and pictures of the source and of the first network of each target."""
    rows, images, checks, pictures = [], [], [], {}
    for (network, norm), group in groupby(evaluations, key=lambda asked: (asked.network, asked.norm)):
        asked = list(group)
        arrays = {one.name: cells.arrays("robustness", one.key) for one in asked if one.name != CHECKING}
        standing, tested = ({name: of_attack.pop(key) for name, of_attack in arrays.items()} for key in ("standing", "tested"))
        places = next(iter(tested.values()))  # the same for all attacks
        standing[WORST] = np.logical_and.reduce(list(standing.values()))
        for attack, stood in standing.items():
            for eps, correct in zip(asked[0].radii, stood, strict=True):
                where = network.columns | {"attack": attack, "norm": norm, "eps": eps}
                rows.append(where | {"accuracy": 100 * correct.mean(), "n_test": len(correct)})
                images.append(pd.DataFrame(where | {"image": places, "correct": correct}))
        checks += [network.columns | {"norm": norm} | check for one in asked if one.name == CHECKING
                   for check in cells.load("robustness", one.key)["checks"]]  # fmt: skip
        for name, array in next(iter(arrays.values())).items():
            pictures[f"{picture_of(network)}_{norm}_{name}"] = array
        journal.metrics({f"{picture_of(network)}/clean_accuracy": 100 * standing[WORST][0].mean()})
    write(out / "robustness.parquet", pd.DataFrame(rows), ATTACKED)
    write(out / "images.parquet", pd.concat(images, ignore_index=True) if images else pd.DataFrame(), PER_IMAGE)
    write(out / "checks.parquet", pd.DataFrame(checks).rename(columns={"name": "check"}), CHECKS)
    files.write_npz(out / "examples.npz", pictures)


def picture_of(network: AttackedNetwork) -> str:
    """The name of a network in examples.npz: `source`, or `finetuned_<target>`."""
    return "source" if network.kind == "source" else f"finetuned_{network.dataset}"


def write(path: Path, table: pd.DataFrame, columns: dict[str, str]) -> None:
    files.write_parquet(path, table.reindex(columns=[*columns]).astype(columns))


if __name__ == "__main__":
    command.run(main, __doc__, "source")
