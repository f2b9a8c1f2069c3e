"""How well a representation separates classes: the accuracy of nearest neighbours, and a map in two dimensions."""

import numpy as np

METHOD = {"init": "pca", "learning_rate": "auto"}  # of t-SNE, whose first map is then no random one


def nearest(known: np.ndarray, labels: np.ndarray, z: np.ndarray, k: int) -> np.ndarray:
    """The commonest class among the k nearest neighbours of each representation: int64 [n]; it does not change with the scale of z.

    Args:
        known, labels: float [m, width] and int64 [m], among which the neighbours are.
        z: float [n, width].
        k: at most m.
    """
    from sklearn.neighbors import KNeighborsClassifier  # here, as it takes a second to import

    return KNeighborsClassifier(k, algorithm="brute").fit(known, labels).predict(z)


def map_of(z: np.ndarray, perplexity: float, seed: int = 0) -> np.ndarray:
    """t-SNE of representations, float [n, width] to float32 [n, 2] (van der Maaten & Hinton 2008; Terzi et al. 2021, Figure 6).

    Args:
        perplexity: below n.
    """
    from sklearn.manifold import TSNE  # here, as it takes a second to import

    return TSNE(perplexity=perplexity, random_state=seed, **METHOD).fit_transform(z.astype(np.float32))
