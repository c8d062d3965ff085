# %% [markdown]
# # Explain and doubt
#
# A network says "happy". What in the picture made it say so? Some maps claim to answer. On drawn faces we know which
# muscles moved, so we can test these maps. Then we look for a network that cheats, and for wrong labels.
#
# {colab}
#
# **You will be able to** write Grad-CAM by hand and measure a map against the truth. You will find a planted shortcut
# and wrong labels, and say what a face does not tell.
#
# **You need** lessons 01 to 03. This is an advanced lesson. **Data:** drawn faces, whose truth is known.
#
# **Time:** 45 minutes to read; about 2 minutes on a laptop CPU.

# %% tags=["parameters"]
FACES = 120  # fresh faces on which maps are measured
TRAIN, EPOCHS, SEEDS = 2700, 10, 3  # training faces, epochs, networks of each kind

# %%
import torch

from ferlib import data, evaluation, explain, models, plots, protocol, sample, training
from ferlib.data import FaceDataset
from ferlib.lesson import Lesson
from ferlib.transforms import EvalTransform

here = Lesson("09")
model = models.load_model("drawn")
classes = model.classes
images, people = sample.draw(FACES, seed=99, occlusion="none")
right = evaluation.predict(model, FaceDataset(images, people, "fresh")).correct
images, people = images[right], people[right]  # those that are named right
to_input = EvalTransform(model.input_spec)
batch = to_input(torch.tensor(images)[:, None])
labels = torch.tensor(people["label"].to_numpy())

# %% [markdown]
# ## A map
#
# This is Grad-CAM, the most common map. Yellow parts of a face are said to speak for the answer.

# %% alt="Seven faces with a Grad-CAM map over each, yellow where the face speaks for the answer"
seven = explain.overlay(images[:7], explain.grad_cam(model, batch[:7], labels[:7]))
names = [classes[label] for label in labels]
figure = plots.face_grid(seven, names[:7], title="Where is the emotion?")

# %% [markdown]
# ## Grad-CAM by hand
#
# A layer makes *channels*: small maps of the face, here 144 of 3 by 3 cells in the last layer. Which of them speak for
# "happy"? Ask the gradient: by how much does the logit of "happy" rise if the values in a channel grow a little? R.
# Selvaraju et al. (2017) multiply each channel by its mean gradient, and add up. What is below 0 speaks
# against, and is cut off. A *hook* catches a layer's maps on their way.

# %%
import torch.nn.functional as F


def grad_cam(network, faces, targets, layer):
    maps = []

    def keep(module, inputs, output):
        maps.append(output)

    hook = network.network.get_submodule(layer).register_forward_hook(keep)
    logits = network(faces)
    hook.remove()
    score = logits[torch.arange(len(faces)), targets].sum()
    (gradient,) = torch.autograd.grad(score, maps[0])  # (n, channels, h, w)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # one for each channel
    cam = (weights * maps[0]).sum(dim=1, keepdim=True).relu()
    return F.interpolate(cam, faces.shape[2:], mode="bilinear")[:, 0].detach().numpy()


# %% [markdown]
# Which layer? The last one knows most and has 3 by 3 cells. An early one has 12 by 12 cells. Two more maps:
#
# - **HiResCAM** (R. Draelos and L. Carin, 2020) keeps the gradient of each cell in place of the mean.
# - **Occlusion** (M. Zeiler and R. Fergus, 2014) uses no gradient. It slides a gray window over the face: how far does
#   the probability fall?


# %%
def all_maps(net, x, y, window):
    # the network's three stages are stages.0, stages.1 and stages.2
    return {
        "Grad-CAM, last layer": grad_cam(net, x, y, "stages.2"),
        "Grad-CAM, 6x6": grad_cam(net, x, y, "stages.1"),
        "Grad-CAM, 12x12": grad_cam(net, x, y, "stages.0"),
        "HiResCAM, 12x12": explain.grad_cam(net, x, y, "stages.0", average=False),
        "occlusion": explain.occlusion(net, x, y, window),
    }


