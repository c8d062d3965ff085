# %% [markdown]
# # Explore the data
#
# Before a network sees a face, look at the faces yourself: what they are made of, which emotions are rare, which
# labels are wrong, and which test faces the training set already holds.
#
# **You will be able to** read pixels and labels, say how unbalanced the classes are and what a lazy model gets out of
# it, tell how far people agree, and find images that leak from training into test.
#
# **You need** nothing but this notebook. **Time:** half an hour to read; it runs in under a minute on a laptop.
#
# The faces are drawn by `ferlib.sample`, so every truth about them is known. To use photographs instead, put FER2013
# into `data/` (the README says how) and write `SOURCE = "fer2013"` below, or set the environment variable `FERLIB_DATA`.

# %%
import os
import warnings

import numpy as np
import pandas as pd

from ferlib import data, plots, protocol, sample
from ferlib.emotions import EMOTIONS

SOURCE = "fer2013" if os.environ.get("FERLIB_DATA") else "sample"
drawn = SOURCE == "sample"
warnings.simplefilter("default")  # a copy of FER2013 that lacks images is noted below

faces = data.load(SOURCE)
faces

# %% [markdown]
# ## What is a face, to a computer?
#
# A square of 48 by 48 whole numbers from 0 (black) to 255 (white), and one more number for the emotion. All faces lie
# in a single array, so `faces.images[0]` is the first one. Here is a patch of it, 8 rows by 12 columns.

# %%
training, test = faces.subset("Training"), faces.subset("PublicTest")
print(
    "array:",
    training.images.shape,
    training.images.dtype,
    f"{training.images.nbytes / 1e6:.1f} MB",
)
print("first label:", training.labels[0], "=", EMOTIONS[training.labels[0]])
print(training.images[0][17:25, 11:23])

# %% [markdown]
# **Which seven?** FER2013 knows seven emotions. Look at four faces of each and name the pair that you find hardest to
# tell apart. Remember it: in the next lesson a network will answer the same question.

# %%
rows = [np.flatnonzero(training.labels == index)[:4] for index in range(len(EMOTIONS))]
order = [row[k] for k in range(4) for row in rows]
titles = [EMOTIONS[label] for label in training.labels[order]]
figure = plots.face_grid(
    training.images[order], titles, columns=7, title="Four faces of each emotion"
)
# %% [markdown]
# ## How many of each?
#
# Before you run the next cell, guess: a model that has learned nothing and always answers with the commonest emotion,
# how often is it right on the test faces, in percent?

# %%
my_guess = 14  # percent; put yours here

counts = faces.counts()
axes = plots.plot_counts(counts)
counts

# %%
commonest = counts.loc["Training"].argmax()
lazy = 100 * (test.labels == commonest).mean()
print(
    f"Always saying {EMOTIONS[commonest]!r} is right on {lazy:.1f}%; you guessed {my_guess}%."
)
rarest = counts.loc["Training"].idxmin()
print(
    f"The rarest emotion, {rarest}, is {counts.loc['Training', rarest] / len(training):.1%} of Training."
)

# %% [markdown]
# That number is the floor. A model that does not beat it has learned how often emotions occur, and nothing of faces.
# It also shows why accuracy alone will not do: the lazy model never finds a disgusted face, and its accuracy does not
# tell. The next lesson therefore looks at each class.

# %% [markdown]
# ## The order of the names
#
# The challenge's CSV calls sad 4, surprise 5 and neutral 6. Folders on disk are read in alphabetical order, and there
# neutral is 4, sad 5 and surprise 6. Mix up the two, and training runs all the same: there is no error message. How many
# labels would be wrong?

# %%
alphabetical = sorted(EMOTIONS)
table = pd.DataFrame(
    {"CSV order": EMOTIONS, "alphabetical": alphabetical}, index=range(7)
)
mistaken = np.array([EMOTIONS.index(name) for name in alphabetical])
wrong = (mistaken[test.labels] != test.labels).mean()
print(f"{wrong:.1%} of the test labels would change their meaning.")
table

# %% [markdown]
# `ferlib` therefore maps by name and never by position: `emotion_index("Sadness")`, of `ferlib.emotions`, is
# 4 whatever the place of its folder.

# %% [markdown]
# ## The mean face of an emotion
#
# Average all faces of one emotion, pixel by pixel. What most of them share stays; what differs blurs away. Which
# parts of the face stay sharp?

# %%
means = np.stack([training.images[training.labels == k].mean(0) for k in range(7)])
pictures = means.round().astype(np.uint8)
title = "The mean training face of each emotion"
figure = plots.face_grid(pictures, EMOTIONS, columns=7, size=1.2, title=title)
# %%
overall = training.images.mean(0)
rng = np.random.default_rng(0)
sizes = [(training.labels == k).sum() for k in range(7)]
random = [training.images[rng.permutation(len(training))[:n]].mean(0) for n in sizes]
distance = {
    "this emotion": np.abs(means - overall),
    "as many at random": np.abs(np.stack(random) - overall),
}
table = pd.DataFrame(
    {name: values.mean((1, 2)) for name, values in distance.items()}, index=EMOTIONS
)
print("mean distance from the mean of all faces, in gray levels")
table.assign(faces=sizes).round(2)

# %%
pictures = (128 + 6 * (means - overall)).clip(0, 255).astype(np.uint8)
title = "Each mean face less the mean of all, six times enhanced"
figure = plots.face_grid(pictures, EMOTIONS, columns=7, size=1.2, title=title)

# %% [markdown]
# Set the two columns side by side before you call one emotion the most distinct: as many faces taken at random, whatever
# their emotion, have a mean that differs too, the more so the fewer they are. Averages of whole pictures hardly show
# what sets an emotion apart. The pictures of the differences do better: where are they strongest?

