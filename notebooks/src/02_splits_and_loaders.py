# %% [markdown]
# # Datasets, splits and loaders
#
# Between files and a network stand two things of PyTorch: a `Dataset` and a `DataLoader`. You write the first and use
# the second. Then you meet two mistakes that raise no error and ruin a result.
#
# {colab}
#
# **You will be able to** write a `Dataset` with a transform, and load batches with workers. You will recognise
# swapped class numbers in a confusion matrix. You will split by person or film, and keep a test sealed.
#
# **You need** lesson 00 and a little Python with classes. **Data:** drawn faces; FER2013 with `FERLIB_DATA`. This
# lesson belongs to the core of the course.
#
# **Time:** 40 minutes to read; about 1 minute on a laptop CPU.

# %% [markdown]
# ## Faces as files
#
# Many data sets come as folders: one folder for each class, one file for each face. We write some faces in this way.

# %% tags=["parameters"]
TRAIN, TEST = 1000, 1000  # faces that become files
FILMS, FRAMES, EPOCHS = 150, 8, 8  # for the experiment with films

# %%
import tempfile

from ferlib import protocol
from ferlib.data.export import export_faces
from ferlib.lesson import Lesson

here = Lesson("02")
faces = here.load()
# One True or False for each test face; True: Training has no copy of this face.
new = protocol.audit(here.source).clean("PublicTest")
train_set = protocol.take(faces.subset("Training"), TRAIN)
test_set = protocol.take(faces.subset("PublicTest").subset(new), TEST)
root = tempfile.mkdtemp()
train_folder = export_faces(train_set, f"{root}/a") / "train"
# `export_faces` calls PublicTest "valid".
test_folder = export_faces(test_set, f"{root}/b") / "valid"

# %% alt="Ten image files of faces, each with its folder and its name"
import numpy as np
from PIL import Image

from ferlib import plots

