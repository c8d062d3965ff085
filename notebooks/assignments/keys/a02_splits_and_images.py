"""For the teacher: hidden cases of a02, drawn anew for each secret, and wrong answers that must lose points."""

import numpy as np

CSV = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FOLDERS = tuple(sorted(CSV))


# ---- remap_labels
def cases_remap_labels(rng):
    """Arguments of each hidden case, by its name."""

    def every(n, more=5):
        """All labels below n at least once, in any order."""
        return rng.permutation([*range(n), *rng.integers(0, n, more)]).tolist()

    def shuffled(names):
        return [names[k] for k in rng.permutation(len(names))]

    few = rng.permutation(7)[:3]
    some = shuffled(CSV)[:5]
    return {
        "from the folders to the CSV": (every(7), FOLDERS, CSV, False),
        "from the CSV to the folders": (every(7), CSV, FOLDERS, False),
        "names in any order": (every(7), shuffled(CSV), shuffled(CSV), False),
        "more names in the new list": (
            every(5),
            some,
            shuffled([*some, "contempt", "other"]),
            False,
        ),
        "only a few of the labels": (rng.choice(few, 6).tolist(), FOLDERS, shuffled(CSV), False),
        "the labels given stay as they are": (every(7), FOLDERS, CSV, True),
    }


def remap_labels__inverse_permutation(labels, old, new):
    """The way back: from numbers of the new list to those of the old one."""
    return np.array([old.index(name) for name in new])[labels]


def remap_labels__argsort(labels, old, new):
    """The order that would sort the old names: again the way back, and for an alphabetical list only."""
    return np.argsort(old)[labels]


def remap_labels__takes_new_for_the_alphabet(labels, old, new):
    """Right where the new list is in alphabetical order."""
    return np.argsort(np.argsort(old))[labels]


def remap_labels__by_position(labels, old, new):
    """A number stays a number, whatever it means."""
    return labels.copy()


def remap_labels__one_after_another(labels, old, new):
    """What was replaced once is replaced again when its new number has its turn."""
    remapped = labels.copy()
    for number, name in enumerate(old):
        remapped[remapped == number] = new.index(name)
    return remapped


def remap_labels__in_place(labels, old, new):
    """Right, but the labels given are overwritten."""
    labels[:] = [new.index(old[label]) for label in labels]
    return labels


def remap_labels__classes_inferred(labels, old, new):
    """Counts only the names that occur among these labels."""
    present = sorted({old[label] for label in labels}, key=new.index)
    return np.array([present.index(old[label]) for label in labels])


def remap_labels__learned_by_heart(labels, old, new):
    """Knows the way from the folders to the CSV and no other."""
    return np.array([0, 1, 2, 3, 6, 4, 5])[labels]


def remap_labels__names(labels, old, new):
    """The names instead of their numbers."""
    return [old[label] for label in labels]


def remap_labels__swaps_the_lists(labels, old, new):
    """Reads the labels as numbers of the new list."""
    return np.array([old.index(new[label]) if new[label] in old else -1 for label in labels])


# ---- channel_stats
def cases_channel_stats(rng):
    """Arguments of each hidden case, by its name."""

    def batch(splits, channels, low=0, high=256):
        pixels = rng.integers(low, high, (len(splits), 3, 2, channels))
        return pixels.tolist(), list(splits)

    train, public, private = "Training", "PublicTest", "PrivateTest"
    return {
        "colour": ([batch([train] * 3, 3), batch([train], 3, 0, 90)],),
        "gray": ([batch([train] * 4, 1), batch([train, train], 1, 120)],),
        "bright tests": (
            [
                batch([train, public, train, private], 3, 0, 120),
                batch([private, public, train], 3, 130),
            ],
        ),
        "a dark small batch": ([batch([train] * 5, 1, 180), batch([train, public], 1, 0, 60)],),
        "a batch without Training": (
            [
                batch([public] * 2, 3),
                batch([train] * 2, 3, 0, 150),
                batch([private], 3, 100),
                batch([train], 3),
            ],
        ),
    }


def channel_stats__uses_the_test(batches):
    """All images, whatever their split."""
    pixels = (
        np.concatenate([images.reshape(-1, images.shape[-1]) for images, splits in batches]) / 255
    )
    return pixels.mean(0), pixels.std(0)


