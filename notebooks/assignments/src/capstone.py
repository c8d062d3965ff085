# %% [markdown]
# # Capstone: find it, mend it, prove it
#
# Somebody hands you a dataset of 2,200 faces and a network with a figure. The figure is wrong, because the data is.
# You find out how, mend it, train again for the same price, and say what the new figure is worth.
#
# **After lessons** 00 to 09. **Points:** 100; the rubric is in `capstone.md` beside this notebook. **Time:** 10 to 15
# hours, of which the computer needs some minutes.
#
# **Your file** comes from your teacher and is yours alone: other faces, other faults than your neighbour's. To practise
# without a teacher, draw one, in the folder of this notebook:
#
#     python ../../tools/capstone.py draw --student practice --out .

# %%
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ferlib import data, evaluation, models, plots, training
from ferlib.emotions import EMOTIONS
from ferlib.training.optim import TrainConfig

MY_FILE = Path("practice.npz")  # put the path of your own file here
OUT = Path(".")  # the folder for what you hand in

if not MY_FILE.exists():
    raise FileNotFoundError(
        f"{MY_FILE.resolve()} is not there: put the path of your file into MY_FILE, or draw the practice file "
        "with the command above"
    )
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # `load` warns of what the next line prints as a note
    faces = data.load(MY_FILE, classes="fer2013")
print(faces)

# %% [markdown]
# Each face has a number, `row`: its place in the file, 0 to 2,199. You will report rows, and they stay with a face
# through every `subset`.

# %%
train_set, test_set = faces.subset("Training"), faces.subset("PublicTest")
print(faces.counts().T.to_string())
print("rows of the last three faces of PublicTest:", test_set.table["row"].to_list()[-3:])

# %% alt="The first 21 training faces of your file, each with its label"
some = train_set.subset(np.arange(21))
title = "The first 21 training faces"
figure = plots.face_grid(some.images, [EMOTIONS[k] for k in some.labels], columns=7, title=title)

# %% [markdown]
# ## The baseline
#
# The network that you were handed: a small FerNet, trained without augmentation on `Training` as it is. Its price is
# 32,000 images seen, 10 to 20 seconds on two CPU cores. The last epoch is kept, whatever it gets, so `PublicTest`
# has no say in it.
#
# Leave `train` and its settings as they are: your mended network has to be trained by the same function at the same
# price, or the comparison says nothing about the data.

# %%
FAST = bool(os.environ.get("FERLIB_FAST"))  # for trying out the notebook itself
IMAGES_SEEN = 640 if FAST else 32_000
NETWORK = {"widths": (16, 32, 64, 96), "depths": (0, 0, 0), "drop_rate": 0.0}


def train(dataset, seed=0):
    """A network trained from scratch on a dataset; IMAGES_SEEN images, whatever the dataset's size."""
    if FAST:
        dataset = dataset.subset(np.arange(640))
    torch.manual_seed(seed)
    network = models.build_model("fernet", **NETWORK)
    epochs = max(1, round(IMAGES_SEEN / len(dataset)))
    config = TrainConfig(epochs=epochs, batch_size=32, lr=3e-3, seed=seed)
    watched = test_set.subset(np.arange(50))  # shown along the way, and used for nothing
    return training.fit(network, dataset, watched, config, progress=False).model


def answers(network, dataset):
    """What a network says of each face of a dataset."""
    return evaluation.predict(network, dataset)


def keep(network, name):
    """Write a network to one file in the folder that you hand in."""
    models.save_model(network, OUT / "kept").replace(OUT / f"{name}.safetensors")
    (OUT / "kept").rmdir()


baseline = train(train_set)
keep(baseline, "baseline")
reported = evaluation.summarise(answers(baseline, test_set))
print("the baseline on PublicTest as it is, in percent:")
print((100 * reported).round(1).to_string())

# %% [markdown]
# This is the figure that came with the data. Before you go on, write down in the next cell what you believe that the
# baseline gets on new faces of the same kind, from new persons. You will need it at the end.

# %% [markdown]
# **I believe that on new faces the baseline gets ... %, because ...**

# %% [markdown]
# ## 1. Find the faults
#
# Three things were done to your file, and nothing else:
#
# - **leak**: some faces of `PublicTest` also stand in `Training`, some of them slightly changed.
# - **shortcut**: most faces of *one* emotion carry a mark that no other emotion has, in both splits.
# - **label**: in one or two emotions, some of the `Training` labels were turned into another emotion. All labels of
#   `PublicTest` are right.
#
# No face has two of these faults. How many faces are concerned, which emotions, and what the mark looks like, is yours
# to find. Add as many cells as you like below each heading.

