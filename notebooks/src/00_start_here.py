# %% [markdown]
# # Start here
#
# Can a computer name the emotion that a face shows, and can you do it better? In this hour you run two trained models,
# label 21 faces yourself, pull at the muscles of a drawn face, and see what such a model must not be used for.
#
# {colab}
#
# **You will be able to** check your machine, ask a trained model, set your score beside the model's without fooling
# yourself, say what an action unit is, and name the legal and ethical limits.
#
# **You need** a little Python. **Data:** the drawn sample; FER2013 with `FERLIB_DATA`.
#
# **Time:** 40 minutes to read; about 30 seconds on a laptop CPU, the first time, when 6,800 faces are drawn.

# %% [markdown]
# ## Is this machine ready?
#
# Run a cell with Shift+Enter. The next one looks at Python, the packages, the processor and the folders. A line that
# begins with `FIX` is followed by the command that repairs it. No GPU is needed.

# %%
from ferlib import doctor

print(doctor.report(doctor.check()))

# %% [markdown]
# ## A model in the first minute
#
# Two trained models come with the course. `fer2013` learned from 28,709 photographs, those of the data set FER2013.
# `drawn` learned from 2,800 faces that `ferlib` draws. Nobody's photograph is in this course, so most lessons use
# drawn faces: their truth is known, as no photograph's is.
#
# Here is one face of each emotion, 48 by 48 gray pixels each. Above it stand its label and what both models say. How
# many of the seven does `fer2013` name right?

# %% alt="One test face of each emotion, with its label and what both models say"
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from scipy.stats import binomtest

from ferlib import data, evaluation, models, plots, sample
from ferlib.data import FaceDataset
from ferlib.emotions import COLORS, EMOTIONS
from ferlib.lesson import Lesson

here = Lesson("00")
test_set = here.load().subset("PublicTest")
if here.fast:
    test_set = test_set.subset(np.arange(min(300, len(test_set))))
true = test_set.labels

networks = {name: models.load_model(name) for name in ("drawn", "fer2013")}
home, away = ("drawn", "fer2013") if here.drawn else ("fer2013", "drawn")
found = {
    name: evaluation.predict(network, test_set) for name, network in networks.items()
}
fine = np.ones(len(true), bool)
if here.drawn:  # leave out blank pictures, and copies of training faces
    fine = ((test_set.table["twin_of"] < 0) & ~test_set.table["blank"]).to_numpy()
first = [int(np.flatnonzero(fine & (true == k))[0]) for k in np.unique(true)]
titles = [
    f"{EMOTIONS[true[i]].upper()}\ndrawn: {EMOTIONS[found['drawn'].predicted[i]]}\n"
    f"fer2013: {EMOTIONS[found['fer2013'].predicted[i]]}"
    for i in first
]
title = "One face of each emotion: LABEL, and what two models say"
figure = plots.face_grid(test_set.images[first], titles, size=1.1, title=title)

# %% [markdown]
# Seven faces are an anecdote. So count over all test faces. The measure is *balanced accuracy*: the share named right
# within each emotion, averaged over the seven, so that who always says "happy", or guesses, gets 1/7, 14.3%. On real
# photographs `fer2013` gets 65.4% this way with one look at each face. What will it get on the faces of this lesson?

# %%
my_guess = ...  # percent; put yours here

balanced = {
    name: evaluation.summarise(predictions).loc["balanced_accuracy"]
    for name, predictions in found.items()
}
here.guess(my_guess, 100 * balanced["fer2013"]["value"])

# %% [markdown]
# Does the picture look different for `drawn`, and for `fer2013` on the photographs it was made for? (The photographs
# are not here, the model's answers on 3,589 of them are. Lines are 95% intervals: where the share would lie with
# other test faces of the same kind. Lesson 08 takes them apart.)

# %% alt="Balanced accuracy with 95% intervals of both models on the lesson's faces, and of fer2013 on photographs"
kind = "drawn faces" if here.drawn else "these faces"
rows = {f"{name} on {len(true):,} {kind}": balanced[name] for name in (home, away)}
photographs = here.photographs(views="single_view")
if photographs is not None and here.drawn:
    summary = evaluation.summarise(photographs)
    rows["fer2013 on 3,589 photographs"] = summary.loc["balanced_accuracy"]
