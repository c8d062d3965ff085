# %% [markdown]
# # Start here
#
# A computer can name the emotion that a face shows. How often is it right? Can you do it better? And what must you
# not use it for?
#
# {colab}
#
# **You will be able to** find the faces in a picture and label each with an emotion. You will read a confusion matrix,
# compare your own labels with a model's, and change a face by its muscles. And you will know the limits.
#
# **You need** a little Python. **Data:** drawn faces; FER2013: see the end. This lesson belongs to the core of
# the course.
#
# **Time:** 40 minutes to read; about 1 minute on a laptop CPU.

# %% [markdown]
# ## A first prediction
#
# Run a cell with Shift+Enter. The last three lines of the next cell load a trained model, find the faces in a picture
# and label them, and draw the answers. No photo of a person is in this course, so we draw three people.

# %% alt="A drawn scene of three people, their faces in boxes with an emotion each, and seven bars for each face"
from ferlib.apps.recognizer import EmotionRecognizer, plot_answers
from ferlib.sample import scenes

scene = scenes.draw(1, faces=(3, 3), size=(110, 170), seed=4)[0][0]
recognizer = EmotionRecognizer.load("drawn")
answers = recognizer.predict(scene)
figure = plot_answers(scene, answers)

# %% [markdown]
# Each face has a box. Its bars are seven probabilities, one for each emotion (the model calls them *classes*). Did a
# cell fail? Run `!ferlib doctor` in a cell: it says what is missing and how to repair it.
#
# ## Your picture
#
# Put the path of a photo of yourself here and run the cell. The photo stays on the machine that runs this notebook. On
# Colab that is a computer of Google's.

# %%
my_photo = ...  # such as "photo.jpg"

# %%
from ferlib.apps.pictures import read_image

if my_photo is not ...:
    photo = read_image(my_photo)
    photo_answers = EmotionRecognizer.load("fer2013").predict(photo)
    figure = plot_answers(photo, photo_answers)

# %% [markdown]
# There are two models. `drawn` learned from drawn faces. `fer2013` learned from 28,709 photographs, those of the data
# set FER2013. So `drawn` is for the scene, and `fer2013` for your photo.
#
# Make different faces. Which of them does the model get wrong?

# %% [markdown]
# ## How often is it right?
#
# One picture is an anecdote, so we count. A *test set* holds faces that the model has not learned from, with a label
# each. In this course it is the part called `PublicTest`. These numbers set how long the lesson runs.

# %% tags=["parameters"]
TEST = 1000  # test faces
PEOPLE = 100  # drawn people in "What it cannot tell"

# %%
from ferlib import protocol
from ferlib.lesson import Lesson

here = Lesson("00")
faces = here.load()
# One True or False for each test face; True: Training has no copy of this face.
new = protocol.audit(here.source).clean("PublicTest")
test_set = protocol.take(faces.subset("PublicTest").subset(new), TEST)

# %% [markdown]
# `take` picks 1,000 of them and keeps the mix of emotions. `home` is the model that was made for these faces.

# %%
from ferlib import evaluation, models

home, away = ("drawn", "fer2013") if here.drawn else ("fer2013", "drawn")
model = models.load_model(home)
found = {home: evaluation.predict(model, test_set)}

# %% [markdown]
# A model that always says "happy" would be right on a quarter of them, because a quarter shows "happy". How often is
# `home` right?
#
# *Guess, run, compare:* a cell that begins with `my_guess` wants your number first. `here.guess` then tells how far you
# were off.

# %%
my_guess = ...  # percent; put yours here

here.guess(my_guess, 100 * found[home].correct.mean())

# %% [markdown]
# This share is the *accuracy*. It hides much. A *confusion matrix* shows all answers: each row is a true emotion, each
# column an answer. What is right lies on the diagonal.

# %% alt="Confusion matrix of the model on the test faces, most of them on the diagonal"
from ferlib import plots

ax = plots.plot_confusion(found[home])

# %% [markdown]
# Read it row by row. Which emotion does the model find most reliably? Which one does it miss, and what does it say
# instead? On the drawn faces, disgust has the lowest share, 64%, but it has only 14 faces. Counted in faces, neutral
# and sad are mixed up most often: 21 + 7 (both directions).

