"""How many images still stand against our attacks, and against those of Foolbox and of the Adversarial Robustness Toolbox, on the sources.

Run it with `python -m benchmarks.attacks`, after `make repro`; `--sources`, `--images` and `--only` make it shorter. Every source is
attacked on test images of its own data, in each norm at each radius of params.yaml. The suite compares the same attacks on small networks.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from stages.lib.attacks import attack as losses
from stages.lib.attacks import evaluation
from stages.lib.datasets import pixels
from stages.lib.datasets.pixels import CPU
from stages.lib.datasets.sets import card_of
from stages.lib.networks.devices import best_device
from stages.lib.norms.table import norm_of
from stages.lib.progress import bar
from stages.lib.runs.attacked import AttackedNetwork, networks_of
from stages.lib.runs.work.attacked import images_of, network_of
from stages.lib.settings import params
from stages.lib.workers.pool import Pool, settle_in

STEPS, RATIO = 20, 2.5
ALIKE = {"kind": "pgd", "steps": STEPS, "step_ratio": RATIO, "random_start": True}
OURS = {
    "PGD(20)": ALIKE,
    "PGD(20), margin": ALIKE | {"loss": "margin"},
    "APGD(20)": {"kind": "apgd", "steps": STEPS},
    "APGD(20), DLR": {"kind": "apgd", "steps": STEPS, "loss": "dlr"},
    "default": {"kind": "apgd_pgd", "steps": 20, "targets": 3, "restarts": 1},
    "stronger": {"kind": "apgd_pgd", "steps": 25, "targets": 9, "restarts": 2},
    "AutoAttack": {"kind": "autoattack"},
}


def foolbox_pgd(
    network: nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str, eps: float, loss: str, targeted: bool = False
) -> torch.Tensor:
    """Foolbox's PGD with a loss of ours, as it has the cross-entropy alone; y: labels, or where it is targeted those to reach."""
    import eagerpy
    import foolbox

    class Pgd({"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]):
        def get_loss_fn(self, model, labels):
            return lambda inputs: eagerpy.astensor(losses.loss_of(loss)(model(inputs).raw, labels.raw).sum())

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    aim = (foolbox.criteria.TargetedMisclassification if targeted else foolbox.criteria.Misclassification)(y)
    attack = Pgd(steps=STEPS, rel_stepsize=RATIO / STEPS, random_start=True)
    return attack.run(model, x, aim, epsilon=eps).detach()


def art_apgd(network: nn.Module, x: torch.Tensor, y: torch.Tensor, norm: str, eps: float, loss: str) -> torch.Tensor:
    """The toolbox's APGD from one start; loss: cross_entropy or dlr."""
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = network(x[:1]).shape[1]
    model = PyTorchClassifier(network, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0.0, 1.0), device_type="cpu")
    name = {"cross_entropy": "cross_entropy", "dlr": "difference_logits_ratio"}[loss]
    attack = AutoProjectedGradientDescent(model, norm=norm_of(norm).order, eps=eps, eps_step=2 * eps, max_iter=STEPS,
                                          nb_random_init=1, batch_size=len(x), loss_type=name, verbose=False)  # fmt: skip
    with np.errstate(all="ignore"):  # it divides by windows of zeros
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


THEIRS: dict[str, Callable[..., torch.Tensor]] = {
    "Foolbox PGD(20)": partial(foolbox_pgd, loss="cross_entropy"),
    "Foolbox PGD(20), margin": partial(foolbox_pgd, loss="margin"),
    "ART APGD(20)": partial(art_apgd, loss="cross_entropy"),
    "ART APGD(20), DLR": partial(art_apgd, loss="dlr"),
}
PAIRS = list(zip(list(OURS)[: len(THEIRS)], THEIRS, strict=True))


def left(task: tuple[AttackedNetwork, str, float, str, int]) -> float:
    """Percent of the images that still stand against one attack at one radius."""
    attacked, norm, eps, name, n = task
    torch.manual_seed(0)
    np.random.seed(0)  # of the toolbox
    device = CPU if name in THEIRS else best_device()
    network = network_of(attacked).to(device)
    x, y, _ = images_of(attacked, n)
    see = partial(pixels.prepare, device=device, size=card_of(attacked.dataset).image_size)
    perturb = (lambda *inputs: THEIRS[name](*inputs, norm, eps)) if name in THEIRS else evaluation.perturbation(OURS[name], norm, eps)
    standing = evaluation.predicted(network, x, see) == y
    return 100 * float(evaluation.withstood(network, x, y, standing, see=see, perturb=perturb).mean())


def main(names: list[str], sources: list[str] | None, n: int) -> None:
    settings = params.section("evaluate_robustness")
    networks = [one for source in sources or params.section("sources") for one in networks_of(source) if one.kind == "source"]
    places = [(one, norm, eps) for one in networks for norm in settings.norms for eps in settings.radii(norm) if eps]
    tasks = [(*place, name, n) for place in places for name in names]
    found: dict[tuple, float] = {}
    with Pool(settle_in, preload=[__name__]) as pool, bar(title="attacks", total=len(tasks), unit="attack") as progress:
        for (one, norm, eps, name, _), standing, error in pool.run_all(left, tasks):
            if error is not None:
                raise error
            found[one, norm, eps, name] = standing
            progress.update()
    print(f"Percent of {n} images that stand\n\n| source, threat model | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for one, norm, eps in places:
        cells = " | ".join(f"{found[one, norm, eps, name]:.1f}" for name in names)
        print(f"| {one.source.name}, {norm_of(norm).eps_text(eps)} | {cells} |")
    for ours, theirs in PAIRS:
        if {ours, theirs} <= set(names):
            gaps = [found[*place, ours] - found[*place, theirs] for place in places]
            print(f"\n{ours} minus {theirs}: {np.mean(gaps):+.2f} on average of {len(gaps)} rows, {min(gaps):+.1f} to {max(gaps):+.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*OURS, *THEIRS], default=[*OURS, *THEIRS], metavar="ATTACK")
    parser.add_argument("--sources", nargs="+")
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    main(arguments.only, arguments.sources, arguments.images)