ax = plots.plot_intervals(pd.DataFrame(rows).T)
_ = ax.set(title="Who knows what?", xlabel="balanced accuracy (%)", ylabel="model")
ax.axvline(100 / 7, linestyle=":", color="#666666")
ax.text(100 / 7, -0.55, " guessing", color="#666666", fontsize=8)

difference = evaluation.compare(found[away], found[home]).difference
gap = 100 * difference.loc["balanced_accuracy"]
text = f"`{home}` above `{away}` on the lesson's faces, balanced accuracy"
more = {"interval": (gap["low"], gap["high"]), "n": len(true)}
_ = here.claim(text, gap["value"], 25, **more)

# %% [markdown]
# So take `drawn` for drawings and `fer2013` for photographs, never the other way round: on FER2013's photographs
# `drawn` got 21.8% in our run. (With 18 looks at each face, averaged, `fer2013` gets 30.1% on drawings; on photographs
# 67.5% balanced, and 70.4% of all faces right.)
#
# A score belongs to a model *and* to a kind of faces. How either does with your camera, nobody has measured. The
# intervals do not tell you: they are about other faces of the same kind.

# %% [markdown]
# ## What a model does
#
# It turns pixels into seven numbers, one score an emotion, called *logits*. The larger, the likelier. Exponentiated
# and divided by their sum, they are probabilities: this is the *softmax*. By hand, for the first face above:

# %%
network = networks[home]
spec = network.input_spec
pixels = torch.tensor(test_set.images[first[0]])[None, None] / 255  # 0 to 1
pixels = (pixels - spec.mean[0]) / spec.std[0]  # mean 0 and sd 1 over many faces
with torch.inference_mode():
    logits = network(pixels)[0].numpy()
chances = np.exp(logits) / np.exp(logits).sum()

np.testing.assert_allclose(chances, found[home].probabilities[first[0]], atol=1e-5)
for name, logit, chance in zip(EMOTIONS, logits, chances, strict=True):
    print(f"{name:9}{logit:6.2f} -> {chance:6.1%}")

# %% [markdown]
# Whatever the picture, the seven add up to 100%. There is no eighth answer for "I cannot tell" or "this is no face".
#
# ## Now you
#
# Here are 21 faces, three of each emotion, shuffled. Label them before you go on: one letter each, row by row.

# %% alt="Twenty-one test faces in three rows of seven, numbered, without their labels"
rng = np.random.default_rng(2)
usable = fine.copy()
usable[first] = False  # the faces above, whose labels you have seen
picks = np.concatenate(
    [rng.permutation(np.flatnonzero(usable & (true == k)))[:3] for k in range(7)]
)
picks = rng.permutation(picks)
numbers = [*range(1, len(picks) + 1)]
title = "Label them: a angry, d disgust, f fear, h happy, s sad, u surprise, n neutral"
figure = plots.face_grid(
    test_set.images[picks], numbers, columns=7, size=1.15, title=title
)

# %%
my_labels = "??????? ??????? ???????"  # a d f h s u n; put yours here, one a face

# %% [markdown]
# Done? How many of the 21 are right, yours and the model's? Who has not labelled is replaced by *ten raters*: each
# drawn face carries the votes of ten simulated people, who err like people (sad for neutral, fear for surprise), and
# more often where an expression is weak or the picture bad. They never looked at it: we drew their votes from the
# truth. The emotion with most votes, their *plurality*, stands in.


# %%
def read_labels(text):
    """Class numbers of a line of letters, or None while a ? is left in it."""
    letters = "".join(text.lower().split())
    if "?" in letters:
        return None
    if len(letters) != len(picks) or not set(letters) <= set("adfhsun"):
        raise ValueError(f"my_labels: {len(picks)} letters, all of a d f h s u n")
    return np.array(["adfhsun".index(letter) for letter in letters])