# %% [markdown]
# ## A score belongs to a kind of faces
#
# Now ask the other model about the same faces. It was trained on the other kind. How often will it be right?

# %%
my_guess = ...  # percent; put yours here

found[away] = evaluation.predict(models.load_model(away), test_set)
here.guess(my_guess, 100 * found[away].correct.mean())

# %% [markdown]
# `fer2013` is right on about 66% of new photographs (one view of each). On the drawn faces it gets 36%; always
# "happy" gets 25%. So never trust a score without asking: on which faces? Nobody has measured these models with your
# camera and your light.

# %% [markdown]
# ## What a model does
#
# `EvalTransform` scales the pixels. The network makes seven scores, *logits*. The *softmax* makes
# probabilities of them: exponentiate each score, then divide by the sum.

# %%
import torch

from ferlib.transforms import EvalTransform

pixels = torch.tensor(test_set.images[:1])[:, None]  # (1, 1, 48, 48), from 0 to 255
with torch.no_grad():
    logits = model(EvalTransform(model.input_spec)(pixels))[0]
probabilities = logits.exp() / logits.exp().sum()
for k, emotion in enumerate(model.classes):
    print(f"{emotion:9}{logits[k]:6.2f} -> {probabilities[k]:6.1%}")

# %% [markdown]
# The seven always add up to 100% (here 100.1, because each is rounded). There is no answer for "I cannot tell", and
# none for "this is no face".
#
# ## You against the model
#
# Here are 21 test faces with enough light, three of each emotion, shuffled. Label them before you go on.

# %%
import numpy as np

middle = test_set.images[:, 12:36, 12:36]
clear = (middle.mean((1, 2)) > 110) & (middle.std((1, 2)) > 30)  # light, contrast
rng = np.random.default_rng(1)
picks = [
    rng.permutation(np.flatnonzero(clear & (test_set.labels == k))) for k in range(7)
]
picks = rng.permutation(np.concatenate([rows[:3] for rows in picks]))

# %% alt="Twenty-one well-lit test faces in three rows of seven, numbered, without their labels"
figure = plots.face_grid(
    test_set.images[picks], range(1, len(picks) + 1), columns=7, size=1.15,
    title="a angry, d disgust, f fear, h happy, s sad, u surprise, n neutral",
)  # fmt: skip

# %%
my_labels = "??????? ??????? ???????"  # 21 letters, row by row: a d f h s u n

# %%
letters = my_labels.replace(" ", "")
right = {home: found[home].correct[picks]}
if "?" not in letters:
    yours = np.array(["adfhsun".index(letter) for letter in letters])
    right["you"] = yours == test_set.labels[picks]

# %% [markdown]
# A *95% interval* is a range of accuracies that fit this result. Repeat the test many times with new faces, and about
# 95 of 100 such ranges contain the true accuracy. For a share of few faces, Wilson's formula gives it.

# %% alt="Share of the 21 faces labelled right by the model, and by you if you labelled them, with its 95% interval"
import pandas as pd
from scipy.stats import binomtest

shares = {}
for who, hits in right.items():
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    shares[f"{who}: {hits.sum()} of {len(hits)}"] = [hits.mean(), low, high]
ax = plots.plot_intervals(pd.DataFrame(shares, index=["value", "low", "high"]).T)
_ = ax.set(title=f"{len(picks)} faces", xlabel="right answers (%)", ylabel="who")

# %% [markdown]
# The interval is long: 21 faces tell little. Lesson 08 compares models fairly.
#
# Here are the labels, and what the model said. Would you have chosen other labels?

# %% alt="The 21 faces with label and answer, framed in purple where the two differ"
said = found[home].predicted[picks]
titles, frames = [], []
for label, answer in zip(test_set.labels[picks], said, strict=True):
    titles.append(f"{faces.classes[label].upper()}\n{faces.classes[answer]}")
    frames.append("black" if label == answer else "#AA3377")
figure = plots.face_grid(
    test_set.images[picks], titles, columns=7, size=1.15, colors=frames,
    title="LABEL and the model's answer; purple where they differ",
)  # fmt: skip