def channel_stats__all_but_the_private_test(batches):
    """PublicTest is a test, too."""
    chosen = [images[splits != "PrivateTest"] for images, splits in batches]
    pixels = np.concatenate([part.reshape(-1, part.shape[-1]) for part in chosen]) / 255
    return pixels.mean(0), pixels.std(0)


def channel_stats__mean_of_batch_sds(batches):
    """Leaves out how the batches differ, and lets a small batch count as much as a large one."""
    chosen = [images[splits == "Training"] / 255 for images, splits in batches]
    chosen = [part for part in chosen if len(part)]
    pixels = np.concatenate([part.reshape(-1, part.shape[-1]) for part in chosen])
    return pixels.mean(0), np.mean([part.std((0, 1, 2)) for part in chosen], axis=0)


def channel_stats__mean_of_batch_means(batches):
    """A pixel of a small batch counts more than one of a large batch."""
    chosen = [images[splits == "Training"] / 255 for images, splits in batches]
    chosen = [part for part in chosen if len(part)]
    pixels = np.concatenate([part.reshape(-1, part.shape[-1]) for part in chosen])
    return np.mean([part.mean((0, 1, 2)) for part in chosen], axis=0), pixels.std(0)


def channel_stats__mean_of_image_sds(batches):
    """Leaves out how the images differ in brightness."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches]) / 255
    return images.mean((0, 1, 2)), images.std((1, 2)).mean(0)


def channel_stats__not_divided_by_255(batches):
    """On the scale from 0 to 255."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches])
    return images.mean((0, 1, 2)), images.std((0, 1, 2))


def channel_stats__sd_not_divided_by_255(batches):
    """Divides the mean by 255 and forgets the sd."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches])
    return images.mean((0, 1, 2)) / 255, images.std((0, 1, 2))


def channel_stats__all_channels_together(batches):
    """One mean and one sd of all channels, and for all."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches]) / 255
    channels = images.shape[-1]
    return np.full(channels, images.mean()), np.full(channels, images.std())


def channel_stats__channels_first(batches):
    """Takes the images for (n, channels, height, width), as torch has them."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches]) / 255
    return images.mean((0, 2, 3)), images.std((0, 2, 3))


def channel_stats__n_minus_1(batches):
    """Divides by one pixel less, as torch's std does."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches]) / 255
    return images.mean((0, 1, 2)), images.std((0, 1, 2), ddof=1)


