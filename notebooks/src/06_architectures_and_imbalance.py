# %% [markdown]
# # Architectures and imbalance
#
# Two questions of every project. Which network should I take: a small one, a ResNet, an EfficientNet with ImageNet's
# weights? And what can I do for a rare emotion that the network hardly ever names?
#
# {colab}
#
# This is an advanced lesson.
#
# **You will be able to** count what a network costs, and compare networks at an equal budget, pretrained and not. You
# will raise the recall of a rare class in three ways, and say what each of them takes away.
#
# **You need** lessons 02, 03 and 05. **Data:** drawn faces; FER2013 with `FERLIB_DATA`.
#
# **Time:** 40 minutes to read; about 1 to 2 minutes on a laptop CPU.

# %% [markdown]
# ## The faces
#
# These numbers set how long the lesson runs.

# %% tags=["parameters"]
TRAIN, VAL, TEST, EVEN = 1800, 300, 1500, 1400  # faces
FEW, RACE, EPOCHS = 900, 2, 6  # faces and epochs of part 1; epochs of part 2
SEEDS = [0, 1, 2]

# %%
from ferlib import protocol
from ferlib.lesson import Lesson

here = Lesson("06")
faces = here.load()
train_part, val_part = protocol.split(faces.subset("Training"), share=0.2)
train_set, val_set = protocol.take(train_part, TRAIN), protocol.take(val_part, VAL)
race_set = protocol.take(train_set, FEW)
clean = protocol.audit(here.source).clean("PublicTest")  # no twin in Training
test_set = protocol.take(faces.subset("PublicTest").subset(clean), TEST)

# %% alt="Number of training faces of each emotion, with disgust by far the rarest"
from ferlib import plots

_ = plots.plot_counts(train_set.counts())

# %% [markdown]
# ## Part 1: what a network costs
#
# You can count the cost before you train. *Parameters* are the numbers that are stored. *Multiply-adds* are the
# products that the network calculates for one face. A convolution uses each of its weights once for each place of its
# output. A *hook* is a function that PyTorch calls when a layer has run; ours notes the layer's products.

# %%
import torch
from torch import nn


def note_products(layer, inputs, output):
    # weights x places: one channel of one face is a map of places (in nn.Linear, one)
    layer.products = layer.weight.numel() * output[0, 0].numel()


@torch.no_grad()
def multiply_adds(network):
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(note_products)
    network.eval()(torch.zeros(1, 1, 48, 48))
    return sum(layer.products for layer in layers)


# %% [markdown]
# Five candidates for gray faces of 48 pixels:
#
# - The small FerNet of lesson 03, made for such faces.
# - A narrow ResNet-18 (16, 16, 32 and 64 channels; usual are 64, 128, 256 and 512). Its first layers, the *stem*, are
#   made for 224 pixels. They shrink a face so early that a map of 2x2 is left at the end.
# - The same *without the pool* of its stem, which leaves 3x3.
# - EfficientNet-Lite0 with random weights, and with ImageNet's.

# %%
import copy
from functools import partial

import pandas as pd

from ferlib import models

# partial makes build from build_model: these two options are already set
build = partial(models.build_model, classes=faces.classes, small_stem=False)


def fernet(seed):
    torch.manual_seed(seed)
    widths, depths = (16, 32, 64, 96), (0, 0, 0)
    return build("fernet", widths=widths, depths=depths, drop_rate=0.0)


candidates = {
    "FerNet": fernet(0),
    "ResNet": build("resnet18", channels=(16, 16, 32, 64)),
    "ResNet, no pool": build("resnet18", channels=(16, 16, 32, 64)),
    "Lite0": build("tf_efficientnet_lite0"),
    "Lite0, ImageNet": build("tf_efficientnet_lite0", weights="imagenet"),
}
candidates["ResNet, no pool"].network.maxpool = nn.Identity()  # does nothing

# %%
costs = pd.DataFrame(index=list(candidates))
for name, model in candidates.items():
    # [0]: all parameters ([1]: those that train); a copy of the model, since hooks stay
    costs.loc[name, "parameters (M)"] = models.count_parameters(model)[0] / 1e6
    costs.loc[name, "multiply-adds (M)"] = multiply_adds(copy.deepcopy(model)) / 1e6
print(costs.round(2))

# %% [markdown]
# ## An equal budget
#
# A comparison needs a rule. Usual is *equal images*: the same faces, the same number of epochs. Here all candidates get
# two epochs of 900 faces, the same learning rate, and 32-bit numbers (`fp32`).
#
# The table shows that Lite0 needs about three times as many multiply-adds as FerNet. How many times as long will its
# epoch take?