# %% [markdown]
# The last drawn face of row two seems to smile. It was drawn angry: brows down, lids tight. At rest, this person's
# mouth curves up already, and random movement lifted its corners more.
#
# ## Muscles, not feelings
#
# Ekman and Friesen described faces by *action units* (AU), the smallest visible movements of the face. Our drawn faces
# are made from them. Each unit has a strength from 0 to 1. Here are twelve.

# %%
UNITS = {
    "au1": "inner brows up", "au2": "outer brows up", "au4": "brows down", "au5": "upper lids up",
    "au6": "cheeks up", "au7": "lids tight", "au9": "nose wrinkled", "au12": "lip corners up",
    "au15": "lip corners down", "au20": "lips stretched", "au25": "lips apart", "au26": "jaw down",
}  # fmt: skip

# %% [markdown]
# We draw people who look straight ahead. `person | at_rest` copies the person and sets all strengths
# to 0.

# %%
from ferlib import sample

table = sample.draw(
    PEOPLE, seed=300, yaw=0, pitch=0, roll=0, shift_x=0, shift_y=0, scale=0.42, occlusion="none", glasses=False,
    beard=0, moustache=False, blur=0, noise=2, exposure=1, contrast=1, light_strength=0.3, background="gradient",
)[1]  # fmt: skip
at_rest = dict.fromkeys(sample.ACTION_UNITS, 0.0)
people = [person | at_rest for person in table.to_dict("records")]

# %% [markdown]
# From here on `drawn` answers, because these are drawings.

# %%
from ferlib.data import FaceDataset

drawn_model = models.load_model("drawn")


def ask(images):
    labels = np.zeros(len(images), int)  # a dataset needs labels; these are not used
    dataset = FaceDataset.from_arrays(np.stack(images), labels)
    return evaluation.predict(drawn_model, dataset).probabilities


# %% [markdown]
# `sample.redraw` draws a person again. We take one person, `ana`, and pull at one unit at a time, at full strength. How
# many of the 12 units change the answer?

# %%
my_guess = ...  # units; put yours here

ana = people[1]
variants = [sample.redraw(ana)] + [sample.redraw(ana | {unit: 1.0}) for unit in UNITS]
chances = ask(variants)
here.guess(my_guess, (chances[1:].argmax(1) != chances[0].argmax()).sum(), "units")

# %% alt="One drawn face at rest and with each of 12 action units alone, with the model's answer and its probability"
names = ["at rest"] + [f"{unit.upper()} {name}" for unit, name in UNITS.items()]
captions = []
for name, p in zip(names, chances, strict=True):
    captions.append(f"{name}\n{faces.classes[p.argmax()]} {p.max():.0%}")
figure = plots.face_grid(
    variants,
    captions,
    columns=7,
    size=1.15,
    title="One unit at a time, at full strength",
)

# %% [markdown]
# One unit is enough to change the word. Now pull at several: the next cell shows twelve sliders in JupyterLab and on
# Colab. Can you make a smile that is called fear?

# %%
import matplotlib.pyplot as plt
from ipywidgets import interact


def look(**units: float):
    """Draw the person with these action units, and the model's probabilities."""
    face = sample.redraw(ana | units)
    _, (left, bars) = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
    left.imshow(face, cmap="gray", vmin=0, vmax=255)
    left.set(xticks=[], yticks=[], title="the face")
    plots.plot_probabilities(ask([face])[0], ax=bars)


_ = interact(look, **dict.fromkeys(UNITS, (0.0, 1.0, 0.05)))

# %% [markdown]
# Without sliders: change the numbers and run it again.

# %% alt="The drawn person with a smile, and the model's seven probabilities as bars"
look(au6=0.6, au12=0.7)

# %% [markdown]
# ## What it cannot tell
#
# The sun comes out. A hundred drawn people squint: brows down (AU4), lids tight (AU7). They feel nothing; we drew
# them. How many percent does the model call angry?

# %%
my_guess = ...  # percent; put yours here

squinting = [sample.redraw(person | {"au4": 0.7, "au7": 0.9}) for person in people]
called_angry = ask(squinting).argmax(1) == faces.classes.index("angry")
here.guess(my_guess, 100 * called_angry.mean())