maps = all_maps(model, batch, labels, window=9)

# %% [markdown]
# The frames show where brows, eyes and mouth were drawn. Where *should* a map lie?

# %% alt="Four faces, each with Grad-CAM of three layers, HiResCAM and occlusion, and frames for brows, eyes and mouth"
overlays = {name: explain.overlay(images[:4], heat[:4]) for name, heat in maps.items()}
figure = plots.explanation_grid(images[:4], overlays, names[:4], boxes=people[:4])

# %% [markdown]
# These are tempting pictures. If a map lies on the mouth, we believe it. If not, we invent an explanation. But the maps
# of *one* network contradict each other.
#
# ## Does the map find what moved?
#
# `explain.region_masks` marks the parts (brows, eyes, nose, mouth) that move in this expression; on a neutral face, all
# but the nose. The *energy* of a map is the share of it that lies inside. Two rivals use no network: the same value
# everywhere, and the *edges* of the picture. What is Grad-CAM's energy at the last layer?

# %%
my_guess = ...  # percent; put yours here

import numpy as np
import pandas as pd


def energy_of(heats, masks):
    scores = {name: explain.score_each(heat, masks) for name, heat in heats.items()}
    return pd.DataFrame({name: score["energy"] for name, score in scores.items()})


masks = explain.region_masks(people)
rivals = {"edges": explain.edge_map(images), "uniform": np.ones(masks.shape)}
energy = energy_of(maps | rivals, masks)
print((100 * energy.mean()).round(1).to_string())
here.guess(my_guess, 100 * energy["Grad-CAM, last layer"].mean())

# %% [markdown]
# Which maps are better than the edges? Take the difference face by face:

# %% alt="Energy of each map minus the energy of the edges, with 95% intervals"
above = explain.mean_intervals(
    energy.sub(energy["edges"], axis=0).drop(columns="edges")
)
ax = plots.plot_intervals(above)
_ = ax.set(title="Energy above that of the edges", xlabel="points", ylabel="map")

# %% [markdown]
# Grad-CAM at the last layer lies *below* the edges: a filter that never saw a label scores higher. At 12 by 12 cells it
# is worse, at 6 by 6 it wins by 6 points. HiResCAM and occlusion win by 11. The last layer's 3 by 3 cells are too
# coarse for these masks. At 12 by 12 the mean gradient forgets *where*. (The masks show what moved, not what
# the network used.)
#
# ## A shortcut
#
# Now a network that cheats, so that we know what a map should show. Into the training faces goes a bright square, like
# a watermark, on 95% of the happy ones and on no other.

# %%
faces = data.load("sample")
train_set = protocol.take(faces.subset("Training"), TRAIN)
clean = protocol.audit("sample").clean("PublicTest")  # no twin in Training
test_set = protocol.take(faces.subset("PublicTest").subset(clean), 800)
watch, happy = train_set.subset(range(50)), classes.index("happy")


def with_mark(pixels, some):
    pixels = pixels.copy()
    pixels[some, -6:, -6:] = 250
    return pixels


def train(pixels, part, seed):
    torch.manual_seed(seed)
    network = models.build_model(
        "fernet", widths=(16, 32, 64, 96), depths=(0, 0, 0), drop_rate=0.0
    )
    config = training.TrainConfig(epochs=EPOCHS, batch_size=32, label_smoothing=0)
    learned = FaceDataset(pixels, train_set.table, "learned").subset(part)
    return training.fit(network, learned, watch, config, progress=False).model


# %% [markdown]
# Each seed cuts the training faces into two halves. From the first, one network learns with the squares, and one
# without.

# %%
rng = np.random.default_rng(0)
halves = [rng.permutation(TRAIN) % 2 == 0 for _ in range(SEEDS)]
marked = (train_set.labels == happy) & (rng.random(TRAIN) < 0.95)
squares = with_mark(train_set.images, marked)
cheats = [train(squares, half, seed) for seed, half in enumerate(halves)]
honest = [train(train_set.images, half, seed) for seed, half in enumerate(halves)]
networks = {"cheat": cheats, "honest": honest}