# %% [markdown]
# ## How sure are people?
#
# Ten raters looked at each face. On the drawn faces they are simulated; on FER2013 they were real people, whose votes
# are known as FER+. Where they disagree, a single label hides it. (FER2013's own files hold no votes: with them the next two cells stay
# silent.)

# %%
if drawn:
    votes = training.table[[f"votes_{name}" for name in EMOTIONS]].to_numpy()
    plurality = votes.max(1)
    print(f"All ten agree on {np.mean(plurality == 10):.1%} of the faces,")
    print(f"half of them or fewer on {np.mean(plurality <= 5):.1%}.")
    unsure = np.argsort(plurality, kind="stable")[:14]
    most = np.argsort(-votes, axis=1)[:, :3]
    said = ["\n".join(f"{EMOTIONS[k]} {votes[i, k]}" for k in most[i]) for i in unsure]
    title = "What divides the raters most, with the three commonest votes (blanks: they could only guess)"
    figure = plots.face_grid(training.images[unsure], said, title=title)

# %%
if drawn:
    truth = training.table["true_label"].to_numpy()
    noisy = training.labels != truth
    print(f"{noisy.mean():.1%} of the training labels are not what was drawn.")
    picks = np.flatnonzero(noisy)[:7]
    titles = [
        f"label {EMOTIONS[training.labels[i]]}\ndrawn {EMOTIONS[truth[i]]}"
        for i in picks
    ]
    figure = plots.face_grid(
        training.images[picks], titles, title="Training faces whose label is wrong"
    )

# %% [markdown]
# ## Is the test really new?
#
# A test is worth something as long as its faces are new to the model. FER2013's are not: about 8% of its test images
# are, pixel for pixel, in the training set. To find identical images, compare fingerprints: a hash is a short text
# that is equal when the pixels are equal. Guess first: how many of the test faces here are also training faces?

# %%
my_guess = 0  # faces; put yours here

seen = {image.tobytes() for image in training.images}
leaked = np.array([image.tobytes() in seen for image in test.images])
print(
    f"{leaked.sum()} of {len(test)} test faces ({leaked.mean():.1%}) are in Training too."
)
print(f"You guessed {my_guess}.")

# %% [markdown]
# That was the whole method. `ferlib.protocol.audit` does the same with hashes, for every pair of splits, for labels
# that contradict each other, and for blank images. It looks at the sealed test as well, yet hands out
# counts and hashes alone.

# %%
audit = protocol.audit(SOURCE)
assert (audit.has_twin("PublicTest", ["Training"]) == leaked).all()
print(audit)

# %%
where = {image.tobytes(): index for index, image in enumerate(training.images)}
right = np.flatnonzero(leaked)[:7]
left = [where[test.images[i].tobytes()] for i in right]
titles = [f"Training\n{EMOTIONS[label]}" for label in training.labels[left]]
titles += [f"PublicTest\n{EMOTIONS[label]}" for label in test.labels[right]]
both = np.concatenate([training.images[left], test.images[right]])
title = "Training faces, and below each its twin in the test"
figure = plots.face_grid(both, titles, columns=len(left), title=title)

# %% [markdown]
# From here on two figures stand side by side where a model is judged: on *all* test faces, and on the *clean* ones,
# those without an identical twin in an earlier split. What a model gains on twins may be memory; lesson 02 measures it.
# Near twins, brighter or shifted by a pixel, pass this check, and some are planted here.

# %% [markdown]
# ## Try it
#
# 1. What share of the training faces has a twin among the training faces themselves? `protocol.image_hashes` gives you
#    a hash for each; `pd.Series(...).value_counts()` counts them.
# 2. One group of people in the drawn faces is badly lit. Find it: `training.table["group"]` has two names. What share
#    of Training is it, and how much darker are its faces?
# 3. `sample.redraw` draws a face again with single action units changed: 1 and 2 raise the inner and the outer brow, 4
#    lowers it, 5 raises the upper lid, 12 pulls up the corners of the mouth, 25 and 26 open it. Which ones make a
#    neutral face surprised? Change the list below.

# %%
if drawn:
    table = training.table
    plain = (
        (table["twin_of"] < 0)
        & ~table["blank"]
        & table["hair"].isin(["bald", "short"])
        & ~table["glasses"]
    )
    row = table[
        plain
        & (table["true_label"] == 6)
        & (table["occlusion"] == "none")
        & (table["light_strength"] < 0.4)
    ].iloc[0]
    units = [
        [],
        ["au12"],
        ["au4"],
        ["au1", "au2"],
        ["au5"],
        ["au25", "au26"],
        ["au1", "au2", "au5", "au26"],
    ]
    redrawn = [
        sample.redraw(row, size=96, **dict.fromkeys(some, 1.0)) for some in units
    ]
    titles = [" + ".join(some) or "as it was" for some in units]
    figure = plots.face_grid(
        redrawn, titles, columns=7, size=1.25, title="One neutral face, redrawn"
    )

# %% [markdown]
# ## Questions
#
# 1. A model gets 30% on these test faces. What would you compare it with before calling that good or bad?
# 2. A paper reports accuracy on all test faces. Why is your accuracy on the clean ones not to be compared with it?
# 3. Two identical images carry different labels. Can any model be right on both? What does that say about 100%?
#
# **Further reading.** I. Goodfellow et al., *Challenges in representation learning: a report on three machine learning
# contests*, 2013 (where FER2013 comes from). E. Barsoum et al., *Training deep networks for facial expression
# recognition with crowd-sourced label distribution*, 2016 (FER+, ten raters an image). B. Barz and J. Denzler, *Do we
# train on test data?*, 2020 (twins in CIFAR).