mine, rater, right = read_labels(my_labels), "you", {}
if mine is None and here.drawn:
    rater = "ten raters"
    mine = test_set.table[sample.VOTE_COLUMNS].to_numpy()[picks].argmax(1)
    print("my_labels is not filled in: the plurality of ten simulated raters stands in")
if mine is None:
    print("my_labels is not filled in, and these faces carry no votes of raters")
else:
    right[rater] = mine == true[picks]
right |= {name: found[name].correct[picks] for name in (home, away)}
for name, hits in right.items():
    print(f"{name:12}{hits.sum():3} of {len(picks)}")

# %% [markdown]
# Do the scores differ by more than 21 faces allow?

# %% alt="Share of the 21 faces named right, with Wilson's 95% interval, by you or the raters and by both models"
rows = {}
for name, hits in right.items():
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    rows[name] = [hits.mean(), low, high]
ax = plots.plot_intervals(pd.DataFrame(rows, index=["value", "low", "high"]).T)
_ = ax.set(title=f"{len(picks)} faces", xlabel="named right (%)", ylabel="who")

# %% [markdown]
# The intervals are Wilson's, made for shares of few faces; each is about a third of the scale wide. A better way to
# compare two who saw *the same* faces: where both are right or both wrong, nothing is decided. Count the faces that
# divide them. Then ask a coin: tossed as often, how often would it come out at least as one-sided?

# %%
if rater in right:
    a, b = right[rater], right[home]
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    coin = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    print(
        f"{only_a + only_b} faces divide {rater} from `{home}`: "
        f"{only_a} to {only_b}; a coin does that in {coin:.0%} of cases"
    )
    if rater != "you":
        text = "a coin divides the 21 faces as raters and model do"
        here.claim(text, 100 * coin, 5, unit="% of cases", n=len(picks))

# %% [markdown]
# (That claim has no interval: the coin's chance is reckoned, not estimated.) Below 5% one would doubt the coin. With 21
# faces that takes at least six that divide you, all to one side. In ten choices of 21 faces, raters and model were
# divided by one to six, and a coin did as much in at least 22% of cases. So 21 faces set two scores side by side; they
# do not tell who is better.
#
# Look at the mistakes. Would you have labelled them otherwise?

# %% alt="The 21 faces with their label, your or the raters' answer and the model's, faces framed that either got wrong"
answers = {} if mine is None else {rater: mine}
answers["model"] = found[home].predicted[picks]
titles, missed = [EMOTIONS[label].upper() for label in true[picks]], set()
for who, given in answers.items():
    missed |= {*np.flatnonzero(given != true[picks])}
    titles = [
        f"{title}\n{who}: {EMOTIONS[label]}"
        for title, label in zip(titles, given, strict=True)
    ]
figure = plots.face_grid(
    test_set.images[picks],
    titles,
    columns=7,
    size=1.15,
    title="LABEL and answers; framed in purple where one of them is wrong",
    colors=["#AA3377" if k in missed else "black" for k in range(len(picks))],
)
print("faces that somebody got wrong:", *(k + 1 for k in sorted(missed)))

# %% [markdown]
# ## Muscles, not feelings
#
# What does the model look at? The drawn faces are made from *action units*, the movements into which Ekman and
# Friesen's Facial Action Coding System (1978) takes a face apart. Each has a number and a strength from 0 to 1.
#
# Here is one person, at rest, and with each of 17 units alone at full strength; `drawn` names each face (whatever
# `FERLIB_DATA` says, for these are drawings). How many of the 17 change its answer from neutral to something else?

# %%
my_guess = ...  # units; put yours here

