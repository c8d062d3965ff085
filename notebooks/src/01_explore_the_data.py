# %% [markdown]
# # Explore the data
#
# What is in a set of faces? Which emotions are rare? How far do people agree? Which labels are wrong? And how many test
# faces are in the training set, too?
#
# {colab}
#
# **You will be able to** read FER2013's file with pandas and turn its text into pictures. You will count classes, and
# compare raters. You will find test faces that are also in the training set, and measure what this leak is worth.
#
# **You need** lesson 00. **Data:** drawn faces; FER2013, if the environment variable `FERLIB_DATA` holds its path.
# This lesson belongs to the core of the course.
#
# **Time:** 35 minutes to read; about 1 minute on a laptop CPU.

# %% [markdown]
# ## The faces
#
# FER2013 is a set of 35,887 gray photographs of 48 by 48 pixels, gathered by web search in 2013. The drawn faces copy
# its form, its classes and its faults. Both sets have three splits: `Training`, `PublicTest` (the test in this lesson)
# and `PrivateTest` (kept for the end).
#
# Here are four faces of each emotion, with their labels. Six of the 28 drawn faces have a wrong label. Which ones,
# would you say? You will meet four of them again below.

# %% tags=["parameters"]
TRAIN, EPOCHS = 2640, 9  # for the two networks at the end

# %% alt="Four training faces of each of the seven emotions, one emotion a column"
import numpy as np

from ferlib import plots
from ferlib.lesson import Lesson

here = Lesson("01")
faces = here.load()
train_set, test_set = faces.subset("Training"), faces.subset("PublicTest")
bright = train_set.images[:, 12:36, 12:36].mean((1, 2)) > 110  # no dark pictures
by_class = [np.flatnonzero(bright & (train_set.labels == k)) for k in range(7)]
rows = [by_class[k][place] for place in range(4) for k in range(7)]
emotions = [faces.classes[label] for label in train_set.labels[rows]]
title = "Four faces of each emotion, with their labels"
figure = plots.face_grid(train_set.images[rows], emotions, columns=7, title=title)

# %% [markdown]
# ## FER2013's file, by hand
#
# FER2013 came as one CSV file. Each row is a face: the number of its emotion, its 2,304 pixels as text, and its split
# (`Usage`). We write 100 of our faces in this form, and read them as you would read FER2013.

# %%
import tempfile

import pandas as pd

path = f"{tempfile.mkdtemp()}/fer2013.csv"
texts = [" ".join(map(str, image.ravel())) for image in train_set.images[:100]]
kept = {"emotion": train_set.labels[:100], "pixels": texts, "Usage": "Training"}
pd.DataFrame(kept).to_csv(path, index=False)

table = pd.read_csv(path)
table.head(3)

# %% [markdown]
# The pixels are a text such as `"70 80 82"`: numbers from 0 (black) to 255 (white), row by row.
#
# **Exercise 1.** Make a picture of this text: an array of type `uint8` and shape (48, 48). Helpful are
# `text.split()`, `np.array(..., dtype=...)` and `reshape`.


# %% tags=["exercise"]
def my_picture(text):
    return ...


# %% tags=["solution"]
def solution_1(text):
    return np.array(text.split(), dtype=np.uint8).reshape(48, 48)


def in_columns(text):
    return np.array(text.split(), dtype=np.uint8).reshape(48, 48).T


def flat(text):
    return np.array(text.split(), dtype=np.uint8)


def of_digits(text):
    return np.array(text.split(), dtype=np.int64).reshape(48, 48)


wrong_1 = [
    (in_columns, "this face lies on its side: the text goes row by row"),
    (flat, "that is one long row of 2,304 numbers: give it two dimensions"),
    (of_digits, "the numbers are right; the type should be uint8, one byte a pixel"),
]
examples_1 = [(table["pixels"][0],), (table["pixels"][1],)]

# %%
here.check(my_picture, solution_1, wrong_1, on=examples_1, dtype=True)

# %% [markdown]
# The solution works on the whole file. (`data.load` does the same, faster, for each form in which FER2013 is found.)

# %%
pictures = np.stack([solution_1(text) for text in table["pixels"]])
print(pictures.shape, pictures.dtype)
print("the same as from data.load:", (pictures == train_set.images[:100]).all())

