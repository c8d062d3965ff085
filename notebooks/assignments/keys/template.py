"""Key of the template: the hidden cases, and what a student may plausibly write. Students do not get this file.

`cases_f(rng)` gives the arguments of each hidden case of the function `f`, by the case's name. The expected answer is what
the solution says. `f__what_is_wrong` is a wrong answer, with a sentence on why it is wrong; each has to lose points.
"""

import numpy as np


# ---- top_k_accuracy
def cases_top_k_accuracy(rng):
    """Arguments of each hidden case, by its name."""

    def case(n, classes, k, whole=False):
        """Probabilities without ties, and labels at every place, so that few wrong answers come out right by luck."""
        numbers = np.stack([rng.permutation(classes) + 1.0 for _ in range(n)])
        probabilities = (numbers / numbers.sum(1, keepdims=True)).round(4)
        places = rng.permutation(np.arange(n) % classes)
        labels = np.argsort(-probabilities, axis=1)[np.arange(n), places]
        return probabilities.tolist(), labels.tolist(), k, whole

    return {
        "the likeliest class": case(23, 7, 1),
        "two of seven": case(25, 7, 2),
        "three of seven": case(31, 7, 3),
        "two of four": case(10, 4, 2),
        "one face": case(1, 5, 2),
        "all classes": case(6, 3, 3),
        "the inputs stay as they are": case(8, 6, 2, whole=True),
    }


def top_k_accuracy__the_likeliest_alone(probabilities, labels, k):
    """Looks at the first class, whatever k is."""
    return (probabilities.argmax(1) == labels).mean()


def top_k_accuracy__the_unlikeliest(probabilities, labels, k):
    """Sorts the wrong way: the k smallest."""
    return (np.argsort(probabilities, axis=1)[:, :k] == labels[:, None]).any(axis=1).mean()


def top_k_accuracy__one_too_many(probabilities, labels, k):
    """Takes k + 1 classes."""
    return (np.argsort(-probabilities, axis=1)[:, : k + 1] == labels[:, None]).any(axis=1).mean()


def top_k_accuracy__the_kth_alone(probabilities, labels, k):
    """The class at place k, in place of the classes up to it."""
    return (np.argsort(-probabilities, axis=1)[:, k - 1] == labels).mean()


def top_k_accuracy__a_count(probabilities, labels, k):
    """How many, in place of which share."""
    return (np.argsort(-probabilities, axis=1)[:, :k] == labels[:, None]).any(axis=1).sum()


def top_k_accuracy__share_of_all_places(probabilities, labels, k):
    """Divides by n times k."""
    return (np.argsort(-probabilities, axis=1)[:, :k] == labels[:, None]).mean()


def top_k_accuracy__over_faces(probabilities, labels, k):
    """Sorts over the faces, not over the classes of a face."""
    likeliest = np.argsort(-probabilities, axis=0)[:, :k]
    return (likeliest == labels[:, None]).any(axis=1).mean()


def top_k_accuracy__errors(probabilities, labels, k):
    """The share of the faces that are wrong."""
    return 1 - (np.argsort(-probabilities, axis=1)[:, :k] == labels[:, None]).any(axis=1).mean()


def top_k_accuracy__inputs_sorted(probabilities, labels, k):
    """Right, but the probabilities given are sorted in place."""
    rights = (np.argsort(-probabilities, axis=1)[:, :k] == labels[:, None]).any(axis=1).mean()
    probabilities.sort(axis=1)
    return rights
