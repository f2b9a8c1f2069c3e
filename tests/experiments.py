"""The experiments of Shafahi et al. (2020), small enough to run in a test."""

import json

from repository import Repository

MEASURED = {
    "norm": "linf", "eps": 8 / 255, "max_images": 16,
    "attacks": {"pgd20": {"kind": "pgd", "steps": 2, "step_ratio": 5.0}, "cw20": {"kind": "pgd", "loss": "margin", "steps": 2, "step_ratio": 5.0}},
}  # fmt: skip
TINY = {"steps": 6, "batch_size": 16, "lr": 0.05}
ON_DIGITS = {"sources": ["l2_eps0_5"], "targets": ["digits"], "measured": MEASURED}
SECTIONS = {
    "retrain": {"sources": ["l2_eps0_5"], "measured": MEASURED, "k": [1, 10], "n_seeds": 2, "training": TINY},
    "train_heads": ON_DIGITS | {
        "hidden": [0, 2], "kinds": {"plain": {}, "regularised": {"dropout": 0.25, "batchnorm": True}}, "n_seeds": 2,
        "training": {"steps": 40, "batch_size": 32, "lr": 0.05}, "gradients": 3,
    },
    "harden": ON_DIGITS | {
        "n_per_class": [2, 4], "n_seeds": 1, "attack": {"norm": "linf", "eps": 8 / 255, "steps": 2, "step_ratio": 1.8, "replay": None},
        "from_scratch": TINY, "adversarial_finetuning": TINY, "natural_head": TINY, "pieces": 1,
    },
    "learn_without_forgetting": ON_DIGITS | {
        "lambda_d": [0, 1.0], "n_seeds": 1, "histogram_images": 20, "ways": {"written": {
            "distance": "l2", "batchnorm": "fixed", "warm_start": 0.5, "training": {"steps": 12, "batch_size": 16, "lr": 0.02, "drops": [0.5]},
        }},
    },
}  # fmt: skip


def turn_on(repository: Repository, *names: str, **changes: object) -> None:
    """Write the sections of these experiments into params.yaml, then change nested keys of them.

    Through JSON, so that no two sections share a part, which YAML would write as an alias.
    """
    repository.edit("params.yaml", experiments=list(names), **{name: json.loads(json.dumps(SECTIONS[name])) for name in names})
    repository.edit("params.yaml", **changes)