# %% [markdown]
# A pixel is a byte, so a face takes 2,304 bytes. FER2013's 28,709 training faces take 66 MB, so `ferlib` holds them
# in memory.
#
# ## How many of each?
#
# Suppose a model has learned nothing and always says the most frequent emotion. How often is it right on the test
# faces?

# %%
my_guess = ...  # percent; put yours here

most = np.bincount(train_set.labels).argmax()
print("the most frequent:", faces.classes[most])
here.guess(my_guess, 100 * (test_set.labels == most).mean())

# %% [markdown]
# This is the *baseline*, the accuracy that costs nothing. One seventh, 14%, would be the baseline only if all
# emotions were equally frequent.

# %% alt="Number of faces of each emotion in Training and PublicTest; disgust is rare"
ax = plots.plot_counts(faces.counts())

# %% [markdown]
# The classes are *imbalanced*: some are much rarer than others. FER2013 is, too: of its 28,709 training faces, 7,215
# are labelled happy and only 436 disgust, 1.5%. There, a model that never says "disgust" loses about 1.5 points of
# accuracy, and nobody notices. So look at each class (lesson 07), and not at accuracy alone.
#
# Something is odd in the chart of the drawn faces. Disgust is 28 of 2,000 test labels, 1.4%, but 77 of 2,800 training
# labels, 2.8%. Keep this in mind.

# %% [markdown]
# ## How far do people agree?
#
# A label is one answer. For *FER+*, ten people named the emotion of each face of FER2013 again; their votes are in a
# separate file. Our drawn faces have ten simulated raters. They err as people do, and more often if an expression is
# weak or a picture bad. Their votes are in the table of the drawn faces, in columns such as `votes_happy`.
#
# On what percentage of the drawn training faces do all ten agree?

# %%
my_guess = ...  # percent; put yours here

from ferlib import data

# The same faces as train_set, unless you work with FER2013, which has no such votes.
drawn = data.load("sample").subset("Training")
votes = drawn.table.filter(like="votes_").to_numpy()  # (2800 faces, 7 emotions)
here.guess(my_guess, 100 * (votes.max(axis=1) == 10).mean())

# %% [markdown]
# Which emotions do the raters confuse? Each row is the emotion that was drawn (in the table, `true_label`). It shows
# how many of ten raters said angry, disgust and so on.

# %%
true = drawn.table["true_label"].to_numpy()
means = [votes[true == k].mean(axis=0) for k in range(7)]
pd.DataFrame(means, index=drawn.classes, columns=drawn.classes).round(1)

# %% [markdown]
# Here are the fourteen faces on which they agree least. Vote yourself before you read the captions.

# %% alt="The fourteen drawn training faces that divide ten raters most, each with its two most frequent votes"
agreement = (
    votes.max(axis=1) + 10 * drawn.table["blank"]
)  # pictures without a face: last
divided = np.argsort(agreement, kind="stable")[:14]
captions = []
for row in divided:
    a, b = np.argsort(-votes[row])[:2]
    captions.append(
        f"{drawn.classes[a]} {votes[row, a]}\n{drawn.classes[b]} {votes[row, b]}"
    )
title_2 = "Ten raters at their most divided: the two most frequent votes"
figure = plots.face_grid(drawn.images[divided], captions, columns=7, title=title_2)

# %% [markdown]
# The emotion with most votes is the *plurality*. Is it right? The votes cannot tell. For photographs nobody can; drawn
# faces have a known truth.
#
# ## Which labels are wrong?
#
# In FER2013 nobody knows. In the drawn training set, some labels were made wrong on purpose, independent of the votes:
# angry became disgust, for example. What percentage of the faces *labelled* disgust shows something else?

# %%
my_guess = ...  # percent; put yours here

wrong = drawn.labels != true
labelled_disgust = drawn.labels == drawn.classes.index("disgust")
print(f"{wrong.sum()} of {len(wrong):,} labels are wrong, {wrong.mean():.1%}")
here.guess(my_guess, 100 * wrong[labelled_disgust].mean())

# %% [markdown]
# This explains the odd count. Of 77 faces labelled disgust, 35 show something else and only 42 are disgusted. All 35
# are angry. Angry faces are frequent, so a few of them with a wrong label spoil a rare class.
#
# Here are the first seven wrong labels. On drawn faces, the first picture held four of these.

