"""Schedules: the factor of the learning rate at a fraction of the training in [0, 1)."""


def one_cycle(progress: float, warmup: float) -> float:
    """Linear from 0 to 1 over the fraction `warmup` of the training, then linear to 0."""
    return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)


def stepwise(progress: float, decays: int) -> float:
    """A tenth after each of `decays` equal distances."""
    return 0.1 ** int(progress * (decays + 1))


def at_drops(progress: float, drops: list[float]) -> float:
    """A tenth after each of these fractions of the training."""
    return 0.1 ** sum(progress >= drop for drop in drops)
