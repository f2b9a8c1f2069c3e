"""Settings of attacks: those that robustness is measured with, and the perturbations that sources are trained on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.lib.norms.norm import Norm
from stages.lib.norms.table import NORMS
from stages.lib.settings.fields import Count, Positive, Real, Settings

NormName = Literal[*NORMS]


def radii_of(norm: Norm) -> object:
    """The type of a list of radii in a norm, each from 0 to the largest that has a meaning."""
    return list[Annotated[Real, Field(ge=0, le=norm.largest)]]


class Steps(Settings):
    """PGD(k) with step size alpha = c * eps / k (Utrera et al. 2021, A.2)."""

    steps: Count  # k
    step_ratio: Annotated[Real, Field(gt=1)]  # c; PGD(1) with a step of 6 within L2 3 is 2


# Attacks that robustness is measured with


class Fgsm(Settings):
    """One step over the whole radius (Goodfellow et al. 2015)."""

    kind: Literal["fgsm"]


class Pgd(Steps):
    """The worst point of the ball that k steps find (Madry et al. 2018)."""

    kind: Literal["pgd"]
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    random_start: bool = True
    restarts: Count = 1
    target: Literal["least_likely", "random"] | None = None

    @model_validator(mode="after")
    def _starts_differ(self) -> "Pgd":
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts of 1 where random_start is false, as every start is the same")
        return self


class RandomSearch(Settings):
    """Squares at random, kept where they bring another class nearer: it sees logits alone (Andriushchenko et al. 2020)."""

    kind: Literal["random_search"]
    queries: Count


class Apgd(Settings):
    """APGD: ascent that halves its step where the loss no longer rises (Croce & Hein 2020)."""

    kind: Literal["apgd"]
    loss: Literal["cross_entropy", "dlr"] = "cross_entropy"  # dlr: the difference of logits ratio
    steps: Count = 100
    restarts: Count = 1


class Targeted(Settings):
    """An attack towards each of several targets; the numbers are those of the standard AutoAttack."""

    steps: Count = 100
    targets: Count = 9
    restarts: Count = 1


class ApgdTargeted(Targeted):
    """APGD-T: APGD towards a target, on the targeted difference of logits ratio."""

    kind: Literal["apgd_targeted"]


class FabTargeted(Targeted):
    """FAB-T: the smallest change that gives the label of a target (Croce & Hein 2020b)."""

    kind: Literal["fab_targeted"]


class Square(Settings):
    """The Square Attack, which sees logits alone, with its published schedule (Andriushchenko et al. 2020)."""

    kind: Literal["square"]
    queries: Count = 5000


class AutoAttack(Settings):
    """The standard AutoAttack: APGD-CE, APGD-T, FAB-T and Square; with other numbers than these it is not the standard."""

    kind: Literal["autoattack"]
    steps: Count = 100
    targets: Count = 9
    queries: Count = 5000


class ApgdPgd(Settings):
    """APGD-CE, APGD-T and then PGD on the margin, each on the images that stand against those before it."""

    kind: Literal["apgd_pgd"]
    steps: Count = 20
    targets: Count = 9
    restarts: Count = 2  # of PGD
    from_largest: bool = True  # an image that stands at a radius is not attacked at smaller ones, where it counts as standing


AnyAttack = Annotated[
    Fgsm | Pgd | RandomSearch | Apgd | ApgdTargeted | FabTargeted | Square | AutoAttack | ApgdPgd, Field(discriminator="kind")
]


# Perturbations that sources are trained on


class TrainingPgd(Steps):
    """The worst point of the ball that k steps find, from its centre or from a random point."""

    kind: Literal["pgd"]
    random_start: bool = False


class Gaussian(Settings):
    """A random point: normal noise, projected on the ball (Utrera et al. 2021, A.10)."""

    kind: Literal["gaussian"]
    std: Positive  # of a pixel, in [0, 1] units


class Free(Settings):
    """The gradient of each training step moves the images as well, which are trained on `replay` times (Shafahi et al. 2019b)."""

    kind: Literal["free"]
    replay: Count  # m


AnyPerturbation = Annotated[TrainingPgd | Gaussian | Free, Field(discriminator="kind")]