paths = sorted(train_folder.glob("*/*.png"))[:: TRAIN // 10][:10]
pictures = [np.array(Image.open(path)) for path in paths]
names = [f"{path.parent.name}/\n{path.name}" for path in paths]
figure = plots.face_grid(pictures, names, columns=5, title="Files in class folders")

# %% [markdown]
# ## A Dataset is two methods
#
# PyTorch asks a data set two things. How many items have you (`__len__`)? And what is item number `index`
# (`__getitem__`)? Here an item is a face and the number of its class. `__init__` only notes what is where. A file is
# opened when its item is asked for, so a data set can be larger than the memory.

# %%
from torch.utils.data import Dataset


class FaceFolder(Dataset):
    def __init__(self, folder, classes, transform):
        self.paths = sorted(folder.glob("*/*.png"))
        self.classes = list(classes)
        self.transform = transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        path = self.paths[index]
        image = np.array(Image.open(path))  # uint8 (48, 48), from 0 to 255
        label = self.classes.index(path.parent.name)
        return self.transform(image=image)["image"], label


# %% [markdown]
# The *transform* prepares a face for the network. `A.Normalize` *normalises* it: it brings the pixels to the scale on
# which the network was trained. It divides by 255, subtracts a mean, and divides by a standard deviation.
# `ToTensorV2` makes a tensor with a channel in front. Both belong to Albumentations; lesson 04 adds random changes.

# %%
import albumentations as A
from albumentations.pytorch import ToTensorV2

from ferlib import models

model = models.load_model("drawn" if here.drawn else "fer2013")
spec = model.input_spec
transform = A.Compose([A.Normalize(spec.mean, spec.std), ToTensorV2()])
train_data = FaceFolder(train_folder, model.classes, transform)
image, label = train_data[0]
print(f"{len(train_data)} faces; the first: {tuple(image.shape)}, {image.dtype}")
print(f"pixels from {image.min():.2f} to {image.max():.2f}, label {label}")

# %% [markdown]
# Where do mean and standard deviation come from? From *training* faces, never from test faces: else the test leaks into
# the training. (Both shipped models use FER2013's.)
#
# ## A DataLoader makes batches
#
# A network learns from *batches*, some faces at a time. `DataLoader` asks the dataset for items and stacks them. With
# batches of 64 and these faces, how many faces does the last batch have?

# %%
my_guess = ...  # faces; put yours here

from torch.utils.data import DataLoader

batches = DataLoader(train_data, batch_size=64, shuffle=True)
sizes = [len(labels) for images, labels in batches]
print(len(sizes), "batches")
here.guess(my_guess, sizes[-1], "faces")

# %% [markdown]
# For training, many drop this small last batch (`drop_last=True`). For a test, never: each face must be counted.
#
# `shuffle=True` gives a new order in each pass (*epoch*). Why does training need it? Compare the labels of the first
# batch.

# %%
for shuffle in (False, True):
    first = next(iter(DataLoader(train_data, batch_size=20, shuffle=shuffle)))
    print(f"shuffle={shuffle}: labels {first[1].tolist()}")

# %% [markdown]
# Files are sorted by class. Without shuffling, the network sees only angry faces for a while and learns to say
# "angry".
#
# ## Workers
#
# Opening files takes time, and the network waits. *Workers* are processes that prepare the next batches meanwhile.
# How many times as fast are two workers for one pass over the files?

# %%
my_guess = ...  # times; put yours here

import multiprocessing
import time

# Workers can only use a Python class from the notebook if the system copies the running
# process ("fork"). On Windows, macOS and Python 3.14, move FaceFolder into a .py file.
can_fork = multiprocessing.get_start_method() == "fork"
seconds = []
for workers in (0, 2 if can_fork else 0):
    start = time.perf_counter()
    for _ in DataLoader(train_data, batch_size=64, num_workers=workers):
        pass
    seconds.append(time.perf_counter() - start)
    print(f"{workers} workers: {seconds[-1]:.2f} s")
here.guess(my_guess, seconds[0] / seconds[1], "times")

# %% [markdown]
# Workers are not always faster. In our run two of them took longer, because each must start first, and a small PNG is
# opened fast. They pay if an item takes long: a large photo, or many random changes. Measure it.
#
# ## The order of the classes
#
# `FaceFolder` needs a list of classes: its order gives each class a number. `model` was trained with FER2013's
# order. But most programs sort folders by name, for example torchvision's `ImageFolder`.

# %%
import pandas as pd

alphabet = sorted(path.name for path in test_folder.iterdir())
pd.DataFrame({"FER2013": model.classes, "alphabet": alphabet}).T

# %% [markdown]
# Three names have other numbers. What happens if the files are numbered by the alphabet and the model is not? First,
# a loop over batches: this is the core of `evaluation.predict`.

# %%
import torch


@torch.no_grad()
def predict(dataset):
    model.eval()
    true, predicted = [], []
    for images, labels in DataLoader(dataset, batch_size=100):
        true.append(labels)
        predicted.append(model(images).argmax(1))
    return torch.cat(true).numpy(), torch.cat(predicted).numpy()


# %% [markdown]
# Now both orders, with the same files and the same model. How many points of accuracy does the wrong order cost?

# %%
my_guess = ...  # points; put yours here

answers = {}
for order, classes in {"FER2013's order": model.classes, "alphabet": alphabet}.items():
    answers[order] = predict(FaceFolder(test_folder, classes, transform))
right = {order: true == predicted for order, (true, predicted) in answers.items()}
cost = right["FER2013's order"].mean() - right["alphabet"].mean()
print({order: f"{hits.mean():.1%} right" for order, hits in right.items()})
here.guess(my_guess, 100 * cost, "points")

# %% [markdown]
# No error appeared. The accuracy is lower, but not zero; a weak network could also score that. The confusion matrix
# tells the two apart. Each row is a true class, each column an answer.

# %% alt="Two confusion matrices: with the right order most faces are on the diagonal, with the wrong one three classes are off it"
import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay

figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for ax, name in zip(axes, answers, strict=True):
    true, predicted = answers[name]
    ConfusionMatrixDisplay.from_predictions(
        true, predicted, labels=range(7), display_labels=model.classes,
        cmap="Blues", xticks_rotation=45, colorbar=False, ax=ax,
    )  # fmt: skip
    ax.set(title=name, xlabel="predicted class", ylabel="true class")

# %% [markdown]
# On the left is a normal matrix: the diagonal is full, and errors are scattered. On the right, three full cells stand
# *off* the diagonal, because these rows have wrong names: the row "sad" holds the neutral files. No network errs like
# that. If you see it, look at your class numbers, not at your network.
#
# The cure: map by name, never by position. `ferlib` does this when a dataset has `.classes`.

# %%
from ferlib import evaluation

found = evaluation.predict(model, FaceFolder(test_folder, alphabet, transform))
print(f"{found.correct.mean():.1%} right, with the alphabet's numbers")

# %% [markdown]
# ## Three splits
#
# - `Training`: the network learns from it.
# - `PublicTest`: compares finished networks, so that you can choose one. In this course it is "the test".
# - `PrivateTest`: the final test. It is opened once, when all is chosen.
#
# *Validation*: a part that you cut from `Training` to watch the training. (Lesson 03 validates on `PublicTest` faces
# instead.)
#
# Why `PrivateTest`? Suppose that you try 20 ideas which change nothing. Each is right on 60% of 2,000 faces, give or
# take luck. You keep the best one. How many points does it seem to gain?

# %%
my_guess = ...  # points; put yours here

scores = np.random.default_rng(0).binomial(2000, 0.6, size=(10_000, 20)) / 2000
here.guess(my_guess, 100 * (scores.max(axis=1).mean() - 0.6), "points")

# %% [markdown]
# This gain is pure luck, and new faces will not show it. So the last test is *sealed*: `ferlib` does not hand it out
# by accident.

# %%
try:
    faces.subset("PrivateTest")
except ValueError as error:
    print(error)

# %% [markdown]
# `protocol.open_sealed(...)` opens it. It asks for a reason and for the hash of your chosen model (a short fingerprint
# of it). It writes both to a file, the *ledger*. Anyone could delete this file: it protects you from accidents, not
# from cheating. Lesson 08 opens the test, once.

# %% [markdown]
# ## The film trap
#
# Many collections of expressions are cut out of films. We make one: in each film, a drawn person shows one emotion.
# From frame to frame the head turns by some degrees, the muscles pull a little more or less, and the grain is new.

# %%
from ferlib import sample

rng = np.random.default_rng(11)


def film(person):
    frames = []
    for _ in range(FRAMES):
        frame = person | {"texture_seed": int(rng.integers(1_000_000))}
        for turn in ("yaw", "pitch", "roll"):
            frame[turn] += rng.normal(0, 2.5)
        for unit in sample.ACTION_UNITS:
            frame[unit] *= rng.uniform(0.6, 1)
        frames.append(sample.redraw(frame))
    return frames


# %% [markdown]
# Now 150 films, with one new person each. `owner` is the number of the film that a frame comes from.

# %%
from ferlib.data import FaceDataset

actors = sample.draw(FILMS, size=24, seed=11)[1]
cuts = np.concatenate([film(person) for person in actors.to_dict("records")])
owner = np.repeat(np.arange(FILMS), FRAMES)  # 0, 0, ... 1, 1, ...
films = FaceDataset.from_arrays(cuts, actors["label"].to_numpy()[owner])

# %% alt="Three rows of eight frames: each row is one drawn person with one expression, the head a little turned"
emotions = [films.classes[k] for k in films.labels[: 3 * FRAMES]]
title = "Three films, eight frames each"
figure = plots.face_grid(cuts[: 3 * FRAMES], emotions, columns=FRAMES, title=title)

# %% [markdown]
# No two frames are equal. We put a fifth aside for the test in two ways, both with scikit-learn: a fifth of the
# *frames*, or a fifth of the *films*.

# %%
from sklearn.model_selection import GroupShuffleSplit, train_test_split

rows = np.arange(len(films))
by_frame = train_test_split(rows, test_size=0.2, random_state=0)
splitter = GroupShuffleSplit(test_size=0.2, random_state=0)
by_film = next(splitter.split(rows, groups=owner))  # a film is on one side only

# %% [markdown]
# The same small network learns from each. `build_model` makes a small CNN and `fit` trains it; lesson 03 explains both.

# %%
from ferlib import training
from ferlib.training import TrainConfig


def judge(train_rows, test_rows):
    torch.manual_seed(0)
    small = models.build_model(
        "fernet", widths=(16, 32, 64, 96), depths=(0, 0, 0), drop_rate=0.0
    )
    config = TrainConfig(epochs=EPOCHS, batch_size=32)
    train, test = films.subset(train_rows), films.subset(test_rows)
    # `test` is only watched here, not used to choose.
    training.fit(small, train, test, config, progress=False)
    return evaluation.predict(small, test).correct


# %% [markdown]
# How many points better does the split by frames look?

# %%
my_guess = ...  # points; put yours here

hits_by_frame, hits_by_film = judge(*by_frame), judge(*by_film)
print(f"by frame {hits_by_frame.mean():.1%}, by film {hits_by_film.mean():.1%} right")
usual = np.bincount(films.labels[by_film[0]]).argmax()  # the most frequent emotion
hits_by_usual = films.labels[by_film[1]] == usual
print(f"always {films.classes[usual]}: {hits_by_usual.mean():.1%} right, by film")
here.guess(my_guess, 100 * (hits_by_frame.mean() - hits_by_film.mean()), "points")

# %% [markdown]
# By frame, nearly every answer is right. By film, about one in four was right in our run: little better than always
# giving the most frequent emotion. The test has only 30 films, so this second figure can move by ten points. The
# network has learned the people, not the emotions. A validation part with frames of the same films would not show this.
#
# So ask how a data set was made before you split it. If you know the person or the film, split by it.
# `protocol.split` does this for faces with an `identity`. It also keeps identical pictures on one side, and the
# classes in proportion.

# %%
larger, smaller = protocol.split(faces.subset("Training"), share=0.1)
print(len(larger), "faces to learn from,", len(smaller), "to validate")

# %% [markdown]
# FER2013 does not say who its people are. There, nobody can split by person; lesson 01 looks for equal pictures.

# %% [markdown]
# ## What you have learned
#
# - A `Dataset` has `__len__` and `__getitem__`; the transform belongs in `__getitem__`.
# - A `DataLoader` stacks items into batches. Shuffle for training. For a test, keep the order and the last batch.
# - Workers help when preparing a face takes long.
# - Map classes by name. Swapped numbers show as full cells off the diagonal.
# - Choose on `PublicTest`, open the sealed test once, and split by person or film.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Write a `Dataset` for faces that lie in memory, as two arrays: images (n, 48, 48) and labels (n,). An
# item is the transformed face and its label, as in `FaceFolder`.


# %% tags=["exercise"]
class MyFaces(Dataset):
    def __init__(self, images, labels, transform):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self):
        return ...

    def __getitem__(self, index):
        return ...