# %%
my_guess = ...  # times; put yours here

from ferlib import training
from ferlib.training import TrainConfig


def train(model, data, epochs, seed=0, balance="none"):
    config = TrainConfig(
        epochs=epochs, batch_size=32, balance=balance, seed=seed, precision="fp32"
    )
    return training.fit(model, data, val_set, config, progress=False).history


histories = {name: train(model, race_set, RACE) for name, model in candidates.items()}
costs["seconds an epoch"] = [h["seconds"].min() for h in histories.values()]
per_product = costs["seconds an epoch"] / costs["multiply-adds (M)"]
costs["time for a product"] = per_product / per_product["FerNet"]
ratio = costs.loc["Lite0"] / costs.loc["FerNet"]
here.guess(my_guess, ratio["seconds an epoch"], "times")
print(costs.round(2).to_string())

# %% [markdown]
# The last column is the time for one product, where FerNet's is 1. The count leaves out two costs. Each layer is a call
# with a fixed cost, and ResNet and Lite0 make many calls for small maps. And Lite0's 3x3 and 5x5 convolutions are
# *depthwise*: each filter sees one channel only. They do little with each number that they fetch from memory, so a CPU
# waits. On a GPU the order may be different. So count first, then measure on *your* machine.
#
# Now the accuracy on validation faces, over time. Each marker is an epoch. (A first epoch can take longer, because
# PyTorch still sets things up. The table has the faster epoch.)

# %% alt="Validation accuracy of the five candidates over seconds of training, with a marker for each epoch"
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
styles = ("o-", "s--", "s-", "^--", "^-")
for (name_of, history), style in zip(histories.items(), styles, strict=True):
    times = history["seconds"].cumsum()
    ax.plot(times, 100 * history["val_accuracy"], style, label=name_of)
ax.set(title="Same images, different times", xlabel="seconds", ylabel="accuracy (%)")
_ = ax.legend()

# %% [markdown]
# You can read this picture in two ways. The last markers compare equal images. A vertical line compares equal *time*:
# where the slowest network has its first marker, the fastest one has finished.

# %% alt="Test accuracy of the five candidates after two epochs, with 95% intervals"
from ferlib import evaluation

answers = {k: evaluation.predict(model, test_set) for k, model in candidates.items()}
rows = {k: evaluation.summarise(each).loc["accuracy"] for k, each in answers.items()}
ax = plots.plot_intervals(pd.DataFrame(rows).T)
_ = ax.set(title="Test accuracy", xlabel="accuracy (%)", ylabel="network")

# %% [markdown]
# On the drawn faces, ImageNet's weights decide: with them Lite0 is right for about 40%. The other networks reach about
# 20%, no more than always naming the most frequent emotion. Two epochs of 900 faces are 56 steps, too few for random
# weights. So this race cannot say which ResNet is better.
#
# This is one seed of each, one learning rate for all, and pictures of 48 pixels. On photographs, or with more time, the
# order can change. A comparison of architectures that names no budget says nothing.

# %% [markdown]
# ## Part 2: the emotion that is almost never named
#
# We go on with FerNet, which is fast: 1,800 faces, six epochs, three seeds. How does it treat the rare disgust?

# %%
import numpy as np

from ferlib import sample
from ferlib.data import FaceDataset


def train_all(balance="none"):
    networks = [fernet(seed) for seed in SEEDS]
    for seed, network in zip(SEEDS, networks, strict=True):
        train(network, train_set, EPOCHS, seed, balance)
    return networks


def pool(networks, dataset):  # the answers of all seeds, one after the other
    found = [evaluation.predict(network, dataset) for network in networks]
    logits = np.concatenate([each.logits for each in found])
    labels = np.concatenate([each.labels for each in found])
    return evaluation.Predictions(logits, labels, faces.classes)


def disgust_found(found):  # its recall in percent
    return 100 * evaluation.report(found)["recall"]["disgust"]


plain = train_all()
plain_test = pool(plain, test_set)
print(f"test accuracy {plain_test.correct.mean():.1%}")

# %% [markdown]
# At equal images, the pretrained network won. And at equal time? Six epochs of 1,800 faces cost FerNet as much as 12
# epochs of the race. Compare that time and this accuracy with those of Lite0's two epochs. (With care: Lite0 had one
# seed and fewer faces.)
#
# Few test faces are disgusted. So, where faces are drawn, we draw 200 new ones of each emotion, with right labels. How
# many of the disgusted ones does FerNet find?