# %% alt="Seven drawn training faces whose label is wrong, with the label and the truth"
spoiled = np.flatnonzero(wrong)[:7]
pairs = [
    f"label {drawn.classes[drawn.labels[k]]}\ndrawn {drawn.classes[true[k]]}"
    for k in spoiled
]
figure = plots.face_grid(drawn.images[spoiled], pairs, title="Wrong labels")

# %% [markdown]
# Lesson 09 looks for such labels without knowing the truth.
#
# ## Is the test new?
#
# A test must hold faces that the model has not seen. Two images with equal pixels are *twins*. Each image is 2,304
# bytes, so a dictionary finds twins. What percentage of the test faces have a twin in `Training`?

# %%
my_guess = ...  # percent; put yours here

seen = {image.tobytes(): row for row, image in enumerate(train_set.images)}
source = np.array([seen.get(image.tobytes(), -1) for image in test_set.images])
twin = source >= 0
here.guess(my_guess, 100 * twin.mean())

# %% [markdown]
# The drawn faces copy FER2013: there, 280 of 3,589 `PublicTest` faces have a twin in `Training`, 7.8%. This is a
# *leak*: a model gets what it should not know. `protocol.audit` searches all splits. It also counts blank pictures, and
# twins with different labels. A test face without a twin in `Training` is *clean*.

# %%
from ferlib import protocol

print(protocol.audit(here.source))

# %% [markdown]
# ## What is the leak worth?
#
# We train a small network; lesson 03 explains the code. We test it on the test faces that have a twin in `Training`
# (below: the twins), and on the clean ones. How many points better is it on the twins?

# %%
my_guess = ...  # points; put yours here

import torch

from ferlib import evaluation, models, training
from ferlib.training import TrainConfig


def train_on(positions):
    torch.manual_seed(0)
    small = models.build_model("fernet", widths=(8, 32, 64, 96))  # narrow, so fast
    config = TrainConfig(epochs=EPOCHS, batch_size=32)
    known = train_set.subset(positions)
    few = known.subset(np.arange(50))  # `fit` validates, but we do not use the result
    training.fit(small, known, few, config, progress=False)
    return evaluation.predict(small, test_set)


copies = np.unique(source[twin])  # training faces that are also in the test
others = np.setdiff1d(np.arange(len(train_set)), copies)
found = train_on(np.concatenate([copies, others[len(copies) : TRAIN]]))
right_on_twins, right_on_clean = found.correct[twin].mean(), found.correct[~twin].mean()
here.guess(my_guess, 100 * (right_on_twins - right_on_clean), "points")

# %% [markdown]
# Perhaps the twins are simply easy faces? To find out, train once more without the copies: other training faces take
# their place, so both networks learn from 2,640 faces.

# %% alt="Accuracy on twins and on clean faces, of the network that saw the copies and of the one that did not"
unseen = train_on(others[:TRAIN])
groups = {
    "with copies: twins": found.subset(twin),
    "with copies: clean": found.subset(~twin),
    "without: twins": unseen.subset(twin),
    "without: clean": unseen.subset(~twin),
}
summaries = [evaluation.summarise(part).loc["accuracy"] for part in groups.values()]
ax = plots.plot_intervals(pd.DataFrame(summaries, index=groups))
_ = ax.set(
    title="Trained with the copies, and without",
    xlabel="accuracy (%)",
    ylabel="test faces",
)

# %% [markdown]
# On the drawn faces, the first network is right on nearly all of the twins and on about 80% of the clean faces. Without
# the copies, it is right on about 80% of both. So nearly all of the gap of about 20 points is memory. The few points
# that stay may be chance: there are only 160 twins, and without the copies their interval is about 12 points wide.
#
# The same on photographs: `fer2013`, the network that comes with the course, has answered all 3,589 `PublicTest`
# photographs. Its stored answers, means over 18 variants of a face (lesson 07), show what twins are worth.

# %%
everything = here.photographs()
clean = here.photographs(clean=True)
twins_right = everything.correct.sum() - clean.correct.sum()
print(f"all    {everything.correct.mean():.1%} of {len(everything.labels):,}")
print(f"clean  {clean.correct.mean():.1%} of {len(clean.labels):,}")
print(f"twins  {twins_right} of {len(everything.labels) - len(clean.labels)}")

# %% [markdown]
# A paper's score on all of `PublicTest` compares with the first figure. On new photographs, expect the second. So this
# course gives the clean figure first.

