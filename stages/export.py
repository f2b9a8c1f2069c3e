"""The best fine-tuned model of each target becomes a folder to take home: its weights, and a card that says all about it.

Reads reports/tables/ranking.csv, models/sources/, models/finetuned/, data/images/<target>/card.json, params.yaml: targets. Writes
models/best/<target>/: weights.safetensors and card.json. Source and number of blocks are those that the half of the subsets chooses
by which the report's answer chooses, too; where these have kept no weights, the next ones. Of several kept models it is the one of most
images, from the first seed: a single run is not chosen for its luck on the test images.
"""

import shutil
from pathlib import Path

from stages.lib import command
from stages.lib.datasets.sets import IMAGES
from stages.lib.models import kept
from stages.lib.networks import sources
from stages.lib.progress import log
from stages.lib.report.wording import block_text
from stages.lib.settings import params
from stages.lib.store import tables
from stages.lib.store.journal import execution

RANKING = Path("reports/tables/ranking.csv")


def main() -> None:
    targets, ranking = params.section("targets"), tables.read_table(RANKING, ["target", "source", "blocks"])
    compared = dict.fromkeys(ranking["source"])
    inputs = [RANKING, *map(sources.folder_of, compared), *map(tables.kept_weights, compared), *(IMAGES / name for name in targets)]
    with execution("export", settings={"targets": targets}, inputs=inputs, outputs=[kept.BEST]) as journal:
        kept.BEST.mkdir(parents=True, exist_ok=True)
        for left in set(kept.BEST.iterdir()) - {kept.BEST / target for target in targets}:
            shutil.rmtree(left)  # by an earlier run without DVC, which begins with an empty folder
        for target in targets:
            of_target = ranking.loc[ranking["target"] == target, ["source", "blocks"]].astype(str)
            ranked = list(of_target.itertuples(index=False, name=None))
            chosen = best_of(target, ranked)
            if chosen is None:
                log(f"export: {target}: no run has kept its weights, so there is no model to take home; finetune.keep says which do")
                shutil.rmtree(kept.BEST / target, ignore_errors=True)
                continue
            if (chosen.source, chosen.blocks) != ranked[0]:
                first = f"{block_text(ranked[0][1])} of {ranked[0][0]}"
                log(f"warning: export: {target}: {first} rank first and have kept no weights; finetune.keep says which do")
            card, weights = kept.tuned_model(chosen)
            kept.save(kept.BEST / target, card, weights)
            journal.metrics({f"{target}/test_accuracy": card.test_accuracy})
            log(f"export: {kept.BEST / target}: {card.title}: {card.test_accuracy:.1f} % of {card.n_test:,} test images")


def best_of(target: str, ranked: list[tuple[str, str]]) -> kept.Kept | None:
    """The kept model of the first source and number of blocks that has any: of most images, from the first seed."""
    for source, blocks in ranked:
        if models := [model for model in kept.kept_of(source, target) if model.blocks == blocks]:
            return max(models, key=lambda model: (model.n_images, -model.seed))
    return None


if __name__ == "__main__":
    command.run(main, __doc__)