# %%
my_guess = ...  # percent; put yours here

DISGUST = faces.classes.index("disgust")
new_faces = FaceDataset(*sample.draw(EVEN, seed=6, balance="equal"))
even_set = new_faces if here.drawn else test_set  # drawn: not FER2013
plain_even = pool(plain, even_set)
here.guess(my_guess, disgust_found(plain_even))

# %% alt="Confusion matrix of three seeds: most disgusted faces are named otherwise"
_ = plots.plot_confusion(plain_even)
matrix = plain_even.confusion()
hits, named = matrix[DISGUST, DISGUST], matrix[:, DISGUST].sum()
print(
    f"disgust: {hits} of {matrix[DISGUST].sum()} found, {hits} of {named} answers right"
)
print(f"test faces: {(test_set.labels == DISGUST).sum()} of {len(test_set):,}")
if here.drawn:  # of drawn faces we know the truth
    truth = train_set.table["true_label"][train_set.labels == DISGUST]
    print(f"training labels: {(truth != DISGUST).sum()} of {len(truth)} are wrong")

# %% [markdown]
# Rows, on the drawn faces: 200 new ones of each emotion, each answered by three networks, so 600. The network finds
# very few of the disgusted ones. When it says disgust *here*, it is mostly right, because disgust is as frequent as the
# others. In training it is only 49 of 1,800 faces, so the network has learned to say it seldom. The second line shows
# how little accuracy it costs never to say it.
#
# The third line (drawn faces) shows another problem, and it is usual in life. Of the 49 faces labelled disgust, 16 were
# drawn angry. Every cure makes this label count more, its errors included.

# %% [markdown]
# ## Cure 1: weighted loss
#
# Give each class the same total weight in the loss. A face of class k then weighs n / (7 n_k). How
# many times as much does a disgusted face weigh as a happy one?

# %%
my_guess = ...  # times; put yours here

counts = np.bincount(train_set.labels, minlength=7)  # n_k
weights = torch.tensor(counts.sum() / (7 * counts), dtype=torch.float32)
loss_of = nn.CrossEntropyLoss(weight=weights)  # in your own loop
heavier = weights[DISGUST] / weights[faces.classes.index("happy")]
here.guess(my_guess, heavier.item(), "times")
weighted = train_all(balance="loss")

# %% [markdown]
# ## Cure 2: weighted sampling
#
# Or leave the loss, and draw rare faces more often. `WeightedRandomSampler` draws by the weights of cure 1, with
# replacement. So each class fills about a seventh of each batch.

# %%
from torch.utils.data import DataLoader, WeightedRandomSampler

of_face = weights[train_set.labels]  # (n,)
sampler = WeightedRandomSampler(of_face, num_samples=len(train_set))
loader = DataLoader(train_set, batch_size=32, sampler=sampler)  # in your own loop
drawn = np.bincount(train_set.labels[list(sampler)], minlength=7)
print(pd.DataFrame({"faces": counts, "in an epoch": drawn}, faces.classes).T)

sampled = train_all(balance="sampling")

# %% [markdown]
# ## Cure 3: logit adjustment
#
# The third cure needs no training. By Bayes' rule a network's probability of a class contains how frequent the class
# was in training. Divide that out: subtract log(share) from the logits. A factor `tau` says how far to go: 0 changes
# nothing, 1 is all of it.
#
# We take half of it, 0.5. The best value on our 300 validation faces changed between runs. The curve shows what
# other values cost.

# %%
shares = counts / counts.sum()


def adjust(found, tau):
    logits = found.logits - tau * np.log(shares)
    return evaluation.Predictions(logits, found.labels, found.classes)


plain_val = pool(plain, val_set)
taus = np.arange(0, 1.51, 0.25)
on_val = [100 * adjust(plain_val, tau).correct.mean() for tau in taus]
chosen = 0.5

# %% alt="Accuracy on validation faces and recall of disgust over tau"
on_even = [disgust_found(adjust(plain_even, tau)) for tau in taus]
curves = pd.DataFrame(
    {"accuracy, validation": on_val, "recall of disgust": on_even}, taus
)
ax = curves.plot(style=["o-", "s--"], title="Logit adjustment", figsize=(6.5, 3.6))
ax.axvline(chosen, color="gray", linestyle=":", label=f"ours: {chosen}")
ax.set(xlabel="tau", ylabel="percent", ylim=(0, 100))
_ = ax.legend()