# %% [markdown]
# The model read the pixels correctly. It has learned that brows down and tight lids are labelled "angry". The
# mistake is ours, if we read the word as a feeling.
#
# It is the same with people. Barrett and others (2019) reviewed the evidence. Angry people do scowl more often than by
# chance. But this varies with culture, situation and person, and a scowl often means something else. So the seven words
# name looks. Nothing in this course tells what anybody feels.

# %% [markdown]
# ## What the law says
#
# In the European Union, Regulation 2024/1689, article 5(1)(f), prohibits AI systems that infer emotions at work and
# in education. Medical and safety reasons are excepted. It has applied since 2 February 2025. Recital 44 gives the
# reason that you have just seen: limited reliability. For other uses such systems are high risk (annex III).
# Other countries have other laws. This is not legal advice.
#
# For you this means: do not point a camera at your class or your colleagues. Your own face, at home, is yours.

# %% [markdown]
# ## How the course works
#
# Each lesson runs on its own, in minutes. Exercises say what is wrong with a wrong answer.

# %% [markdown]
# | core | | advanced | |
# |---|---|---|---|
# | 01 | Explore the data | 05b | Fine-tuning in depth |
# | 02 | Datasets, splits and loaders | 06 | Architectures and imbalance |
# | 03 | A first CNN | 08 | How sure are we? |
# | 04 | Augmentation | 09 | Explain and doubt |
# | 05 | Fine-tuning | 11 | Scale up |
# | 07 | Where does it fail? | | |
# | 10 | Use it | | |

# %% [markdown]
# Do you want photographs in place of drawn faces? On Colab, write `prepare(data="fer2013")` in the first cell.
# Elsewhere, run this in a terminal, once:
#
#     ferlib data fetch fer2013
#
# Then set `FERLIB_DATA` to the path that it prints, before you start Jupyter.

# %% [markdown]
# ## What you have learned
#
# - `EmotionRecognizer.load(...)`, `predict`, `plot_answers`: three lines from a picture to its emotions.
# - A model turns pixels into seven logits; the softmax makes probabilities of them.
# - A confusion matrix shows what accuracy hides. A score belongs to a model and a kind of faces.
# - A score on 21 faces has a long interval.
# - The model names movements of the face, not feelings. Know the law.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Given seven probabilities in the order of `classes`, return the name of the most probable emotion.


# %% tags=["exercise"]
def my_answer(p, classes):
    return ...


# %% tags=["solution"]
def solution_1(p, classes):
    return classes[int(np.argmax(p))]


def in_alphabet(p, classes):
    return sorted(classes)[int(np.argmax(p))]


def only_place(p, classes):
    return int(np.argmax(p))


def only_value(p, classes):
    return float(np.max(p))


wrong_1 = [
    (
        in_alphabet,
        "this sorts the names first; the probabilities have the order of `classes`",
    ),
    (only_place, "that is the place of the largest; look up its name in `classes`"),
    (only_value, "that is how probable it is, not which emotion it is"),
]
examples_1 = [
    (np.array([0.1, 0.0, 0.1, 0.1, 0.5, 0.1, 0.1]), faces.classes),
    (np.array([0.0, 0.1, 0.2, 0.1, 0.1, 0.1, 0.4]), faces.classes),
]

# %%
here.check(my_answer, solution_1, wrong_1, on=examples_1)

# %% [markdown]
# **Exercise 2.** Write the softmax: from logits (an array) to probabilities. Take care: the exponential of 1,000 is
# too large for a computer. Subtract the largest logit from all of them first; the result stays the same.


# %% tags=["exercise"]
def my_softmax(scores):
    return ...