# %% [markdown] tags=["advanced"]
# ## Advanced: twins that no dictionary finds
#
# Mirror a face, move it by one pixel, or make it one gray level brighter: its bytes change, and people see the same
# face. So look for faces that are *alike*. We cut out the middle, halve its size, subtract its mean and divide by its
# norm. The dot product of two such vectors is their correlation: 1 for equal pictures. We try each test face at five
# places, and mirrored.


# %% tags=["advanced"]
def fingerprints(images, dx=0, dy=0):
    middle = images[:, 1 + dy : 47 + dy, 1 + dx : 47 + dx].reshape(-1, 23, 2, 23, 2)
    # the mean of each 2x2 square: 46 by 46 pixels become 23 by 23
    vectors = middle.mean((2, 4), dtype=np.float32).reshape(len(images), -1)
    vectors -= vectors.mean(1, keepdims=True)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)


training_prints = fingerprints(train_set.images).T
likeness = np.full(len(test_set), -1.0)
nearest = np.zeros(len(test_set), int)
for view in (test_set.images, test_set.images[:, :, ::-1]):
    for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        correlations = fingerprints(view, dx, dy) @ training_prints
        better = correlations.max(axis=1) > likeness
        likeness[better] = correlations.max(axis=1)[better]
        nearest[better] = correlations.argmax(axis=1)[better]

# %% tags=["advanced"] alt="Histogram of the highest correlation of each test face without a twin with any training face"
import matplotlib.pyplot as plt

near = ~twin & (likeness >= 0.98)
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.hist(likeness[~twin].clip(max=1), bins=np.linspace(0.6, 1, 81), color=plots.DARK)
ax.axvline(0.98, color="black", linestyle="--")
ax.set(title=f"Test faces without an exact twin; {near.sum()} at 0.98 or more")
_ = ax.set(xlabel="highest correlation with a training face", ylabel="test faces")

# %% [markdown] tags=["advanced"]
# Is 0.98 a good limit? On the drawn faces it is: almost no face lies close to it. On FER2013 it is less clear. There is
# no gap, so some pairs above the limit may be different photos, and some below it may be the same photo. Look at pairs
# above the limit:

# %% tags=["advanced"] alt="Training faces, and below each the test face that is nearly the same"
some = np.flatnonzero(near)[:7]
if len(some):
    both = np.concatenate([train_set.images[nearest[some]], test_set.images[some]])
    words = ["Training"] * len(some) + [f"test {likeness[k]:.4f}" for k in some]
    figure = plots.face_grid(both, words, columns=len(some), title="Near twins")

# %% [markdown]
# ## What you have learned
#
# - FER2013 is a CSV: emotion, pixels as text, split. A face is
#   `np.array(text.split(), dtype=np.uint8).reshape(48, 48)`.
# - The baseline is the share of the most frequent class. Accuracy hides rare classes.
# - Raters disagree. Few wrong labels spoil a rare class.
# - A test face with a twin in `Training` tests memory. Report the clean figure.

# %% [markdown]
# ## Exercises
#
# You did the first one above.
#
# **Exercise 2.** The baseline: a model always says the most frequent *training* emotion. From the labels of both
# sets, return the share of test faces on which it is right.


# %% tags=["exercise"]
def my_baseline(train_labels, test_labels):
    return ...


# %% tags=["solution"]
def solution_2(train_labels, test_labels):
    return (test_labels == np.bincount(train_labels).argmax()).mean()


def asks_the_test(train_labels, test_labels):
    return np.bincount(test_labels).max() / len(test_labels)


def share_in_training(train_labels, test_labels):
    return np.bincount(train_labels).max() / len(train_labels)


def a_seventh(train_labels, test_labels):
    return 1 / 7


wrong_2 = [
    (
        asks_the_test,
        "this looks at the test for the most frequent emotion; a model cannot",
    ),
    (
        share_in_training,
        "this is its share in the training set; the model is judged on the test",
    ),
    (a_seventh, "a seventh is right only if all emotions are equally frequent"),
]
examples_2 = [
    (np.array([3, 3, 3, 0, 6]), np.array([6, 6, 3, 0])),
    (np.array([6, 1, 1, 1, 3, 4, 0, 5]), np.array([6, 6, 6, 1, 1, 3, 0])),
]