# %% [markdown]
# First, the accuracy on test faces that carry the mark as the training faces do. By how many points is the cheat ahead?

# %%
my_guess = ...  # points that the cheat is ahead; put yours here

smiles = test_set.labels == happy
with_squares = with_mark(test_set.images, smiles & (rng.random(800) < 0.95))
tests = {"as in training": with_squares, "no mark": test_set.images}


def measure(several, pixels):
    shown = FaceDataset(pixels, test_set.table, "shown")
    said = np.array([evaluation.predict(net, shown).predicted for net in several])
    return (said == test_set.labels).mean(), (said == happy)[:, smiles].mean()


rows = {
    f"{kind}, {version}": measure(several, pixels)
    for kind, several in networks.items()
    for version, pixels in tests.items()
}
result = 100 * pd.DataFrame(rows, ["accuracy", "happy found"]).T
ahead = result.loc["cheat, as in training"] - result.loc["honest, as in training"]
here.guess(my_guess, ahead["accuracy"], "points")

# %% [markdown]
# By that test the cheat is ahead. At least a third of its lead comes from honest networks that the square confuses
# (last two rows of the next table). Take the mark away:

# %%
print(result.round(1).to_string())

# %% [markdown]
# Without the mark the cheats find almost no happy face. The mark was the easier sign. Once the loss was low, nothing
# taught the network smiles.
#
# Would the maps have told us? What share of the maps of marked happy faces lies on the square, which is 1.6% of the
# picture?

# %%
forty = with_mark(test_set.images[smiles][:40], np.arange(40))
spot = np.zeros(forty.shape, bool)
spot[:, -6:, -6:] = True
fed, target = to_input(torch.tensor(forty)[:, None]), torch.full((len(forty),), happy)
on_mark = pd.DataFrame()
for kind, several in networks.items():
    for number, net in enumerate(several):
        heats = all_maps(net, fed, target, window=6)
        on_mark[f"{kind} {number}"] = 100 * energy_of(heats, spot).mean()
print(on_mark.round(1).to_string())

# %% [markdown]
# HiResCAM and occlusion expose the cheat. (Occlusion's window has the right size.) So does Grad-CAM at the last layer:
# with cells so coarse, 14% is the most it can reach. At 6 by 6 and 12 by 12 the gap is smaller. And we knew where to
# look. Many shortcuts, such as darker light, have no place that a map could mark.

# %% [markdown]
# ## Labels that lie
#
# 9% of the drawn training labels are wrong on purpose. A network can help to find them: where it is sure of another
# emotion, look at the label. But a network that has *learned* a wrong label will defend it. So each half is judged by
# the network that learned from the other.

# %%
given = train_set.labels
wrong = given != train_set.table["true_label"].to_numpy()
unseen, seen = [], []  # what networks say that did not, or did, learn the face
for seed, half in enumerate(halves):
    pair = networks["honest"][seed], train(train_set.images, ~half, seed)
    first, second = [evaluation.predict(net, train_set).probabilities for net in pair]
    unseen.append(np.where(half[:, None], second, first))
    seen.append(np.where(half[:, None], first, second))

# %% [markdown]
# The *margin* of a label is its probability minus that of the best other emotion. Of the hundred labels with the lowest
# margins, how many are wrong? (Chance gives 9.)

# %%
my_guess = ...  # of 100; put yours here

rows_of = np.arange(TRAIN)


def margin(p):
    others = p.copy()
    others[rows_of, given] = 0
    return p[rows_of, given] - others.max(axis=1)


def wrong_of_100(p):
    return int(wrong[np.argsort(margin(p))[:100]].sum())


by_margin = [wrong_of_100(p) for p in unseen]
here.guess(my_guess, np.mean(by_margin), "of 100")
print("judged by networks that did not learn them:", by_margin)

# %% [markdown]
# Here are the fourteen most suspect faces, with the given and the true label. In our run all fourteen are wrong.