UNITS = {
    "au1": "inner brow raiser",
    "au2": "outer brow raiser",
    "au4": "brow lowerer",
    "au5": "upper lid raiser",
    "au6": "cheek raiser",
    "au7": "lid tightener",
    "au9": "nose wrinkler",
    "au10": "upper lip raiser",
    "au12": "lip corner puller",
    "au15": "lip corner depressor",
    "au16": "lower lip depressor",
    "au17": "chin raiser",
    "au20": "lip stretcher",
    "au23": "lip tightener",
    "au24": "lip pressor",
    "au25": "lips part",
    "au26": "jaw drop",
}
still = {"yaw": 0, "pitch": 0, "roll": 0, "shift_x": 0, "shift_y": 0, "scale": 0.42}
still |= {"occlusion": "none", "glasses": False, "beard": 0, "moustache": False}
still |= {"blur": 0, "noise": 2, "exposure": 1, "contrast": 1, "light_strength": 0.3}
still |= {"background": "gradient", **dict.fromkeys(UNITS, 0)}
person = sample.draw(1, seed=1, **still)[1].iloc[0]


def read(images):
    """What `drawn` sees in faces (n, 48, 48): probabilities (n, 7)."""
    nobody = np.zeros(len(images), int)  # labels, which are not asked for
    some = FaceDataset.from_arrays(images, nobody)
    return evaluation.predict(networks["drawn"], some).probabilities


alone = [sample.redraw(person), *(sample.redraw(person, **{u: 1}) for u in UNITS)]
seen = read(np.stack(alone))
changed = seen[1:].argmax(1) != seen[0].argmax()
here.guess(my_guess, changed.sum(), "units")

# %% [markdown]
# Which unit is read as which emotion, and which does nothing at all?

# %% alt="One drawn face at rest and with each of 17 action units alone, with the model's answer and its probability"
names = ["at rest", *(f"AU{unit[2:]} {name}" for unit, name in UNITS.items())]
titles = [
    f"{name}\n{EMOTIONS[chance.argmax()]} {chance.max():.0%}"
    for name, chance in zip(names, seen, strict=True)
]
title = "One action unit at a time, and what the model drawn says"
figure = plots.face_grid(np.stack(alone), titles, columns=6, size=1.3, title=title)
same = [
    u for u, image in zip(UNITS, alone[1:], strict=True) if (image == alone[0]).all()
]
print("units that change no pixel of this face:", *same)

# %% [markdown]
# AU16 lowers the lower lip's edge, which cannot be seen on a closed mouth. Units work together: that is why they are
# hard to read one by one, and why the picture does not show what any two of them do.
#
# Pull at them. In JupyterLab and on Colab the next cell shows twelve sliders; a web page cannot, and shows nothing.


# %%
def look(**units):
    """A figure of the person with these action units, the probabilities beside."""
    face = sample.redraw(person, **units)
    size = {"figsize": (7.5, 3), "layout": "constrained", "width_ratios": (1, 2)}
    figure, (left, bars) = plt.subplots(1, 2, **size)
    left.imshow(face, cmap="gray", vmin=0, vmax=255)
    left.set(xticks=[], yticks=[], title="the face")
    plots.plot_probabilities(read(face[None])[0], ax=bars)
    return figure


def moved(change=None):
    """Put the picture that belongs to the sliders beside them."""
    figure, png = (
        look(**{unit: slider.value for unit, slider in sliders.items()}),
        BytesIO(),
    )
    figure.savefig(png, format="png", dpi=90)
    plt.close(figure)
    picture.value = png.getvalue()


shown = ["au1", "au2", "au4", "au5", "au6", "au7"]
shown += ["au9", "au12", "au15", "au20", "au25", "au26"]
try:
    import ipywidgets
except ImportError:
    print("no sliders without ipywidgets (pip install ipywidgets); use the cell below")
else:
    picture, sliders = ipywidgets.Image(format="png"), {}
    for unit in shown:
        limits = {"min": 0, "max": 1, "step": 0.05, "continuous_update": False}
        sliders[unit] = ipywidgets.FloatSlider(description=unit.upper(), **limits)
        sliders[unit].observe(moved, "value")
    moved()
    display(ipywidgets.HBox([ipywidgets.VBox([*sliders.values()]), picture]))

# %% [markdown]
# The same without sliders: change the numbers, run again. Can you make a smile that is called fear?

# %% alt="The drawn person with the chosen action units, and the model's seven probabilities as bars"
figure = look(au6=0.6, au12=0.7)

# %% [markdown]
# A smile is AU12, growing. From which strength on does the model say happy?

