# %% [markdown]
# # Assignment 2: splits and images
#
# Four small questions stand between files and a network: which number is sad, what is a pixel divided by, who stands
# on both sides of a split, where is the face in a mirrored picture? Wrong answers raise no error.
#
# **After lesson** 02. **Points:** 20. **Time:** about two and a half hours. Only NumPy is needed.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% [markdown] nbgrader={"grade": false, "grade_id": "remap_labels_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. Labels by their names (5 points)
#
# FER2013's CSV calls sad 4, surprise 5 and neutral 6. Class folders are read in alphabetical order, where 4 is neutral,
# 5 sad and 6 surprise. A network trained on the one and judged by the other is wrong about three emotions altogether.
#
# Write `remap_labels(labels, old, new)`. `labels` is an integer array of shape (n,), `old` and `new` are lists of
# names: the label k means `old[k]`. Return a new integer array of shape (n,) with the numbers that the same names have
# in `new`.
#
# Each name stands once in a list. Every name of `old` is also in `new`, spelled alike; `new` may hold more. `labels`
# itself must not change.


# %% nbgrader={"grade": false, "grade_id": "remap_labels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def remap_labels(labels, old, new):
    """Labels (n,) that are positions in the list `old`, as positions of the same names in `new`, (n,)."""
    ### BEGIN SOLUTION
    return np.array([new.index(name) for name in old])[labels]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "remap_labels_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
folders = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
csv = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
labels = np.array([5, 4, 6, 3, 4])  # sad, neutral, surprise, happy, neutral
found = list(remap_labels(labels, folders, csv))
assert len(found) == 5, "one number a label"
assert found[3] == 3, "happy is 3 in both orders"
assert found[0] != 6, "that is the way back, from the CSV to the folders"
assert found[1] == 6, "neutral, 4 in the folders, is 6 in the CSV"
assert found == [4, 6, 5, 3, 6], "a label that was replaced once must not be replaced again"
assert labels.tolist() == [5, 4, 6, 3, 4], "the labels given must stay as they are"
assert list(remap_labels(np.array(found), csv, folders)) == [5, 4, 6, 3, 4], "there and back"
assert list(remap_labels(np.array([1, 0]), ["sad", "happy"], ["fear", "happy", "sad"])) == [1, 2], (
    "`new` may hold more names, in any order: look names up, do not sort them"
)


# %% nbgrader={"grade": true, "grade_id": "remap_labels_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other labels and names here. Where `whole` is true, what has become of
# the labels given counts as well.
def tried(labels, old, new, whole):
    labels = np.array(labels)
    found = np.asarray(remap_labels(labels, list(old), list(new))).tolist()
    return [found, labels.tolist()] if whole else found


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "channel_stats_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. Mean and spread of a channel (5 points)
#
# Before a network sees it, each pixel loses a mean and is divided by a standard deviation (sd): for FER2013 0.5077 and
# 0.2550, on the scale from 0 to 1, of all pixels of `Training` alone. Colour has one pair a channel.
#
# Write `channel_stats(batches)`. `batches` is a list of pairs `(images, splits)`: `uint8` images (n, height, width,
# channels), and an array of n split names. Return `(mean, sd)`, two arrays (channels,), over the pixels of all images
# whose split is `"Training"`, divided by 255.
#
# Each pixel counts alike. n differs between batches; a batch may lack Training images. The sd divides by the number of
# pixels, as `np.std` does.


