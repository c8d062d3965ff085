# %% [markdown]
# # Assignment 1: what is in the data?
#
# FER2013 travels the world in copies. Most have lost something: which split a face belongs to, that hundreds of test
# faces also stand in the training set, that the same picture is called angry here and sad there. You write the three
# functions that find this out.
#
# **After lessons** 00 and 01. **Points:** 15. **Time:** about two hours. Only NumPy is needed.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% [markdown] nbgrader={"grade": false, "grade_id": "recover_splits_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. The split that the folders forgot (5 points)
#
# The commonest copy of FER2013 has two folders, `train` and `test`. The second one merges two splits that the challenge
# kept apart: `PublicTest`, to choose models on, and `PrivateTest`, to open once. The file names still know:
# `test/sad/PrivateTest_88305.jpg`.
#
# Write `recover_splits(paths)`. For a list of paths it returns a list of the same length and order, with `"Training"`,
# `"PublicTest"`, `"PrivateTest"`, or `None` where the *file name* does not begin with one of these words and an
# underscore. Folder names prove nothing: some copies have a folder `Training_set`, others mix their own pictures
# (`im0.png`) in.

# %% nbgrader={"grade": false, "grade_id": "recover_splits", "locked": false, "schema_version": 3, "solution": true, "task": false}
def recover_splits(paths):
    """The split of each path, told by its file name, or None; a list as long as `paths`."""
    ### BEGIN SOLUTION
    found = []
    for path in paths:
        name = path.split("/")[-1]
        splits = [
            split
            for split in ("Training", "PublicTest", "PrivateTest")
            if name.startswith(split + "_")
        ]
        found.append(splits[0] if splits else None)
    return found
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "recover_splits_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
paths = [
    "test/sad/PrivateTest_88305.jpg",
    "train/happy/Training_3908.jpg",
    "test/fear/PublicTest_77.jpg",
    "train/happy/im0.png",
]
found = recover_splits(paths)
assert len(found) == 4, "one entry a path, also where the name tells nothing"
assert found[0] == "PrivateTest", "test/ holds two splits: the file name tells which"
assert found[1] == "Training" and found[2] == "PublicTest"
assert found[3] is None, "im0.png was never in the challenge: None, not a guess"

# %% nbgrader={"grade": true, "grade_id": "recover_splits_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, `recover_splits` is given other paths here.
### BEGIN HIDDEN TESTS
credit(recover_splits, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "find_twins_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. Twins (5 points)
#
# 288 of the 3,589 faces of `PrivateTest`, 8.0%, are pixel for pixel in `Training` as well. Who learns them by heart
# scores on them without reading a face.
#
# Write `find_twins(train, test)`. Both are arrays of images, (n, height, width) and (m, height, width). Return the
# positions in `test`, in ascending order and each once, whose image also stands somewhere in `train`. Images are equal
# if all their pixel values are: one array may hold `uint8` and the other `int64`, as when one was read from a CSV.


# %% nbgrader={"grade": false, "grade_id": "find_twins", "locked": false, "schema_version": 3, "solution": true, "task": false}
def find_twins(train, test):
    """Positions in `test` of images that stand in `train` as well, ascending, each once."""
    ### BEGIN SOLUTION
    known = {tuple(image.ravel().tolist()) for image in train}
    return [place for place, image in enumerate(test) if tuple(image.ravel().tolist()) in known]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "find_twins_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
train = np.array([[[1, 2], [3, 4]], [[9, 9], [9, 9]], [[9, 9], [9, 9]]], dtype=np.uint8)
test = np.array([[[9, 9], [9, 9]], [[1, 2], [4, 3]], [[1, 2], [3, 4]]], dtype=np.int64)
found = list(find_twins(train, test))
assert 0 in found and 2 in found, "a twin may stand at any position, and as another type of number"
assert 1 not in found, "the same mean and the same pixels in another order: not the same image"
assert found == [0, 2], "each position once, although its image stands in train twice"


# %% nbgrader={"grade": true, "grade_id": "find_twins_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other images here, turned into arrays by `tried`.
def tried(train, test, train_type, test_type):
    return list(find_twins(np.array(train, train_type), np.array(test, test_type)))


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "conflicting_groups_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 3. The same face, two emotions (5 points)
#
# In FER2013, 57 groups of identical images carry more than one label. No model can be right about all of them.
#
# Write `conflicting_groups(images, labels)`: how many groups of identical images (two or more) hold at least two
# different labels. Count groups, not images and not pairs: three copies called happy, happy and sad are one group.


# %% nbgrader={"grade": false, "grade_id": "conflicting_groups", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conflicting_groups(images, labels):
    """Number of groups of identical images, (n, height, width), whose labels, (n,), are not all the same."""
    ### BEGIN SOLUTION
    said = {}
    for image, label in zip(images, labels):
        said.setdefault(tuple(image.ravel().tolist()), set()).add(int(label))
    return sum(len(group) > 1 for group in said.values())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "conflicting_groups_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
a, b, c, d = ([[value, 0], [0, value]] for value in (10, 20, 30, 40))
images = np.array([a, b, a, c, b, a, d], dtype=np.uint8)
assert conflicting_groups(images, np.array([3, 4, 3, 0, 4, 3, 6])) == 0, (
    "twins that agree are no conflict"
)
assert conflicting_groups(images, np.array([3, 4, 4, 0, 4, 3, 6])) == 1, (
    "three copies of a: one group"
)
assert conflicting_groups(images, np.array([3, 4, 3, 0, 5, 6, 6])) == 2


# %% nbgrader={"grade": true, "grade_id": "conflicting_groups_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other images and labels here.
def tried(images, labels):
    return conflicting_groups(np.array(images, np.uint8), np.array(labels))


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown]
# ## And on a whole dataset
#
# Nothing here is graded. If `ferlib` is installed, your functions look at the 4,800 drawn faces of the course that are
# open: 2,800 to train on and 2,000 to choose by. 160 twins and 20 conflicts were planted.

# %%
import importlib.util
import os

if importlib.util.find_spec("ferlib") and not os.environ.get("NBGRADER_EXECUTION"):
    from ferlib import data

    faces = data.load("sample")
    learned, judged = faces.subset("Training"), faces.subset("PublicTest")
    print(
        len(find_twins(learned.images, judged.images)),
        "faces of PublicTest stand in Training as well",
    )
    print(
        conflicting_groups(learned.images, learned.labels),
        "groups of Training faces disagree about themselves",
    )