# %% [markdown]
# ## The price list
#
# *Disgust found* and *angry found* are recalls (drawn: on the equal faces). The others are on the test faces, where
# disgust is rare. *Disgust answers* counts them (mean of the seeds); *precision* is the share of them that is right.
# (On the drawn faces, validation accuracy at `tau` 0 is lower than test accuracy. A tenth of the validation labels are
# wrong, no test labels.)


# %%
def summary(on_test, on_even_set):
    said = on_test.predicted == DISGUST
    return {
        "accuracy": 100 * on_test.correct.mean(),
        "disgust found": disgust_found(on_even_set),
        "angry found": 100 * evaluation.report(on_even_set)["recall"]["angry"],
        "disgust answers": said.sum() / len(SEEDS),
        "precision (%)": 100 * on_test.correct[said].sum() / max(1, said.sum()),
    }


# %%
ways = {
    "plain": (plain_test, plain_even),
    "weighted loss": (pool(weighted, test_set), pool(weighted, even_set)),
    "weighted sampling": (pool(sampled, test_set), pool(sampled, even_set)),
    "adjusted": (adjust(plain_test, chosen), adjust(plain_even, chosen)),
}
table = pd.DataFrame({way: summary(*pair) for way, pair in ways.items()}).T
print(table.round(1).to_string())

# %% [markdown]
# On the drawn faces, weighted loss finds most, about half of the disgusted faces. But more than 90 of 100 disgust
# answers are false, and accuracy falls by six points or more. The other two cost at most two points for 8 to 20 points
# of recall; logit adjustment needs no training. But in another run weighted sampling cost five points. So measure.

# %% [markdown] tags=["advanced"]
# ## Advanced: photographs
#
# The same on FER2013: the stored answers of the network that comes with `ferlib`, for `PublicTest` faces without a twin
# in Training. We take the same `tau`. So this is only a try: for use, you would choose it on validation photographs.
# What happens to the precision of disgust?

# %% tags=["advanced"]
my_guess = ...  # percent; put yours here

from ferlib.emotions import FER2013_COUNTS

photographs = here.photographs(clean=True)
fer_counts = np.array(FER2013_COUNTS["Training"])
logits = photographs.logits - chosen * np.log(fer_counts / fer_counts.sum())
moved = evaluation.Predictions(logits, photographs.labels)
prices = {
    "plain": evaluation.report(photographs).loc["disgust"],
    "adjusted": evaluation.report(moved).loc["disgust"],
}
here.guess(my_guess, 100 * prices["adjusted"]["precision"])
print(pd.DataFrame(prices).T.round(2))
print(f"accuracy {photographs.correct.mean():.1%} -> {moved.correct.mean():.1%}")

# %% [markdown] tags=["advanced"]
# With a `tau` of 0.5 the recall rises from 49% (20 of 41) to 59% (24 of 41). The precision falls from 83% (20 of 24) to
# 46% (24 of 52). So 4 hits cost 24 false alarms. The last line has the price in accuracy: less than half a point.
# Whether that is worth it depends on the use. Somebody who searches ten thousand pictures and checks each hit wants
# recall. A program that nobody checks should say nothing when in doubt.

# %% [markdown]
# ## What you have learned
#
# - Parameters, multiply-adds and seconds are three costs, and they order networks differently.
# - Compare at an equal budget, and name it: images or time, pretrained or not, picture size, seeds.
# - A stem made for 224 pixels leaves a map of 2x2 of a 48-pixel face. Our race could not show whether that costs
#   accuracy.
# - Weighted loss, weighted sampling and logit adjustment trade frequent classes for rare ones.
# - Report the precision of a rare class beside its recall.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** A 3x3 convolution from 64 to 128 channels (without bias) is replaced by two: a depthwise 3x3 over the
# 64 channels, then a 1x1 from 64 to 128. How many weights have the two together?

# %% tags=["exercise"]
my_weight_count = ...

# %% tags=["solution"]
solution_1 = 64 * 3 * 3 + 64 * 128
wrong_1 = [
    (64 * 128 * 3 * 3, "that is the convolution that they replace"),
    (64 * 64 * 3 * 3 + 64 * 128, "depthwise: each filter sees one channel, not 64"),
    (64 * 3 * 3, "that is the depthwise one alone"),
]

# %%
here.check(my_weight_count, solution_1, wrong_1)