def channel_stats__variance(batches):
    """A variance: its root is missing."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches]) / 255
    return images.mean((0, 1, 2)), images.var((0, 1, 2))


def channel_stats__squares_as_uint8(batches):
    """The squares of 8-bit numbers do not fit into 8 bits."""
    images = np.concatenate([images[splits == "Training"] for images, splits in batches])
    mean, square = images.mean((0, 1, 2)), (images**2).mean((0, 1, 2))
    return mean / 255, np.sqrt(np.abs(square - mean**2)) / 255


def channel_stats__the_first_batch(batches):
    """One batch is not the dataset."""
    images, splits = next(pair for pair in batches if (pair[1] == "Training").any())
    pixels = images[splits == "Training"] / 255
    return pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))


# ---- straddling_identities
def cases_straddling_identities(rng):
    """Arguments of each hidden case, by its name."""
    train, public, private = "Training", "PublicTest", "PrivateTest"

    def case(*wheres, unknown=()):
        """A person of a drawn number for each list of splits, an image a split, in any order."""
        numbers = rng.permutation(np.arange(2, 60))[: len(wheres)].tolist()
        pairs = [(number, split) for number, where in zip(numbers, wheres) for split in where]
        pairs += [(-1, split) for split in unknown]
        pairs = [pairs[k] for k in rng.permutation(len(pairs))]
        return [number for number, _ in pairs], [split for _, split in pairs]

    alone = [[train] * 3, [public, public], [private], [private] * 2, [train]]
    folds = [f"fold {k}" for k in rng.permutation(9)[:4]]
    return {
        "some straddle and some do not": case(
            *alone,
            [train, public, train],
            [train, private],
            [public, private, private],
            [train, public, private, train],
        ),
        "nobody straddles": case(*alone),
        "the tests share persons": case(
            *alone, [public, private], [private, public, public], [private, public]
        ),
        "unknown persons": case(
            *alone, [train, train, private], unknown=[train, train, public, private]
        ),
        "splits of other names": case(
            [folds[0]] * 2,
            [folds[1], folds[3], folds[1]],
            [folds[2], folds[0]],
            folds,
            [folds[3]],
            [folds[3], folds[0]],
        ),
    }


def straddling_identities__within_a_split(identities, splits):
    """Persons with more than one image, which may all be in one split."""
    people, images = np.unique(identities[identities != -1], return_counts=True)
    return people[images > 1].tolist()


def straddling_identities__once_an_image(identities, splits):
    """A person comes as often as there are images."""
    where = {}
    for person, split in zip(identities, splits):
        where.setdefault(int(person), set()).add(split)
    return sorted(int(person) for person in identities if person != -1 and len(where[person]) > 1)


def straddling_identities__a_count(identities, splits):
    """How many, instead of who."""
    where = {}
    for person, split in zip(identities, splits):
        where.setdefault(int(person), set()).add(split)
    return sum(len(found) > 1 for person, found in where.items() if person != -1)


def straddling_identities__counts_images(identities, splits):
    """Numbers of images, instead of who."""
    return [
        int(np.isin(identities[splits == split], identities[splits != split]).sum())
        for split in np.unique(splits)
    ]


def straddling_identities__unknown_is_a_person(identities, splits):
    """-1 is not one person who is everywhere."""
    pairs = set(zip(identities.tolist(), splits.tolist()))
    people, homes = np.unique([person for person, split in pairs], return_counts=True)
    return people[homes > 1].tolist()


def straddling_identities__training_and_private_test(identities, splits):
    """Looks at two splits of three."""
    first, second = (
        set(identities[splits == name].tolist()) for name in ("Training", "PrivateTest")
    )
    return sorted(first & second - {-1})


def straddling_identities__training_and_the_rest(identities, splits):
    """Who is in both tests, but not in Training, is overlooked."""
    first = set(identities[splits == "Training"].tolist())
    second = set(identities[splits != "Training"].tolist())
    return sorted(first & second - {-1})


def straddling_identities__in_every_split(identities, splits):
    """Two splits are enough to straddle."""
    each = [set(identities[splits == split].tolist()) for split in set(splits.tolist())]
    return sorted(set.intersection(*each) - {-1})


def straddling_identities__in_order_of_appearance(identities, splits):
    """Not in ascending order."""
    where = {}
    for person, split in zip(identities.tolist(), splits.tolist()):
        where.setdefault(person, set()).add(split)
    return [person for person, found in where.items() if person != -1 and len(found) > 1]


def straddling_identities__only_neighbours(identities, splits):
    """A person's images need not stand side by side."""
    both = (identities[1:] == identities[:-1]) & (splits[1:] != splits[:-1])
    return sorted(set(identities[1:][both].tolist()) - {-1})


def straddling_identities__those_who_do_not(identities, splits):
    """The persons of one split alone."""
    where = {}
    for person, split in zip(identities.tolist(), splits.tolist()):
        where.setdefault(person, set()).add(split)
    return sorted(person for person, found in where.items() if person != -1 and len(found) == 1)


# ---- hflip_boxes
def cases_hflip_boxes(rng):
    """Arguments of each hidden case, by its name."""

    def picture(high, wide, *channels):
        return rng.integers(0, 256, (high, wide, *channels)).tolist()

    def boxes(high, wide, n, whole=False):
        """Boxes in the left part of the picture, so that none lies on its own mirror image."""
        x0 = rng.uniform(0, wide / 6, n)
        y0 = rng.uniform(0, high / 2, n)
        x1, y1 = x0 + rng.uniform(0.35, 0.6, n) * wide, y0 + rng.uniform(0.3, 0.5, n) * high
        found = np.stack([x0, y0, x1, y1], 1)
        if whole:
            found = np.concatenate([np.floor(found[:, :2]), np.ceil(found[:, 2:])], 1)
        return found.round(2).tolist()

    return {
        "a gray picture": (picture(5, 8), boxes(5, 8, 2, whole=True), False),
        "a colour picture": (picture(5, 4, 3), boxes(5, 4, 3, whole=True), False),
        "boxes with fractions": (picture(4, 7), boxes(4, 7, 3), False),
        "at the edges": (picture(3, 6), [[0, 0, 1, 3], [0, 0, 6, 3], [4, 1, 6, 2]], False),
        "a high picture without a face": (picture(7, 3, 3), [], False),
        "the inputs stay as they are": (picture(4, 6), boxes(4, 6, 2), True),
    }