# %% nbgrader={"grade": false, "grade_id": "channel_stats", "locked": false, "schema_version": 3, "solution": true, "task": false}
def channel_stats(batches):
    """Mean and sd, two arrays (channels,), of the Training pixels of all pairs (images, splits), from 0 to 1.

    Images are uint8 (n, height, width, channels); splits is an array of n names.
    """
    ### BEGIN SOLUTION
    chosen = [images[splits == "Training"] for images, splits in batches]
    pixels = np.concatenate([part.reshape(-1, part.shape[-1]) for part in chosen]) / 255
    return pixels.mean(axis=0), pixels.std(axis=0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "channel_stats_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Five images of one pixel each: red, green, blue. The last one is not for training.
first = np.array([[0, 0, 255], [0, 102, 0], [204, 102, 255]], dtype=np.uint8).reshape(3, 1, 1, 3)
second = np.array([[204, 0, 0], [255, 255, 255]], dtype=np.uint8).reshape(2, 1, 1, 3)
batches = [
    (first, np.array(["Training", "Training", "Training"])),
    (second, np.array(["Training", "PublicTest"])),
]
mean, sd = (np.asarray(numbers, dtype=float) for numbers in channel_stats(batches))
assert mean.shape == sd.shape == (3,), "one mean and one sd for each channel"
assert (mean < 1).all(), "on the scale from 0 to 1: divide by 255"
assert abs(mean[2] - 0.5) < 1e-4, "blue is 1, 0, 1, 0 in Training; the 1 of PublicTest has no say"
assert abs(mean[0] - 0.4) < 1e-4, "(0 + 0 + 0.8 + 0.8) / 4; a mean of batch means would be 0.533"
assert abs(sd[0] - 0.4) < 1e-4, "each red is 0.4 from the mean; a mean of the batches' sds is 0.189"
assert abs(sd[1] - 0.2) < 1e-4, "green is 0, 0.4, 0.4, 0: divide by the 4 pixels, not by 3"
assert abs(sd[2] - 0.5) < 1e-4, "each blue is 0.5 from the mean"


# %% nbgrader={"grade": true, "grade_id": "channel_stats_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other images here, turned into arrays by `tried`.
def tried(batches):
    batches = [(np.array(images, np.uint8), np.array(splits)) for images, splits in batches]
    mean, sd = channel_stats(batches)
    return [np.asarray(mean).tolist(), np.asarray(sd).tolist()]


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "straddling_identities_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 3. Who stands on both sides? (5 points)
#
# When frames of films were split at random, the network of lesson 02 read nearly all of the "unseen" frames, and about
# a quarter of the frames of new films. It had learned the people.
#
# Write `straddling_identities(identities, splits)`. Both arrays have shape (n,): for each image the number of the
# person and the name of the split. Return a list of the persons whose images stand in at least two different splits, in
# ascending order, each person once. There may be any number of splits, of any names.
#
# The number -1 means that nobody knows who it is. Such images are not one person, and -1 is never in the list.


# %% nbgrader={"grade": false, "grade_id": "straddling_identities", "locked": false, "schema_version": 3, "solution": true, "task": false}
def straddling_identities(identities, splits):
    """Persons with images in two or more splits, ascending, each once; -1 is nobody.

    Identities, whole numbers, and splits, names, are arrays (n,), one entry an image.
    """
    ### BEGIN SOLUTION
    seen = {}
    for person, split in zip(identities.tolist(), splits.tolist()):
        seen.setdefault(person, set()).add(split)
    return sorted(person for person, where in seen.items() if len(where) > 1 and person != -1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "straddling_identities_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
identities = np.array([7, 7, 5, 3, 3, 9, 5, -1, -1, 3])
splits = np.array(["Training"] * 4 + ["PublicTest"] * 2 + ["PrivateTest"] * 4)
splits[5] = "PrivateTest"
found = list(straddling_identities(identities, splits))
assert 7 not in found, "two images of person 7, but both in Training"
assert 9 not in found, "one image is in one split"
assert found.count(3) == 1, (
    "persons, not images: person 3 is in all three splits, and once in the list"
)
assert found == [3, 5], "in ascending order"
splits[7] = "Training"
found = list(straddling_identities(identities, splits))
assert -1 not in found, "two unknown persons need not be the same"
tests = straddling_identities(
    np.array([4, 4, 1]), np.array(["PublicTest", "PrivateTest", "Training"])
)
assert list(tests) == [4], "the two tests must not share persons either"


# %% nbgrader={"grade": true, "grade_id": "straddling_identities_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other persons and splits here.
def tried(identities, splits):
    found = list(straddling_identities(np.array(identities), np.array(splits)))
    return np.asarray(found).tolist()


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "hflip_boxes_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 4. Mirror the picture and its boxes (5 points)
#
# A mirrored face keeps its emotion, but its box moves. A box (x0, y0, x1, y1) is what `image[y0:y1, x0:x1]` cuts out:
# x0 and x1 are its left and right *edges*, counted from the picture's left edge at 0 to the right one at its width.
# Detectors give fractions, too.
#
# Write `hflip_boxes(image, boxes)`. `image` is gray (height, width) or colour (height, width, 3), `boxes` an array
# (n, 4) with x0 < x1 and y0 < y1. Return `(mirrored, moved)`: the picture with left and right exchanged, and the boxes,
# (n, 4) in the same order and form, around the same things. n may be 0. Neither input may change.


# %% nbgrader={"grade": false, "grade_id": "hflip_boxes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def hflip_boxes(image, boxes):
    """The image, (h, w) or (h, w, 3), mirrored from left to right, and its boxes (n, 4) of x0, y0, x1, y1."""
    ### BEGIN SOLUTION
    width = image.shape[1]
    x0, y0, x1, y1 = boxes.T
    return image[:, ::-1], np.stack([width - x1, y0, width - x0, y1], axis=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "hflip_boxes_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
image = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
boxes = np.array([[0, 0, 2, 1], [1, 0, 4, 2]])  # around 1 2, and around 2 3 4 and 7 8 9
mirrored, moved = (np.asarray(part) for part in hflip_boxes(image, boxes))
assert mirrored.tolist() == [[5, 4, 3, 2, 1], [10, 9, 8, 7, 6]], "left and right, not up and down"
x0, y0, x1, y1 = moved[0].astype(int)
assert x0 < x1, "the left edge comes from the right one: x0 and x1 change places"
assert (x0, x1) == (3, 5), (
    "the two leftmost columns become the two rightmost, 3 up to 5: 5 - 2 and 5 - 0"
)
assert mirrored[y0:y1, x0:x1].tolist() == [[2, 1]], "the box must hold what it held"
assert moved.tolist() == [[3, 0, 5, 1], [1, 0, 4, 2]], "a box in the middle stays"
assert boxes.tolist() == [[0, 0, 2, 1], [1, 0, 4, 2]], "the boxes given must stay as they are"
assert image[0].tolist() == [1, 2, 3, 4, 5], "and so must the image"
colour = np.arange(12).reshape(2, 2, 3)  # its first row: 0 1 2, and 3 4 5
mirrored, moved = hflip_boxes(colour, np.array([[0.5, 0.0, 1.25, 2.0]]))
assert mirrored[0].tolist() == [[3, 4, 5], [0, 1, 2]], "red stays red: mirror columns, not channels"
assert np.asarray(moved).tolist() == [[0.75, 0.0, 1.5, 2.0]], "fractions stay: 2 - 1.25 and 2 - 0.5"


# %% nbgrader={"grade": true, "grade_id": "hflip_boxes_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other pictures and boxes here. Where `whole` is true, what has become of
# the inputs counts as well.
def tried(image, boxes, whole):
    image, boxes = np.array(image, np.uint8), np.array(boxes, float).reshape(-1, 4)
    mirrored, moved = hflip_boxes(image, boxes)
    results = [np.asarray(mirrored).tolist(), np.asarray(moved).tolist()]
    return [*results, image.tolist(), boxes.tolist()] if whole else results


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown]
# ## And on a whole dataset
#
# Nothing here is graded. If `ferlib` is installed, your functions look at the 4,800 drawn faces of the course that are
# open: 2,800 to train on and 2,000 to choose by. No person was drawn for both. Yet 220 twins were planted in
# `PublicTest`, 160 of them exact: what do they do to its persons?

# %%
import importlib.util
import os

if importlib.util.find_spec("ferlib") and not os.environ.get("NBGRADER_EXECUTION"):
    from ferlib import data
    from ferlib.emotions import EMOTIONS

    faces = data.load("sample")
    splits = faces.table["split"].to_numpy(str)
    images = faces.images[..., None]  # gray: one channel
    starts = range(0, len(images), 1000)
    mean, sd = channel_stats([(images[k : k + 1000], splits[k : k + 1000]) for k in starts])
    print(f"Training: mean {mean[0]:.4f}, sd {sd[0]:.4f}")
    people, own = faces.table["identity"].to_numpy(), (faces.table["twin_of"] < 0).to_numpy()
    print(len(straddling_identities(people, splits)), "persons stand on both sides,")
    print(len(straddling_identities(people[own], splits[own])), "of them without a twin")
    there = remap_labels(faces.labels, list(EMOTIONS), sorted(EMOTIONS))
    print(
        f"in the order of folders {(there != faces.labels).mean():.0%} of the labels are other numbers"
    )
    mouth = faces.table[["mouth_x0", "mouth_y0", "mouth_x1", "mouth_y1"]].to_numpy()[:1]
    print(
        "the first mouth",
        mouth.round(1),
        "and mirrored",
        hflip_boxes(faces.images[0], mouth)[1].round(1),
    )