# %% tags=["solution"]
class Solution(MyFaces):
    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(image=self.images[index])["image"], self.labels[index]


class NoTransform(Solution):
    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class AllLabels(Solution):
    def __getitem__(self, index):
        return self.transform(image=self.images[index])["image"], self.labels.sum()


class Shape(Solution):
    def __len__(self):
        return self.images.size


def summary(dataset_class):
    mine = dataset_class(test_set.images[:5], test_set.labels[:5] + 1, transform)
    size, item = mine.__len__(), mine.__getitem__(2)
    if size is ... or item is ...:
        return ...
    return [size, *item[0].shape[-2:], float(item[0].sum()), int(item[1])]


solution_1 = summary(Solution)
wrong_1 = [
    (summary(NoTransform), "the face must go through the transform"),
    (summary(AllLabels), "an item has one label: that of this face"),
    (summary(Shape), "the length is the number of faces, not of pixels"),
]

# %%
here.check(summary(MyFaces), solution_1, wrong_1)

# %% [markdown]
# **Exercise 2.** Labels come in another order: `theirs[k]` is the class that the number k means *there*. For each
# number, return the number of the same class in `ours`.


# %% tags=["exercise"]
def my_labels(numbers, theirs, ours):
    return ...


# %% tags=["solution"]
def solution_2(numbers, theirs, ours):
    return [ours.index(theirs[k]) for k in numbers]


