"""For the teacher: hidden cases of a01, drawn anew for each secret, and wrong answers that must lose points."""

import numpy as np

SPLITS = ("Training", "PublicTest", "PrivateTest")
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


# ---- recover_splits
def cases_recover_splits(rng):
    """Arguments of each hidden case, by its name."""

    def path(folder, name):
        return f"{folder}/{rng.choice(EMOTIONS)}/{name}"

    def number():
        return int(rng.integers(1, 99999))

    mixed = [
        path("test" if split != "Training" else "train", f"{split}_{number()}.jpg")
        for split in SPLITS * 2
    ]
    foreign = [
        path("train", f"im{number()}.png"),
        *mixed[:3],
        path("test", f"Training{number()}.jpg"),
        path("test", f"my_PublicTest_{number()}.jpg"),
    ]
    folders = [f"Training_set/{split}_{number()}.jpg" for split in SPLITS]
    folders += [f"PublicTest_{number()}/im{number()}.png"]
    rng.shuffle(mixed)
    rng.shuffle(foreign)
    rng.shuffle(folders)
    return {
        "names of all three splits": (mixed,),
        "names that tell nothing": (foreign,),
        "folders that lie": (folders,),
    }


def recover_splits__by_folder(paths):
    """The folder test/ holds two splits."""
    return ["Training" if path.startswith("train") else "PublicTest" for path in paths]


def recover_splits__drops_the_unmatched(paths):
    """Shorter than the paths, so that labels no longer belong to their images."""
    names = [path.split("/")[-1].split("_")[0] for path in paths]
    return [name for name in names if name in ("Training", "PublicTest", "PrivateTest")]


def recover_splits__merges_the_tests(paths):
    """PublicTest and PrivateTest become one."""
    names = [path.split("/")[-1] for path in paths]
    return [
        "Training" if n.startswith("Training_") else "PublicTest" if "Test_" in n else None
        for n in names
    ]


def recover_splits__unmatched_are_training(paths):
    """A guess where nothing is known."""
    names = [path.split("/")[-1].split("_")[0] for path in paths]
    return [name if name in ("PublicTest", "PrivateTest") else "Training" for name in names]


def recover_splits__anywhere_in_the_path(paths):
    """Believes the folder Training_set."""
    splits = ("Training", "PublicTest", "PrivateTest")
    return [next((split for split in splits if split + "_" in path), None) for path in paths]


def recover_splits__anywhere_in_the_name(paths):
    """my_PublicTest_7.jpg does not begin with its split."""
    splits = ("Training", "PublicTest", "PrivateTest")
    names = [path.split("/")[-1] for path in paths]
    return [next((split for split in splits if split + "_" in name), None) for name in names]


def recover_splits__without_the_underscore(paths):
    """Training7.jpg passes for a name of the challenge."""
    splits = ("Training", "PublicTest", "PrivateTest")
    names = [path.split("/")[-1] for path in paths]
    return [next((split for split in splits if name.startswith(split)), None) for name in names]


def recover_splits__sorted(paths):
    """In the order of the names instead of the order given."""
    names = sorted(path.split("/")[-1] for path in paths)
    splits = ("Training", "PublicTest", "PrivateTest")
    return [
        next((split for split in splits if name.startswith(split + "_")), None) for name in names
    ]


# ---- find_twins
def cases_find_twins(rng):
    """Arguments of each hidden case, by its name."""

    def some(n):
        return rng.permutation(200)[: n * 4].reshape(n, 2, 2)

    train, others = some(12)[:6], some(6)
    test = others.copy()
    test[[1, 4]] = train[[5, 0]]  # never at the same position
    test[2] = train[3][::-1, ::-1]  # the same numbers, turned
    twice = np.concatenate([train[:3], train[:2], train[:2]])
    again = np.stack([train[1], others[0], train[1], train[0]])
    same_place = others.copy()
    same_place[3] = train[3]
    arrays = {
        "twins at other positions": (train, test, "uint8", "uint8"),
        "another type of number": (train, test, "uint8", "float64"),
        "images that stand there more than once": (twice, again, "int64", "uint8"),
        "no twin at all": (train, others + 300, "int64", "int64"),
        "at the same position": (train, same_place, "uint8", "int32"),
    }
    return {name: (a.tolist(), b.tolist(), *kinds) for name, (a, b, *kinds) in arrays.items()}


def find_twins__index_by_index(train, test):
    """Looks only at the same position."""
    return [i for i in range(min(len(train), len(test))) if (train[i] == test[i]).all()]