# %% [markdown]
# ### The leak
#
# Show how you looked, which faces you call the same, where you drew the line and why there. A picture of the pairs
# closest to your line, on both its sides, belongs here.

# %%
# Your search for the leak.

# %% [markdown]
# ### The shortcut
#
# Show how you found the emotion and the mark without knowing either. Then measure what the mark does to the
# baseline, by an experiment with the mark on and off, and not only by a map.

# %%
# Your search for the shortcut, and your experiment.

# %% [markdown]
# ### The wrong labels
#
# Rank the training labels from the most suspect to the least, and decide how far down the list you go. Say how
# many of your suspects you expect to be wrong, and how you know. A picture of the most suspect ones belongs here, and
# one of those at your cut.

# %%
# Your search for the wrong labels.

# %% [markdown]
# ### What you found
#
# Fill in rows. Of a leak give the row of the `PublicTest` face, of its twin, or both; it counts once. Of the shortcut
# give only the faces that *carry* the mark. Rows that are nothing of the kind cost precision, rows that are missing
# cost recall: the points come from the F1 of each fault.

# %%
findings = {
    "leak": [],  # rows, such as [1700, 1934]
    "shortcut": [],
    "label": [],
}

# %%
lines = [(int(row), fault) for fault, rows in findings.items() for row in sorted(set(rows))]
table = pd.DataFrame(lines, columns=["row", "fault"])
table.to_csv(OUT / "findings.csv", index=False)
known = table["row"].isin(faces.table["row"])
print(table["fault"].value_counts().reindex(list(findings), fill_value=0).to_string())
if not known.all():
    print("no such rows in your file:", table["row"][~known].to_list())

# %% [markdown]
# ## 2. Mend the data
#
# Make two datasets: `mended_set` to train on, and `clean_test` to judge by. Of each fault decide, and write down, what
# you do with the faces concerned: leave them out, change their pixels, change their label, keep them. Each choice costs
# something. Say what, and what you did not choose.
#
# Your teacher's sealed test holds new faces without any mark, given to your network as they are. No code of yours runs
# there.

# %%
# Your mending. To change pixels or labels, `dataclasses.replace(dataset, images=..., table=...)` makes a new dataset.
mended_set = train_set
clean_test = test_set
print(f"{len(mended_set):,} faces to train on, {len(clean_test):,} to judge by")

# %% [markdown]
# ## 3. Train again, for the same price
#
# The same function, the same seed, the same number of images seen. One training is one throw of the dice: with the
# minutes that two more seeds cost you can say how much of a difference is the seed's.

# %%
mended = train(mended_set)
keep(mended, "mended")

# %% [markdown]
# ## 4. Compare fairly
#
# Which faces may judge both networks? Why these? Both networks answer the same faces, so the difference has an
# interval of its own. Besides the accuracy, look at the emotions that the faults touched.

# %%
before, after = answers(baseline, clean_test), answers(mended, clean_test)
compared = evaluation.compare(before, after)
for name, each in (("baseline", before), ("mended", after)):
    value, low, high = 100 * evaluation.summarise(each).loc["accuracy"]
    print(f"{name} on the faces that judge both: {value:.1f}% [{low:.1f}, {high:.1f}]")
value, low, high = 100 * compared.difference.loc["accuracy"]
print(f"difference: {value:+.1f} points [{low:+.1f}, {high:+.1f}], p = {compared.p_value:.2g}")

# %% [markdown]
# **What this says, and what it does not:** ...
#
# - How much of the reported figure was leak, how much shortcut? How do you know?
# - Did each mending help by itself? An answer takes one more training for each.
# - What will your mended network get on the sealed test? Write down a figure and an interval, now.

# %% [markdown]
# ## 5. The model card
#
# One page for somebody who wants to use your mended network. Every figure with what it was measured on, and with its
# interval. `ferlib/weights/fer2013.md` is an example.
#
# ### Model
#
# What it is, what goes in, what comes out, how it was trained, and with whose help.
#
# ### Data
#
# What was wrong with it, how many faces are concerned, what you did, and what may still be wrong.
#
# ### Accuracy
#
# On which faces, how chosen, with intervals, by emotion. The old figure beside the new one, and why they differ.
#
# ### Not for
#
# What it must not be used for, and for whom it was not measured.

# %% [markdown]
# ## 6. Hand in
#
# This notebook with its outputs, and the three files below, all in one folder. Choose *Restart Kernel and Run All
# Cells* first. Say in one sentence what help you had, of people and of programs.
#
# **I worked alone, except that ...**

# %%
for name in ("findings.csv", "baseline.safetensors", "mended.safetensors"):
    path = OUT / name
    print(f"{name}: {f'{path.stat().st_size:,} bytes' if path.exists() else 'MISSING'}")