# %%
here.check(my_baseline, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** Each image has a hash, a short text that is equal when the pixels are. From the hashes of a set,
# return the share of images that have a twin in the same set. `np.unique(hashes, return_counts=True)` helps.


# %% tags=["exercise"]
def my_share(hashes):
    return ...


# %% tags=["solution"]
def solution_3(hashes):
    sizes = np.unique(hashes, return_counts=True)[1]
    return sizes[sizes > 1].sum() / len(hashes)


def without_first(hashes):
    return 1 - len(np.unique(hashes)) / len(hashes)


def of_distinct(hashes):
    return np.mean(np.unique(hashes, return_counts=True)[1] > 1)


def of_groups(hashes):
    return np.sum(np.unique(hashes, return_counts=True)[1] > 1) / len(hashes)


wrong_3 = [
    (
        without_first,
        "this leaves out one image of each group: the first has a twin, too",
    ),
    (
        of_distinct,
        "this is a share of the distinct images; count all images of the groups",
    ),
    (of_groups, "this counts groups; a group of three has three images with a twin"),
]
examples_3 = [(np.array(["a", "b", "a", "c", "a", "d", "b", "e"]),)]

# %%
here.check(my_share, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** A model is right on 30% of the 1,840 clean drawn test faces. Has it learned anything about faces? And why does
# the question not use all 2,000?
#
# <details><summary>Answer</summary>
#
# Compare with the baseline, about 25%, and not with 14%. A share of 1,840 faces varies by chance. Its *standard error*
# is the square root of 0.25 * 0.75 / 1840: 1 point. The model is five of them above the baseline. So it has learned
# something, but little.
#
# On all 2,000, 30% would prove nothing. A model that knows only the 160 twins and says "happy" to all others gets
# 0.92 * 25 + 8 = 31%.
#
# </details>

# %% [markdown]
# **2.** Your model is right on 78% of the clean faces and on 95% of the twins. A paper reports 80% on all faces of the
# same test, and 8% of them are twins. Is the paper's model better?
#
# <details><summary>Answer</summary>
#
# Compare like with like. Yours gets 0.92 * 78 + 0.08 * 95 = 79.4% of all faces. The two are about half a point apart,
# far less than the intervals in the picture above. So this test cannot show which model is better.
#
# </details>

# %% [markdown]
# **3.** `Training` has twenty pairs of drawn twins with different labels, one of them wrong. What is the highest
# accuracy that a model can reach on the 2,800 training faces?
#
# <details><summary>Answer</summary>
#
# Equal pixels get equal answers. So of each pair, the model is right on one face at most: 2,780 of 2,800, 99.3%. The
# other wrong labels do not lower this limit: a model can learn a wrong label by heart.
#
# </details>

# %% [markdown]
# **4.** One group of drawn people has poor light. It is 8% of the faces. If a model is right on 60% of this group and
# on 90% of the others, what is its accuracy? Who will notice the group?
#
# <details><summary>Answer</summary>
#
# The accuracy is 0.92 * 90 + 0.08 * 60 = 87.6%. The group costs only 2.4 points, so nobody notices it in the accuracy.
# One has to look at each group alone. Lesson 07 looks for such groups.
#
# </details>

# %% [markdown]
# **5.** Six of ten raters say "sad", four say "neutral". The label says "sad". What does the label hide, and what
# could you train on instead?
#
# <details><summary>Answer</summary>
#
# It hides that the face is disputed: a model that says "neutral" counts as wrong, as if it had said "happy". You
# could train on the votes themselves, 0.6 sad and 0.4 neutral. These are *soft labels*, and FER+ was made for them.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - I. J. Goodfellow et al., *Challenges in representation learning: a report on three machine learning contests*,
#   ICONIP 2013 (where FER2013 comes from).
# - E. Barsoum, C. Zhang, C. Canton Ferrer and Z. Zhang, *Training deep networks for facial expression recognition with
#   crowd-sourced label distribution*, ICMI 2016 (FER+).
# - B. Barz and J. Denzler, *Do we train on test data? Purging CIFAR of near-duplicates*, Journal of Imaging 6(6), 2020.
# - C. G. Northcutt, A. Athalye and J. Mueller, *Pervasive label errors in test sets destabilize machine learning
#   benchmarks*, NeurIPS Datasets and Benchmarks, 2021.