# %%
my_guess = ...  # strength; put yours here

strengths = np.linspace(0, 1, 21)
smiles = np.stack([sample.redraw(person, au12=strength) for strength in strengths])
curves = read(smiles)
happy = curves.argmax(1) == EMOTIONS.index("happy")
here.guess(my_guess, strengths[happy.argmax()] if happy.any() else np.nan, "of 1")

# %% alt="Six faces with a growing smile, and the model's probabilities of the emotions over the strength of AU12"
figure = plt.figure(figsize=(7.5, 4.6), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2.4))
for place, ax in enumerate(top.subplots(1, 6)):
    ax.imshow(smiles[4 * place], cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[], title=f"AU12 {strengths[4 * place]:.1f}")
ax = bottom.subplots()
for k, (name, mark) in enumerate(zip(EMOTIONS, "osv^D*x", strict=True)):
    line = {"color": COLORS[name], "marker": mark, "markevery": 2, "markersize": 5}
    ax.plot(strengths, 100 * curves[:, k], label=name, **line)
labels = {"xlabel": "strength of AU12 (0 to 1)", "ylabel": "probability (%)"}
_ = ax.set(title="A growing smile", ylim=(0, 100), **labels)
_ = ax.legend(ncols=2, fontsize=8)

# %% [markdown]
# There is a point where the answer flips, and the face to its left looks much like the face to its right: the name
# jumps, the muscle does not. The curve is this one person's; another has other lips.
#
# ## What it cannot tell
#
# The sun comes out. A hundred drawn persons squint: brows down (AU4 at 0.7), lids tight (AU7 at 0.9). They feel
# nothing; we drew them. How many of the 100 does the model call angry?

# %%
my_guess = ...  # faces; put yours here

people = sample.draw(20 if here.fast else 100, seed=300, **still)[1]
squints = [sample.redraw(one, au4=0.7, au7=0.9) for one in people.to_dict("records")]
squinting = read(np.stack(squints))
angry = squinting.argmax(1) == EMOTIONS.index("angry")
here.guess(my_guess, 100 * angry.mean(), "of 100")
print(f"and is {squinting.max(1).mean():.0%} sure, on average")
low, high = binomtest(int(angry.sum()), len(angry)).proportion_ci(method="wilson")
text = "persons who squint into the sun and are called angry"
more = {"interval": (100 * low, 100 * high), "unit": "of 100", "n": len(people)}
_ = here.claim(text, 100 * angry.mean(), 50, **more)

# %% [markdown]
# The model has made no mistake about pixels. Its anger *is* lowered brows and tight lids, because the faces that it
# learned from were made so. The mistake is ours, if we read the word as a feeling.
#
# On people it is no different. Barrett and others (2019) reviewed the evidence: people do scowl when angry more often
# than by chance, but how they show an emotion varies between cultures, situations and within one person, and a scowl
# often means something else than anger. So the seven words name looks. Nothing in this course tells what anybody
# feels.

# %% [markdown]
# ## What the law says
#
# In the European Union, Regulation 2024/1689, article 5(1)(f), prohibits AI systems that infer emotions at
# work and in education, unless for medical or safety reasons; it applies since 2 February 2025. Recital 44 gives the
# reason that you have just seen: limited reliability, and expressions that vary. Outside work and education such
# systems count as high risk (annex III). Other countries have other laws. This is not legal advice.
#
# Here that means: a model that is tried on drawings infers nobody's emotion. A camera pointed at your class or your
# colleagues is the very case. Don't, not even for fun. Lesson 10 offers a camera for one
# face: yours, at home.

# %% [markdown]
# ## How the course works
#
# *Guess, run, check.* A cell that begins with `my_guess` wants your number before you run it; the miss is printed, and
# is what you will remember. Exercises say what is wrong with a wrong answer; solutions are folded below them. Lines
# that begin with "Claim" are what a lesson promises, measured while you watch, on the drawn faces. Each lesson runs on
# its own, in minutes, from any folder. Twelve drawn faces come back from lesson 03 on.