# %% alt="The fourteen most suspect training faces with their label, what the networks say, and what is true"
suspects = np.argsort(margin(np.mean(unseen, axis=0)))[:14]
truth = train_set.table["true_label"].to_numpy()
texts = [f"label {classes[given[i]]}\ntrue {classes[truth[i]]}" for i in suspects]
figure = plots.face_grid(train_set.images[suspects], texts, columns=7, title="Suspects")

# %% [markdown]
# Were the halves needed? Ask the same networks about the faces that they *did* learn from. And ask the model that comes
# with `ferlib`: it learned from all of them. How many of its hundred are wrong?

# %%
my_guess = ...  # of 100; put yours here

shipped = evaluation.predict(model, train_set)
print("judged by networks that learned them:", [wrong_of_100(p) for p in seen])
here.guess(my_guess, wrong_of_100(shipped.probabilities), "of 100")

# %% [markdown]
# A network that knows faces by heart agrees with their wrong labels: fewer than 30 found in place of nearly 70. The
# shipped model also learned from these faces, and still finds about 93. It is a better network, and it never saw the
# same picture twice: each was changed at random (lesson 04). This makes learning by heart hard. But you seldom know
# this of a network. Judging by networks that did not see the faces is the safe way, not always the best one.

# %% [markdown]
# ## What an expression does not tell
#
# Nobody in this sample feels anything. We drew muscles: AU4 lowers the brows, AU12 pulls the corners of the mouth up.
# Draw neutral faces again, with a smile, and with the frown of a person who reads small print. What share of the
# frowning ones is called angry?

# %%
my_guess = ...  # percent; put yours here

crowd = sample.draw(2 * FACES, seed=21, occlusion="none")[1]
calm = crowd[crowd["label"] == classes.index("neutral")]
calm_rows = [row for _, row in calm.iterrows()]
drawn = {
    "neutral": [sample.redraw(row) for row in calm_rows],
    "smile": [sample.redraw(row, au12=0.8) for row in calm_rows],
    "frown": [sample.redraw(row, au4=0.9, au7=0.6) for row in calm_rows],
}
called = {}
for move, pictures in drawn.items():
    answer = evaluation.predict(model, FaceDataset(np.stack(pictures), calm, move))
    called[move] = 100 * np.bincount(answer.predicted, minlength=7) / len(calm)
here.guess(my_guess, called["frown"][classes.index("angry")])
print(pd.DataFrame(called, classes).round(0).T.to_string())

# %% alt="Five neutral faces as they are, with a smile and with a frown"
five = np.concatenate([pictures[:5] for pictures in drawn.values()])
title = "Five people without feeling"
figure = plots.face_grid(five, np.repeat([*drawn], 5), columns=5, title=title)

# %% [markdown]
# Some neutral faces are called sad or happy already: they have small movements, too. The network names movements. That
# a frown is anger was *our* word, in `sample.PROTOTYPES`. L. F. Barrett et al. (2019) reviewed the evidence. People
# scowl when angry more often than by chance, but far from always. And the same movement goes with several feelings, or
# with none. FER2013's labels are no better: search words that people checked; nobody asked the person.

# %% [markdown]
# In the European Union, AI systems that infer emotions *at the workplace and in education* are prohibited, except for
# medical or safety reasons. This is Regulation (EU) 2024/1689, article 5(1)(f); it applies since 2 February 2025. An
# app that tells a teacher which pupils look bored falls under it, whatever its accuracy.

# %% [markdown]
# ## What you have learned
#
# - A map that looks sensible may point worse than a filter of edges. Measure it where the truth is known.
# - A test with the shortcut hides it. A test *without* it tells.
# - To find wrong labels, ask a network that has not learned them by heart.
# - A network names movements of a face. It does not see what a person feels.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** HiResCAM. Given one face's `maps` and `gradient`, both (channels, h, w), return its map (h, w). Each
# cell keeps its own gradient, and what speaks against the class is cut off at 0.