def hflip_boxes__off_by_one(image, boxes):
    """Edges are no columns: the right edge is at the width, not one before."""
    last = image.shape[1] - 1
    x0, y0, x1, y1 = boxes.T
    return image[:, ::-1], np.stack([last - x1, y0, last - x0, y1], 1)


def hflip_boxes__edges_unswapped(image, boxes):
    """Left is right of right."""
    wide = image.shape[1]
    x0, y0, x1, y1 = boxes.T
    return image[:, ::-1], np.stack([wide - x0, y0, wide - x1, y1], 1)


def hflip_boxes__upside_down(image, boxes):
    """Rows are the first axis, columns the second."""
    high = image.shape[0]
    x0, y0, x1, y1 = boxes.T
    return image[::-1], np.stack([x0, high - y1, x1, high - y0], 1)


def hflip_boxes__turned(image, boxes):
    """Turned by 180 degrees, which is no mirror."""
    high, wide = image.shape[:2]
    x0, y0, x1, y1 = boxes.T
    return image[::-1, ::-1], np.stack([wide - x1, high - y1, wide - x0, high - y0], 1)


def hflip_boxes__the_last_axis(image, boxes):
    """The last axis of a colour picture is colour: red becomes blue."""
    wide = image.shape[1]
    x0, y0, x1, y1 = boxes.T
    return image[..., ::-1], np.stack([wide - x1, y0, wide - x0, y1], 1)


def hflip_boxes__the_last_length(image, boxes):
    """The last length of a colour picture is 3, not its width."""
    wide = image.shape[-1]
    x0, y0, x1, y1 = boxes.T
    return image[:, ::-1], np.stack([wide - x1, y0, wide - x0, y1], 1)


def hflip_boxes__the_height(image, boxes):
    """An image's length is its height."""
    wide = len(image)
    x0, y0, x1, y1 = boxes.T
    return image[:, ::-1], np.stack([wide - x1, y0, wide - x0, y1], 1)


def hflip_boxes__boxes_in_place(image, boxes):
    """Right, but the boxes given are changed."""
    boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
    return image[:, ::-1], boxes


def hflip_boxes__image_in_place(image, boxes):
    """Right, but the picture given is changed."""
    wide = image.shape[1]
    image[:] = image[:, ::-1].copy()
    x0, y0, x1, y1 = boxes.T
    return image, np.stack([wide - x1, y0, wide - x0, y1], 1)


def hflip_boxes__overwritten(image, boxes):
    """When x1 is worked out, x0 is another number already."""
    moved = boxes.copy()
    moved[:, 0] = image.shape[1] - moved[:, 2]
    moved[:, 2] = image.shape[1] - moved[:, 0]
    return image[:, ::-1], moved


def hflip_boxes__only_the_image(image, boxes):
    """The boxes stay where the faces were."""
    return image[:, ::-1].copy(), boxes.copy()


def hflip_boxes__only_the_boxes(image, boxes):
    """The picture stays as it was."""
    wide = image.shape[1]
    x0, y0, x1, y1 = boxes.T
    return image, np.stack([wide - x1, y0, wide - x0, y1], 1)


def hflip_boxes__whole_numbers(image, boxes):
    """Cuts the fractions off."""
    wide = image.shape[1]
    x0, y0, x1, y1 = boxes.T
    return image[:, ::-1], np.stack([wide - x1, y0, wide - x0, y1], 1).astype(int)


def hflip_boxes__width_and_height(image, boxes):
    """Takes boxes for (x, y, width, height), as OpenCV and COCO have them."""
    x, y, wide, high = boxes.T
    return image[:, ::-1], np.stack([image.shape[1] - x - wide, y, wide, high], 1)