# %% [markdown]
# | | | |
# |---|---|---|
# | 01 | Explore the data | twins and leaks |
# | 02 | Splits and loaders | the sealed test |
# | 03 | A first CNN | a network |
# | 04 | Augmentation | help and harm |
# | 05 | Transfer | trained weights |
# | 06 | Architectures and imbalance | rare emotions |
# | 07 | Where does it fail? | groups |
# | 08 | How sure are we? | intervals |
# | 09 | Explain and doubt | heat maps |
# | 10 | Use it | photos, video |
# | 11 | Scale up | GPUs |

# %% [markdown]
# ## Real faces, and your own
#
# FER2013, 35,887 photographs of 48 by 48 pixels, comes with one command in a terminal, without an account:
#
#     ferlib data fetch fer2013
#
# A lesson uses it that says `Lesson("03", "fer2013")` where it now says `Lesson("03")`; or set `FERLIB_DATA` to the
# path that the command printed, before you start Jupyter. Claims are then reported, not checked. Your own pictures
# need a folder for each emotion: `faces/train/happy/1.png`. A trap lies there: folders sort by name, FER2013's numbers
# do not, and who maps by position mixes up sad, surprise and neutral. Do the 21 faces survive as files?

# %%
import tempfile
from pathlib import Path

from PIL import Image

with tempfile.TemporaryDirectory() as folder:
    for number, i in enumerate(picks):
        path = Path(folder) / "faces" / "train" / EMOTIONS[true[i]] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test_set.images[i]).save(path)
    own = data.load(Path(folder) / "faces")
print(own.counts().to_string())
assert np.array_equal(np.bincount(own.labels), np.bincount(true[picks]))

# %% [markdown]
# The 21 faces came back with their labels, by name. `ferlib data --data faces` shows the same in a terminal, and
# `data/README.md` lists every layout that is read.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Given seven probabilities in the order of `EMOTIONS`, return the name of the likeliest emotion.


# %% tags=["exercise"]
def my_answer(chances):
    return ...


# %% tags=["solution"]
def solution_1(chances):
    return EMOTIONS[int(np.argmax(chances))]


# %%
examples = [
    (np.array([0.1, 0.0, 0.1, 0.1, 0.5, 0.1, 0.1]),),
    (np.array([0.0, 0.1, 0.2, 0.1, 0.1, 0.1, 0.4]),),
]
wrong_answers = [
    (
        lambda chances: sorted(EMOTIONS)[int(np.argmax(chances))],
        "that is the order of folders; the numbers are in the order of EMOTIONS",
    ),
    (
        lambda chances: int(np.argmax(chances)),
        "that is the place of the likeliest; look its name up in EMOTIONS",
    ),
    (lambda chances: float(np.max(chances)), "that is how sure, not what"),
]
here.check(my_answer, solution_1, wrong_answers, on=examples)

# %% [markdown]
# **Exercise 2.** Votes (n, 7): how many of ten raters chose each emotion. Return the class number (n,) of each face's
# plurality.


# %% tags=["exercise"]
def my_plurality(votes):
    return ...


# %% tags=["solution"]
def solution_2(votes):
    return votes.argmax(1)


# %%
votes = np.array([[6, 0, 0, 0, 0, 0, 4], [0, 0, 0, 6, 0, 0, 4], [0, 0, 3, 0, 0, 7, 0]])
wrong_answers = [
    (
        lambda votes: np.rint(votes @ np.arange(7) / votes.sum(1)).astype(int),
        "a mean of numbers is no emotion: angry (0) and neutral (6) give fear (2)",
    ),
    (lambda votes: votes.max(1), "that is how many chose it, not what they chose"),
    (
        lambda votes: votes.argmax(0),
        "that looks down the faces; look along the emotions",
    ),
]
here.check(my_plurality, solution_2, wrong_answers, on=[(votes,)])
if here.drawn:
    every = test_set.table[sample.VOTE_COLUMNS].to_numpy()
    print(
        f"plurality right: {(solution_2(every) == true).mean():.1%} of all test faces"
    )
    print(f"one rater: {every[np.arange(len(true)), true].mean() / 10:.1%}")