def inverse(numbers, theirs, ours):
    return [theirs.index(ours[k]) for k in numbers]


def as_names(numbers, theirs, ours):
    return [theirs[k] for k in numbers]


def unchanged(numbers, theirs, ours):
    return numbers


wrong_2 = [
    (inverse, "this maps our numbers to theirs; it must go the other way"),
    (as_names, "these are names; look up the number of each name in `ours`"),
    (unchanged, "these are still the numbers there"),
]
examples_2 = [([0, 4, 5, 6, 6], alphabet, list(model.classes))]

# %%
here.check(my_labels, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** Test a split: return how many *persons* are on both sides. You get two lists of person numbers, one
# number for each face.


# %% tags=["exercise"]
def my_count(first_side, second_side):
    return ...


# %% tags=["solution"]
def solution_3(first_side, second_side):
    return len(set(first_side) & set(second_side))


def count_faces(first_side, second_side):
    return int(np.isin(second_side, first_side).sum())


def count_all(first_side, second_side):
    return len(set(first_side) | set(second_side))


def count_second(first_side, second_side):
    return len(set(second_side) - set(first_side))


wrong_3 = [
    (count_faces, "this counts faces; a person with several faces counts once"),
    (count_all, "these are the persons on either side"),
    (count_second, "these are the persons on the second side only"),
]
examples_3 = [([1, 1, 2, 3, 3], [3, 3, 2, 9, 9, 8, 7]), ([1], [2, 2])]

# %%
here.check(my_count, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** Somebody splits each film by time: the first six frames for training, the last two for the test. Is this
# better than frames at random? Run `judge(rows[rows % FRAMES < 6], rows[rows % FRAMES >= 6]).mean()`.
#
# <details><summary>Answer</summary>
#
# No. In our run nearly all of the last frames were right. The frames are new, but the films are not: each has six
# frames in training. On new people, expect the figure by film.
#
# </details>

# %% [markdown]
# **2.** You forget `A.Normalize`. (`A.ToFloat(max_value=1)` only turns bytes into floats.) Does an error appear? Does
# the network get better or worse? Then run `raw = A.Compose([A.ToFloat(max_value=1), ToTensorV2()])`, `true, predicted
# = predict(FaceFolder(test_folder, model.classes, raw))` and `(true == predicted).mean()`.
#
# <details><summary>Answer</summary>
#
# No error appears. It gets worse: 72% of the drawn faces, where `A.Normalize` gives 89%. The network sees pixels from 0
# to 255, a scale far too large. And 72% looks like a weak network. So print the range of your first image, as above.
#
# </details>

# %% [markdown]
# **3.** Why should mean and standard deviation not come from all faces, test included? The difference is tiny.
#
# <details><summary>Answer</summary>
#
# The test stands for faces that nobody has seen yet. A number that comes from them leaks into the training. Here the
# leak is small. But nobody can tell in advance how large a leak is, so let none in.
#
# </details>

# %% [markdown]
# **4.** A loader for training drops the last batch. Are some faces never learned from?
#
# <details><summary>Answer</summary>
#
# No, because each epoch shuffles again and leaves out other faces. Without shuffling, it would be the same faces each
# time. In a test it would be a wrong figure, because some faces would not be counted.
#
# </details>

# %% [markdown]
# **5.** A data set has 8 faces of each of 350 people. You put a fifth of the *faces* aside at random. About how many
# people are on the test side only?
#
# <details><summary>Answer</summary>
#
# Nobody. All 8 faces of a person would have to go to the test, each with a chance of one in five. That is 0.2 to the
# power 8, or 0.0000026; times 350 people this is 0.0009. So the test holds nobody new.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - PyTorch, *Datasets & DataLoaders*, tutorial, https://pytorch.org/tutorials/beginner/basics/data_tutorial.html, 2024.
# - S. Kapoor and A. Narayanan, *Leakage and the reproducibility crisis in machine-learning-based science*, Patterns
#   4(9), 2023.
# - A. Blum and M. Hardt, *The ladder: a reliable leaderboard for machine learning competitions*, ICML 2015.
# - B. Recht, R. Roelofs, L. Schmidt and V. Shankar, *Do ImageNet classifiers generalize to ImageNet?*, ICML 2019.