def find_twins__equal_means(train, test):
    """Other images can have the same mean."""
    means = {image.mean() for image in train}
    return [i for i, image in enumerate(test) if image.mean() in means]


def find_twins__counts_pairs(train, test):
    """A position for each pair, so that some come twice."""
    return [i for i in range(len(test)) for image in train if (image == test[i]).all()]


def find_twins__ignores_the_type(train, test):
    """The same numbers have other bytes as another type."""
    known = {image.tobytes() for image in train}
    return [i for i, image in enumerate(test) if image.tobytes() in known]


def find_twins__positions_in_train(train, test):
    """Where they stand in train, not in test."""
    known = {tuple(image.ravel().tolist()) for image in test}
    return [i for i, image in enumerate(train) if tuple(image.ravel().tolist()) in known]


def find_twins__any_pixel_alike(train, test):
    """One pixel in common makes no twin."""
    return [i for i in range(len(test)) if any((image == test[i]).any() for image in train)]


def find_twins__sorted_pixels(train, test):
    """The same pixels at other places are another image."""
    known = {tuple(sorted(image.ravel().tolist())) for image in train}
    return [i for i, image in enumerate(test) if tuple(sorted(image.ravel().tolist())) in known]


def find_twins__a_count(train, test):
    """How many, instead of which."""
    known = {tuple(image.ravel().tolist()) for image in train}
    return [sum(tuple(image.ravel().tolist()) in known for image in test)]


# ---- conflicting_groups
def cases_conflicting_groups(rng):
    """Arguments of each hidden case, by its name."""
    faces = rng.permutation(240)[:32].reshape(8, 2, 2)
    order = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 5, 5]
    first, second, third = (int(label) for label in rng.permutation(7)[:3])
    says = {
        "groups that agree and groups that do not": [first, first, second, third, third]
        + [first, second, third, first, second, third, second, first],
        "nobody disagrees": [first] * 3 + [second] * 2 + [third] * 4 + [first, second, third, third],
        "one voice against many": [first] * 3 + [second] * 2 + [third] * 3 + [first, second, third] + [second] * 2,
        "many of two": [second, third, second, first, second, second, second, second, second, first, first, third, third],
    }  # fmt: skip
    mixed = rng.permutation(len(order))
    return {
        name: (faces[order][mixed].tolist(), np.array(said)[mixed].tolist())
        for name, said in says.items()
    }


def conflicting_groups__counts_images(images, labels):
    """Images in conflict, not groups of them."""
    said = {}
    for image, label in zip(images, labels):
        said.setdefault(image.tobytes(), []).append(int(label))
    return sum(len(group) for group in said.values() if len(set(group)) > 1)


def conflicting_groups__counts_agreeing_twins(images, labels):
    """Every group of twins, those that agree as well."""
    said = {}
    for image, label in zip(images, labels):
        said.setdefault(image.tobytes(), []).append(int(label))
    return sum(len(group) > 1 for group in said.values())


def conflicting_groups__counts_pairs(images, labels):
    """Pairs that disagree: a group of three has up to three."""
    pairs = 0
    for i in range(len(images)):
        for j in range(i):
            pairs += (images[i] == images[j]).all() and labels[i] != labels[j]
    return int(pairs)


def conflicting_groups__only_neighbours(images, labels):
    """Twins need not stand side by side."""
    both = (images[1:] == images[:-1]).all((1, 2))
    return int((both & (labels[1:] != labels[:-1])).sum())


def conflicting_groups__counts_labels(images, labels):
    """Labels too many, not groups."""
    said = {}
    for image, label in zip(images, labels):
        said.setdefault(image.tobytes(), set()).add(int(label))
    return sum(len(group) - 1 for group in said.values())


def conflicting_groups__all_different(images, labels):
    """Happy, happy and sad is a conflict, too."""
    said = {}
    for image, label in zip(images, labels):
        said.setdefault(image.tobytes(), []).append(int(label))
    return sum(len(group) > 1 and len(set(group)) == len(group) for group in said.values())


def conflicting_groups__by_mean(images, labels):
    """Other images can have the same mean."""
    said = {}
    for image, label in zip(images, labels):
        said.setdefault(float(image.mean() // 40), set()).add(int(label))
    return sum(len(group) > 1 for group in said.values())


def conflicting_groups__the_last_label(images, labels):
    """Overwrites what was said before, so that nothing ever disagrees."""
    said = {image.tobytes(): int(label) for image, label in zip(images, labels)}
    return len(said) - len(set(said))