# %% [markdown]
# **Exercise 2.** From the counts (7,) of the training faces return the class weights. All classes have the same total
# weight. The mean weight over the *faces* is 1.


# %% tags=["exercise"]
def my_weights(face_counts):
    return ...


# %% tags=["solution"]
def solution_2(face_counts):
    return face_counts.sum() / (len(face_counts) * face_counts)


def inverse(face_counts):
    return 1 / face_counts


def proportional(face_counts):
    return face_counts / face_counts.sum()


def seven_times(face_counts):
    return face_counts.sum() / face_counts


wrong_2 = [
    (inverse, "the ratios are right, but the mean over the faces is not 1"),
    (proportional, "that gives frequent classes more weight"),
    (seven_times, "then the mean over the faces is the number of classes"),
]
examples_2 = [(np.array([60, 10, 30, 80, 50, 20, 100]),)]

# %%
here.check(my_weights, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** In training the classes had the shares `old`. You use the model where they are `new`, in a clinic
# where disgust is frequent. Return probabilities (n, k) that fit the new place; each row adds up to 1.


# %% tags=["exercise"]
def my_shift(probabilities, old, new):
    return ...


# %% tags=["solution"]
def solution_3(probabilities, old, new):
    shifted = probabilities / old * new
    return shifted / shifted.sum(1, keepdims=True)


def not_normalised(probabilities, old, new):
    return probabilities / old * new


def backwards(probabilities, old, new):
    return solution_3(probabilities, new, old)


def without_new(probabilities, old, new):
    return solution_3(probabilities, old, np.ones(len(new)))


wrong_3 = [
    (not_normalised, "divide each row by its sum"),
    (backwards, "the other way round: what is more frequent now must gain"),
    (without_new, "that fits a place where all classes are equally frequent"),
]
examples_3 = [
    (
        np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]]),
        np.array([0.7, 0.2, 0.1]),
        np.array([0.2, 0.2, 0.6]),
    )
]

# %%
here.check(my_shift, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** A network has half the parameters of another. Is it faster to train on your machine?
#
# <details><summary>Answer</summary>
#
# You cannot know. A convolution uses each parameter at every place. So few parameters on large maps can cost more than
# many on small maps. And depthwise layers take long for few products. Measure a few steps.
#
# </details>

# %% [markdown]
# **2.** Network A needs a third of the time of B for an epoch. At equal *images* B is two points better. What must you
# compare before you choose?
#
# <details><summary>Answer</summary>
#
# A with three times as many epochs. If A still improves at the end of its run, it may pass B. If it has learned what
# these faces can teach it, it will not. The two budgets can give two answers.
#
# </details>

# %% [markdown]
# **3.** Count each face with its class weight of cure 1. Which share of the total weight does a network get right that
# always says "happy"?
#
# <details><summary>Answer</summary>
#
# One seventh, 14.3%, as for any other single word: each class has the same total weight. Without weights it is about a
# quarter, so naming the frequent class pays. With them it no longer pays. This is what the weights are for.
#
# </details>

# %% [markdown]
# **4.** From the table: how many disgusted test faces more does "adjusted" find than "plain", and how many false alarms
# does each extra hit cost?
#
# <details><summary>Answer</summary>
#
# Hits are answers times precision. On the drawn faces: none or hardly any for plain, about 3 of 40 for adjusted. So
# each hit more costs 10 to 12 false alarms more. The plain logits fit the shares of training, so they get most faces
# right. Adjusting is a decision about costs, not a repair.
#
# </details>

# %% [markdown]
# **5.** You have 2,000 photographs, a laptop and one evening. Which of the five networks do you try first, and which
# second? How do you compare them?
#
# <details><summary>Answer</summary>
#
# First FerNet: it trains in seconds, so you soon see whether faces, labels and metrics are right. Then Lite0 with
# ImageNet's weights, which learned most in the race. Compare them at an equal time, on the same validation faces and
# with more than one seed.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - A. K. Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021.
# - M. Tan and Q. V. Le, *EfficientNet: rethinking model scaling for convolutional neural networks*, ICML 2019.
# - K. He, X. Zhang, S. Ren and J. Sun, *Deep residual learning for image recognition*, CVPR 2016.
# - M. Buda, A. Maki and M. A. Mazurowski, *A systematic study of the class imbalance problem in convolutional neural
#   networks*, Neural Networks 106, 2018.
# - R. Wightman, H. Touvron and H. Jégou, *ResNet strikes back: an improved training procedure in timm*, arXiv
#   2110.00476, 2021.