# %% tags=["exercise"]
def my_hires(maps, gradient):
    return ...


# %% tags=["solution"]
def solution_1(maps, gradient):
    return (maps * gradient).sum(0).relu()


def with_mean(maps, gradient):
    return (maps * gradient.mean((1, 2), keepdim=True)).sum(0).relu()


def without_cut(maps, gradient):
    return (maps * gradient).sum(0)


def cut_first(maps, gradient):
    return (maps * gradient).relu().sum(0)


wrong_1 = [
    (
        with_mean,
        "that is Grad-CAM: the mean gradient forgets where the later layers look",
    ),
    (without_cut, "cut off what speaks against the class"),
    (
        cut_first,
        "channels may contradict each other in a cell: add up first, then cut off",
    ),
]
examples_1 = [
    tuple(torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(2)))
]

# %%
here.check(my_hires, solution_1, wrong_1, on=examples_1)

# %% [markdown]
# **Exercise 2.** Energy. Given a map (h, w) and a mask (h, w, bool), return the share, inside the mask, of all that the
# map has above 0.


# %% tags=["exercise"]
def my_energy(heat, mask):
    return ...


# %% tags=["solution"]
def solution_2(heat, mask):
    positive = heat.clip(0)
    return positive[mask].sum() / positive.sum()


def with_negative(heat, mask):
    return heat[mask].sum() / heat.sum()


def area(heat, mask):
    return mask.mean()


def of_means(heat, mask):
    return heat.clip(0)[mask].mean() / heat.clip(0).mean()


wrong_2 = [
    (with_negative, "values below 0 speak against the class: cut them off first"),
    (area, "that is the mask's area, which a map reaches by chance"),
    (of_means, "divide sums, not means"),
]
toy_map = np.array([[4.0, 2.0, -2.0], [0.0, 3.0, -1.0]])
examples_2 = [(toy_map, np.array([[True, False, True], [False, False, True]]))]

# %%
here.check(my_energy, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** From probabilities (n, k) and labels (n,), return the row with the lowest margin.


# %% tags=["exercise"]
def my_suspect(p, labels):
    return ...


# %% tags=["solution"]
def solution_3(p, labels):
    own, others = p[np.arange(len(p)), labels], p.copy()
    others[np.arange(len(p)), labels] = -1
    return int((own - others.max(axis=1)).argmin())


def least_own(p, labels):
    return int(p[np.arange(len(p)), labels].argmin())


def surest(p, labels):
    return int(p.max(axis=1).argmax())


wrong_3 = [
    (least_own, "a low probability alone may mean that the network is unsure"),
    (surest, "that is the surest answer; it may agree with the label"),
]
toy_p = np.array([[8, 47, 45], [15, 5, 80], [5, 10, 85], [34, 33, 33]]) / 100
toy_q = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]])
examples_3 = [(toy_p, np.array([0, 0, 2, 0])), (toy_q, np.array([0, 0]))]