# %% tags=["solution"]
def solution_2(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def unscaled(scores):
    return np.exp(scores - scores.max())


def no_powers(scores):
    return scores / scores.sum()


def overflowing(scores):
    with np.errstate(all="ignore"):
        return np.exp(scores) / np.exp(scores).sum()


wrong_2 = [
    (unscaled, "divide by the sum: probabilities add up to 1"),
    (no_powers, "take the exponential of each score first"),
    (
        overflowing,
        "with a logit of 1,000 this gives no number: subtract the largest first",
    ),
]
examples_2 = [(np.array([2.0, 1.0, -1.0]),), (np.array([1000.0, 999.0, 0.0]),)]

# %%
here.check(my_softmax, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** Find strengths of some units with which the model says `fear`, such as `{"au1": 0.5, "au26": 1.0}`.
# The sliders and the table `UNITS` help.

# %% tags=["exercise"]
my_units = ...

# %% tags=["solution"]
solution_3 = {"au1": 0.9, "au2": 0.7, "au4": 0.7, "au5": 0.9, "au20": 1.0, "au25": 0.7}
wrong_3 = [
    ("surprise", "surprise raises brows and lids, too; for fear add AU4 and AU20"),
    ("neutral", "still neutral: use more units, or stronger ones"),
    ("sad", "sadness pulls the lip corners down; fear stretches the lips (AU20)"),
    ("angry", "brows down alone are anger; add AU1 and AU2"),
]


def name_of(units):
    if units is ...:
        return ...
    return faces.classes[ask([sample.redraw(ana | units)])[0].argmax()]


# %%
here.check(name_of(my_units), name_of(solution_3), wrong_3)

# %% [markdown]
# ## Questions
#
# **1.** You show `fer2013` pictures of pure noise. Does it answer 1/7 for each emotion? Think first, then run:
# `evaluation.predict(models.load_model("fer2013"), FaceDataset.from_arrays(rng.integers(0, 256, (50, 48, 48),
# dtype=np.uint8), [0] * 50)).probabilities.mean(0)`.
#
# <details><summary>Answer</summary>
#
# No: it says sad to all of them, with about 96%. The softmax compares seven scores.
# A sure answer does not prove that there was a face.
#
# </details>

# %% [markdown]
# **2.** A school outside the EU wants to find frightened pupils. On photographs a model finds half of the fearful
# faces, and calls 5% of the others fearful. Of 1,000 pupils, 20 are afraid. How many of the flagged pupils are
# really afraid?
#
# <details><summary>Answer</summary>
#
# It finds 10 of the 20. It also flags 5% of the 980 others: 49. So 10 of 59 flagged pupils are afraid, 17%. That is
# five false alarms for each hit, even if looks were feelings.
#
# </details>

# %% [markdown]
# **3.** You label the 21 faces and get 18; a friend gets 15. You disagree on three faces, and you are right on all
# three. Are you better?
#
# <details><summary>Answer</summary>
#
# That may be luck. Only the three faces on which you disagree count. If luck decided them, one of you would get all
# three in 2 of 8 cases, so this proves nothing.
#
# </details>

# %% [markdown]
# **4.** The person laughs into the sun: `look(au12=1, au6=0.9, au4=1, au7=1)`. What do you expect, and what does the
# model say?
#
# <details><summary>Answer</summary>
#
# One expects "happy", because AU12 is at its maximum. In our run it says angry, with 67%: the brows outweigh the
# mouth. Hardly any training face has both, so the model has not learned what they mean together.
#
# </details>

# %% [markdown]
# **5.** Your friend's model is right on 90% of the faces in her test. You try it with your camera, and it is wrong
# most of the time. Name two reasons other than a bug.
#
# <details><summary>Answer</summary>
#
# Your faces are of another kind: other light, other angles, a face cut out wider or closer. They may show another mix
# of emotions. And her test may have shared people or pictures with her training faces (lessons 01 and 02).
#
# </details>

# %% [markdown]
# ## Further reading
#
# - I. J. Goodfellow et al., *Challenges in representation learning: a report on three machine learning contests*,
#   ICONIP 2013 (FER2013).
# - P. Ekman and W. V. Friesen, *Facial Action Coding System*, Consulting Psychologists Press 1978.
# - L. F. Barrett, R. Adolphs, S. Marsella, A. M. Martinez and S. D. Pollak, *Emotional expressions reconsidered:
#   challenges to inferring emotion from human facial movements*, Psychological Science in the Public Interest 20(1),
#   2019.
# - European Union, *Regulation 2024/1689 of 13 June 2024 (Artificial Intelligence Act)*, article 5(1)(f), recitals 18
#   and 44.
