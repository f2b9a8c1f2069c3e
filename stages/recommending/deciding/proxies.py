"""Scores of features without fine-tuning: k-nearest neighbours, a linear head, LogME and the H-score.

Renggli et al. (2022), "Which model to transfer?", and Agostinelli et al. (2022), "How stable are transferability metrics evaluations?",
find that none of them ranks sources reliably; here the first two only decide which sources are fine-tuned first.
"""

import numpy as np

NEIGHBOURS = 5
RIDGES = 10.0 ** np.arange(-3, 4)  # of which a held-out image by image chooses, in units of the mean square of a feature
STEPS, CLOSE = 100, 1e-4  # of LogME's fixed point


def standardised(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Features with the mean 0 and one scale, both of the training images: float64 [n, features]."""
    train = train.astype(np.float64)
    mean, scale = train.mean(0), np.sqrt(np.mean((train - train.mean(0)) ** 2)) or 1.0
    return [(x - mean) / scale for x in (train, *others)]


def neighbours(train: np.ndarray, y: np.ndarray, test: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """The class of each test image by a vote of the k nearest training images, by the cosine of their features; of equal votes the nearer.

    Args:
        train, test: float [n, features], centred as `standardised` does it.
    """
    from sklearn.neighbors import KNeighborsClassifier  # here, as it takes a second to import

    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (train, test))
    return KNeighborsClassifier(min(k, len(a)), weights=_nearer_first, algorithm="brute").fit(a, y).predict(b)


def _nearer_first(distances: np.ndarray) -> np.ndarray:
    """A vote each, and a little more for the nearer; of rows of length 1 the cosine is 1 - distance^2 / 2."""
    return 1 + 1e-6 * (1 - distances**2 / 2)


def linear(train: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The class of each test image by a ridge regression on the classes, whose penalty leaving out one training image at a time chooses."""
    from sklearn.linear_model import RidgeClassifierCV  # here, as it takes a second to import

    unit = np.mean(np.linalg.svd(train - train.mean(0), compute_uv=False) ** 2)
    return RidgeClassifierCV(RIDGES * unit).fit(train, y).predict(test)


def log_me(features: np.ndarray, y: np.ndarray) -> float:
    """The logarithm of the maximum evidence of a Bayesian linear model of the labels, per image, mean over classes (You et al. 2021)."""
    f = features.astype(np.float64)
    n, d = f.shape
    u, s, _ = np.linalg.svd(f, full_matrices=False)
    s2, evidences = s**2, []
    for k in range(int(y.max()) + 1):
        target = (y == k).astype(np.float64)
        z2 = (u.T @ target) ** 2
        rest = max(float(target @ target - z2.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(STEPS):
            ratio = alpha / beta
            gamma = float(np.sum(s2 / (s2 + ratio)))
            m2 = float(np.sum(s2 * z2 / (s2 + ratio) ** 2))
            residual = float(np.sum(z2 / (1 + s2 / ratio) ** 2)) + rest
            alpha, beta = gamma / max(m2, 1e-12), (n - gamma) / max(residual, 1e-12)
            if abs(alpha / beta - ratio) <= CLOSE * ratio:
                break
        ratio = alpha / beta
        m2 = float(np.sum(s2 * z2 / (s2 + ratio) ** 2))
        residual = float(np.sum(z2 / (1 + s2 / ratio) ** 2)) + rest
        log_determinant = float(np.sum(np.log(alpha + beta * s2))) + (d - len(s2)) * np.log(alpha)
        evidence = n * np.log(beta) + d * np.log(alpha) - n * np.log(2 * np.pi) - beta * residual - alpha * m2 - log_determinant
        evidences.append(evidence / (2 * n))
    return float(np.mean(evidences))


def h_score(features: np.ndarray, y: np.ndarray) -> float:
    """The trace of the inverse covariance times the covariance between classes (Bao et al. 2019), shrunk as Ibrahim et al. (2022) do.

    The shrinkage is that of Ledoit and Wolf (2004) towards a multiple of the identity.
    """
    f = features.astype(np.float64) - features.mean(0)
    n, d = f.shape
    _, s, vt = np.linalg.svd(f, full_matrices=False)
    scale = float(np.sum(s**2)) / (n * d)
    spread = float(np.sum((s**2 / n) ** 2)) / d - scale**2
    noise = (float(np.mean(np.sum(f**2, 1) ** 2)) - float(np.sum((s**2 / n) ** 2))) / (n * d)
    amount = min(1.0, max(0.0, noise / spread)) if spread > 0 else 1.0
    means = np.stack([f[y == k].mean(0) if np.any(y == k) else np.zeros(d) for k in range(int(y.max()) + 1)])[y]
    shrunk = (1 - amount) * s**2 / n + amount * scale
    return (1 - amount) * float(np.sum(np.mean((means @ vt.T) ** 2, 0) / np.maximum(shrunk, 1e-12)))  # class means lie in the span of f