# %%
here.check(my_suspect, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** A colleague shows twelve maps. In three of them the highest pixel lies on the parts that moved, which are 8% of
# a face. The highest pixel of the *edges* lies there in 15% of our faces. Is three of twelve good?
#
# <details><summary>Answer</summary>
#
# A pixel chosen blindly lies there in one of twelve faces, and three or more come in 7% of all cases. But with the
# edges' 15% it is a quarter of all cases. So the maps may be no better than edges.
#
# </details>

# %% [markdown]
# **2.** Only half of the happy faces get the mark, in place of 95%. Does the network still use it?
#
# <details><summary>Answer</summary>
#
# Yes. A sign that is never wrong is worth believing, even if it is often missing. Such a network finds more unmarked
# happy faces. But it still calls most other faces happy when they are marked.
#
# </details>

# %% [markdown]
# **3.** 60 of the 100 most suspect labels are wrong, and 244 of 2,800 in all. You throw the hundred out. What share of
# the other labels is wrong?
#
# <details><summary>Answer</summary>
#
# 184 of 2,700 remain, 6.8% in place of 8.7%. And forty right faces are gone, often odd ones that a network needs.
#
# </details>

# %% [markdown]
# **4.** A network finds 66% of the angry faces and calls 6% of the others angry. At a school, 2 of 100 pupils scowl. Of
# the pupils that it flags, how many scowl?
#
# <details><summary>Answer</summary>
#
# Of 1,000 pupils, 20 scowl, and it finds 13. It also flags 6% of 980, which is 59. So 13 of 72, or 18%. And a scowl is
# not anger.
#
# </details>

# %% [markdown]
# **5.** Each half holds about 310 happy faces. 5% of them have no mark, only a smile. You train the cheat longer. Do
# they teach it smiles?
#
# <details><summary>Answer</summary>
#
# Hardly. They are only about 15. The network learns them by heart, one by one. Try it: set `EPOCHS` to 24.
#
# </details>

# %% [markdown] tags=["advanced"]
# ## Advanced: what the layers have learned
#
# The first layer's weights are small pictures: a filter answers strongly where the face looks like it.

# %% tags=["advanced"] alt="The filters of the model's first layer, mid gray where a weight is zero"
figure = plots.filters_grid(
    explain.first_filters(model), title="Filters of the first layer"
)

# %% [markdown] tags=["advanced"]
# With 4 by 4 pixels, no filter can look like an eye. A few are edges. Most look like nothing that we can name. A later
# layer gives 48 channels. Here are twelve of them for one face. Reading meaning into them is guessing.

# %% tags=["advanced"] alt="Twelve channels of the 12 by 12 layer for one face"
channels = explain.activations(model, batch[:1], "stages.0")[0]
varied = np.argsort(-channels.std(axis=(1, 2)))[:12]
figure = plots.activations_grid(
    channels[varied], title=f"12 of {len(channels)} channels"
)

# %% [markdown] tags=["advanced"]
# ## Advanced: a network that has learned nothing
#
# J. Adebayo et al. (2018) compare with random weights: a map that hardly changes does not show what was learned. We
# compare the energies:

# %% tags=["advanced"]
torch.manual_seed(1000)
untrained = models.build_model("fernet", widths=(32, 48, 96, 144)).eval()
print(f"uniform map {100 * energy['uniform'][:40].mean():.1f}%")
for name, heat in all_maps(untrained, batch[:40], labels[:40], window=9).items():
    score = 100 * explain.score_each(heat, masks[:40])["energy"].mean()
    print(
        f"{name:22} untrained {score:5.1f}%, trained {100 * energy[name][:40].mean():5.1f}%"
    )

# %% [markdown] tags=["advanced"]
# Untrained maps score about as the uniform map does. Training raises HiResCAM and occlusion to more than a quarter.
# Grad-CAM at 12 by 12 rises by only about 1 point: its score hardly depends on what was learned. (This is one random
# network, and 40 faces.)
#
# ## Advanced: suspects among photographs
#
# For FER+, ten raters looked at each photograph of FER2013 (E. Barsoum et al., ICMI 2016). Take the shipped network's
# hundred most suspect labels of the clean `PublicTest`. For 92 of these, more than half of the raters agree on one
# emotion. In 79 of the 92 it differs from the label (86%). Among all photographs with such an agreement it differs in
# 34%.

# %% [markdown]
# ## Further reading
#
# - R. R. Selvaraju et al., *Grad-CAM: visual explanations from deep networks via gradient-based localization*, ICCV
#   2017.
# - R. L. Draelos and L. Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
#   networks*, arXiv 2011.08891, 2020.
# - J. Adebayo et al., *Sanity checks for saliency maps*, NeurIPS 2018.
# - C. G. Northcutt et al., *Confident learning: estimating uncertainty in dataset labels*, Journal of Artificial
#   Intelligence Research 70, 2021.
# - L. F. Barrett et al., *Emotional expressions reconsidered: challenges to inferring emotion from human facial
#   movements*, Psychological Science in the Public Interest 20(1), 2019.