# %% [markdown]
# **Exercise 3.** Make the person look frightened, in the model's eyes: give strengths to some of the units, as in
# `{"au1": 0.5, "au26": 1}`. The sliders help.

# %% tags=["exercise"]
my_units = ...

# %% tags=["solution"]
solution_3 = {"au1": 0.9, "au2": 0.7, "au4": 0.7, "au5": 0.9, "au20": 1, "au25": 0.7}


# %%
def named(units):
    """What the model says of the person with these units; `...` for no units."""
    if units is ...:
        return ...
    return EMOTIONS[read(sample.redraw(person, **units)[None])[0].argmax()]


wrong_answers = [
    ("surprise", "surprise raises brows and lids, too; fear knits the brows and"),
    ("neutral", "still neutral: stronger, or more units"),
    ("sad", "sadness pulls the lip corners down; fear stretches them sideways (AU20)"),
    ("angry", "brows low without being raised are anger; add AU1 and AU2"),
]
here.check(named(my_units), named(solution_3), wrong_answers)

# %% [markdown]
# ## Questions
#
# **1.** Show `fer2013` 200 pictures of pure noise (`np.random.default_rng(0).integers(0, 256, (200, 48, 48))`, as
# `uint8`). What does it say, and how sure is it?
#
# <details><summary>Answer</summary>
#
# "About 1/7 for each, as there is nothing to see" is tempting. In our run it said sad to all 200, with 97% on average.
# A softmax compares seven scores; it does not know that all seven are meaningless. A sure answer is no proof that
# there was a face.
#
# </details>

# %% [markdown]
# **2.** A school (outside the EU) wants to find frightened pupils. On photographs `fer2013` finds 255 of 496 fearful
# faces and calls 156 of 3,093 others fearful. Of 1,000 pupils 20 are afraid. How many of those who are flagged are?
#
# <details><summary>Answer</summary>
#
# On FER2013 62% of the flagged are (255 of 411), and that is tempting. But there 14% of the faces are fearful. Here 10
# of the 20 are flagged, and 5.0% of the 980 others, 49: 10 of 59, 17%. Five false alarms for each hit, even if faces
# in a school were like FER2013's, and looks were feelings.
#
# </details>

# %% [markdown]
# **3.** You label the 21 faces and get 18, a friend gets 15. Three faces divide you, all to your side. Are you better?
#
# <details><summary>Answer</summary>
#
# "86% against 71%, so yes" is tempting. A coin tossed three times falls on one side, all three, in 2 of 8 cases: 25%.
# Had nine faces divided you, six to three, the difference would be the same and the coin would do it in 51% of cases.
# What counts is how one-sided the dividing faces are, and how many.
#
# </details>

# %% [markdown]
# **4.** The person laughs into the sun: `look(au12=1, au6=0.9, au4=1, au7=1)`. What does the model say to the broadest
# of smiles?
#
# <details><summary>Answer</summary>
#
# Happy, one would think, as AU12 is at its maximum. In our run: angry, with 89%; the brows outweigh the mouth. Of the
# 2,800 training faces 344 smile with AU12 above 0.6, and none of them has AU4 above 0.34. So nothing taught the model
# what to make of both.
#
# </details>

# %% [markdown]
# **5.** A smile that is called fear: `look(au12=1, au15=1)` pulls the corners up and down at once. Does the model fall
# back to neutral when units cancel?
#
# <details><summary>Answer</summary>
#
# It is tempting to think so, as up and down cancel. In our run it said fear with 49%, neutral with 27%: AU12 also
# widens the mouth and deepens the folds beside it, and AU15 does not take that back. Another person (`seed=7` where
# `person` is drawn) is called happy with the same units. A name belongs to a probability, and to a person.
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
# - E. Barsoum, C. Zhang, C. Canton Ferrer and Z. Zhang, *Training deep networks for facial expression recognition with
#   crowd-sourced label distribution*, ICMI 2016 (FER+, ten votes a face).
# - European Union, *Regulation 2024/1689 of 13 June 2024 (Artificial Intelligence Act)*, article 5(1)(f), recitals 18
#   and 44.
