# %% [markdown]
# # Fine-tuning in depth
#
# *Advanced.* Lesson 05 left five questions open. How does a colour network read gray faces? What still moves in a
# frozen body? Which learning rate is right, and which schedule? And which part learns nothing, without a message?
#
# {colab}
#
# **You will be able to** turn a colour layer gray, and say what BatchNorm does in a frozen body. You will find a
# learning rate, compare schedules, and find parameters that do not learn.
#
# **You need** lessons 03 to 05. **Data:** drawn faces; FER2013 with `FERLIB_DATA`.
#
# **Time:** 35 minutes to read; about 2 minutes on a laptop CPU.

# %% [markdown]
# ## A network that knows other faces
#
# We train on 140 faces only, so we can train many times.

# %% tags=["parameters"]
TRAIN, VAL, TEST = 140, 70, 1000  # faces
EPOCHS, BATCH, LR, SEEDS, STEPS = 8, 16, 0.003, 3, 60

# %%
from ferlib import protocol
from ferlib.lesson import Lesson

here = Lesson("05b")
faces = here.load()
train_part, val_part = protocol.split(faces.subset("Training"), share=0.1)
train_set, val_set = protocol.take(train_part, TRAIN), protocol.take(val_part, VAL)
clean = protocol.audit(here.source).clean("PublicTest")  # True: no twin in Training
test_set = protocol.take(faces.subset("PublicTest").subset(clean), TEST)

# %% [markdown]
# `fer2013-small` comes with `ferlib`: a FerNet, trained on the photographs of FER2013. It has never seen a drawing.
# How many of the drawn test faces does it name right? (With `FERLIB_DATA` it is the other way round: the model
# `drawn` has never seen a photograph.)

# %% alt="Confusion matrix of the pretrained network on test faces of another kind than it was trained on"
my_guess = ...  # percent; put yours here

from ferlib import evaluation, models, plots

known = models.load_model("fer2013-small" if here.drawn else "drawn")
as_it_is = evaluation.predict(known, test_set)
here.guess(my_guess, 100 * as_it_is.correct.mean())
ax = plots.plot_confusion(as_it_is)
_ = ax.set_title("The pretrained network, as it is")

# %% [markdown]
# The labels mean the same, and the pictures look different. This is a *domain shift*. On the drawn faces the network
# still knows something: always "happy" gets about 25%.
#
# ## From colour to gray
#
# ImageNet's networks expect three channels, and a gray face has one. Either you repeat the face three times, or you
# make the first layer gray. Then each filter's three channels become one. Should they be averaged or summed?
#
# Guess how strong the output is after *averaging*, in percent of the output of the colour layer.

# %%
my_guess = ...  # percent; put yours here

import torch
import torch.nn.functional as F

lite0 = models.build_model("tf_efficientnet_lite0", weights="imagenet", in_chans=3)
filters = lite0.network.conv_stem.weight.detach()  # (32, 3, 3, 3)
gray = torch.from_numpy(test_set.images[:64])[:, None] / 127.5 - 1  # (64, 1, 48, 48)
colour = F.conv2d(gray.expand(-1, 3, -1, -1), filters)  # three equal channels
summed = F.conv2d(gray, filters.sum(1, keepdim=True))
averaged = F.conv2d(gray, filters.mean(1, keepdim=True))
here.guess(my_guess, (100 * averaged.std() / colour.std()).item())
print("the sum equals the colour layer:", torch.allclose(summed, colour, atol=1e-4))

# %% [markdown]
# Sum the channels. timm does so when you ask for `in_chans=1`. "Average" sounds right, because gray is an average
# of colours. But it leaves a third.
#
# Some projects average and never notice, because BatchNorm follows. In training mode, BatchNorm divides by the
# standard deviation of the batch. In evaluation mode, it divides by the one that it remembers.


# %%
def strength(maps):
    return maps.std((0, 2, 3)).mean().item()  # of each channel; then their mean


norm = torch.nn.BatchNorm2d(32, momentum=1.0)  # remembers the last batch only
expected = strength(norm(colour))  # now it remembers the colour layer
print(f"evaluation mode: {strength(norm.eval()(averaged)) / expected:.0%}")
print(f"training mode:   {strength(norm.train()(averaged)) / expected:.0%}")

# %% [markdown]
# In training mode the error is repaired, so no curve shows it. In evaluation mode the next layer gets a third of
# what it expects, unless training has renewed BatchNorm's memory.
#
# ## BatchNorm learns without labels
#
# For each channel, BatchNorm remembers a running mean and a running variance. Each batch in training mode renews
# them: nine tenths of the old value, one tenth of the batch's. No label is needed, no gradient and no optimizer.
#
# We show the network 40 batches of new faces in training mode. The weights stay. How many points does
# that gain?

# %%
my_guess = ...  # points; put yours here

import copy

from ferlib.transforms import EvalTransform

to_input = EvalTransform(known.input_spec)  # uint8 faces -> input of the network
unlabelled = torch.from_numpy(train_part.images[: 40 * 64])[:, None]
moved = copy.deepcopy(known).train()
with torch.no_grad():
    for batch in unlabelled.split(64):
        moved(to_input(batch))
adapted = evaluation.predict(moved, test_set)
here.guess(my_guess, 100 * (adapted.correct.mean() - as_it_is.correct.mean()), "points")

# %% alt="Running mean of each channel of the first BatchNorm before and after the new faces, as a scatter plot"
import matplotlib.pyplot as plt

old = known.network.stages[0][2].running_mean  # the first BatchNorm of FerNet
new = moved.network.stages[0][2].running_mean
figure, ax = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
ax.plot(old, new, "o", color=plots.DARK)
ax.axline((0, 0), slope=1, linestyle="--", color="gray")
_ = ax.set(title="Means of the first BatchNorm", xlabel="before", ylabel="after")

# %% [markdown]
# A channel on the dashed line has the same mean for both kinds of faces. With drawn faces, most lie below the line: the
# mean is smaller. So a part of the domain shift is only another mean and variance of the feature maps. Y. Li and others
# called the method *adaptive batch normalization* (2016).
#
# ## What moves in a frozen body?
#
# Now with labels. We freeze all but the head and train one epoch. `freeze_bn` says whether the BatchNorm layers of
# the frozen part stay in evaluation mode. Which values are not the same afterwards?

# %%
from ferlib import training
from ferlib.training import TrainConfig


def changed(freeze_bn):
    model = models.freeze(copy.deepcopy(known), "head")  # freezes all but the head
    before = copy.deepcopy(model.state_dict())
    config = TrainConfig(epochs=1, batch_size=BATCH, freeze_bn=freeze_bn)
    training.fit(model, train_set, val_set, config, progress=False)
    after = model.state_dict()
    return [key for key in after if not torch.equal(after[key].cpu(), before[key])]


print("freeze_bn=True: ", changed(True))
print("freeze_bn=False:", changed(False)[:4], "...")

# %% [markdown]
# With `freeze_bn=False`, a "frozen" network moves: `requires_grad = False` stops gradients, and running means need
# none. (`num_batches_tracked` is a counter of batches.) In plain PyTorch this is what happens after `model.train()`. To
# stop it, put the frozen BatchNorm layers into `eval()` mode.
#
# Is moving bad? Train the head with both settings and three seeds. How many points does moving gain?

# %%
my_guess = ...  # points, below zero for a loss; put yours here

import dataclasses

import numpy as np

ALL_PARTS = ("stem", "stages", "head")
results = {}  # name -> test accuracy of each seed


def train(name, config, parts=ALL_PARTS):
    results[name] = []
    for seed in range(SEEDS):
        model = models.freeze(copy.deepcopy(known), parts)
        settings = dataclasses.replace(config, seed=seed)
        training.fit(model, train_set, val_set, settings, progress=False)
        found = evaluation.predict(model, test_set)
        results[name].append(100 * found.correct.mean())
    print(f"{name}: {np.mean(results[name]):.1f}% of the test faces are right")


still = TrainConfig(epochs=EPOCHS, batch_size=BATCH, lr=0.01, freeze_bn=True)
moving = dataclasses.replace(still, freeze_bn=False)
train("head, BatchNorm still", still, "head")
train("head, BatchNorm moving", moving, "head")
gain = np.mean(results["head, BatchNorm moving"]) - np.mean(
    results["head, BatchNorm still"]
)
here.guess(my_guess, gain, "points")

# %% [markdown]
# On the drawn faces, moving gained about 5 points. Moving can help when the new faces look different, as above. It can
# hurt when batches are small, because their means are noisy. Choose, and write it in your report. What must not happen:
# the report says "frozen", and the network moved.
#
# ## Which learning rate?
#
# L. Smith's *rate finder* trains a copy of the network. The learning rate grows from step to step, from 0.00001 up
# to 1. Then `suggest_lr` finds the rate at which the loss begins to rise, and suggests a third of it.

# %% alt="Loss over the learning rate in the rate finder, with the suggested rate as a dashed line"
curve = training.find_lr(known, train_set, TrainConfig(batch_size=BATCH), steps=STEPS)
suggested = training.suggest_lr(curve)
ax = plots.plot_lr_finder(curve, suggested)
print(f"suggested: {suggested:.2g}")

# %% [markdown]
# The loss is lowest a little to the right of the line. Beyond, it rises: training breaks. Is the suggested rate
# also the best for fine-tuning? Train the whole network with it, with a third and with a tenth of it. By how many
# points is the best of the three better than the suggested rate?

# %%
my_guess = ...  # points; put yours here

for share in (1, 0.3, 0.1):
    plan = TrainConfig(epochs=EPOCHS, batch_size=BATCH, lr=share * suggested)
    train(f"all, {share:g} x suggested rate", plan)
means = [np.mean(row) for name, row in results.items() if "suggested" in name]
here.guess(my_guess, max(means) - means[0], "points")

# %% [markdown]
# On the drawn faces, the two lower rates gave about 6 points more than the suggested rate. Large steps may destroy what
# the pretrained weights know. The finder shows where training breaks, not what is best. For fine-tuning, try rates
# well below it. (Here we look at test faces, to learn about rates. In your own work, choose on validation faces.)

# %% [markdown]
# ## Which schedule?
#
# A *schedule* changes the learning rate during training. Four are planned before the run. *Constant* stays. The other
# three rise first, in the *warm-up*, and then fall; *one-cycle* does both along a cosine. The runs above were linear.
# The fifth, *plateau*, plans nothing: it halves the rate when the validation loss has not improved for more than two
# epochs. We draw the four planned ones. Then we run plateau and all of these but `cosine`.

# %% alt="Share of the highest learning rate over a run for the schedules constant, linear, cosine and one-cycle"
from ferlib.training.optim import lr_factor

styles = {"constant": ":", "linear": "--", "cosine": "-.", "onecycle": "-"}
figure, ax = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
for schedule, style in styles.items():
    planned = TrainConfig(schedule=schedule)
    ax.plot(
        [lr_factor(step, 100, planned) for step in range(100)], style, label=schedule
    )
ax.set(title="Four schedules", xlabel="step of 100", ylabel="share of the highest rate")
_ = ax.legend()

# %%
for kind in ("constant", "linear", "onecycle", "plateau"):
    timetable = TrainConfig(epochs=EPOCHS, batch_size=BATCH, lr=LR, schedule=kind)
    train(f"all, {kind}", timetable)

# %% [markdown]
# Here are all ways of this lesson. Each dot is one seed. Before you call one way better, compare the distance
# between two rows with the spread within a row.

# %% alt="Test accuracy of every way to fine-tune in this lesson, one dot for each seed"
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for way, accuracies in results.items():
    ax.plot(accuracies, [way] * SEEDS, "o", color=plots.DARK, alpha=0.7)
ax.axvline(
    100 * as_it_is.correct.mean(), linestyle="--", color="gray", label="as it is"
)
ax.axvline(100 * adapted.correct.mean(), linestyle=":", color="gray", label="no labels")
ax.set(
    title=f"{TRAIN} training faces", xlabel="test accuracy (%)", ylabel="what learns"
)
_ = ax.legend()

# %% [markdown]
# On the drawn faces, the schedules that we ran lie within about one point. The seeds of one schedule lie up to about
# four points apart. So we choose none of them. Plateau is the same as constant until it first halves the rate. On drawn
# faces that comes late or never, so the two rows are almost equal. A rate that is too high costs more.
# Whether to freeze cannot be judged here: the head had another rate, 0.01. And all runs share one sample of 140 faces.

# %% [markdown]
# ## A part that learns nothing
#
# PyTorch's optimizers take *groups* of parameters, each with its own learning rate. A published student project
# gives `conv1` of a ResNet a rate, and freezes it. We build the same mistake in small. One step: how many of the
# three tensors below will change?

# %%
my_guess = ...  # tensors; put yours here

import timm

network = timm.create_model("resnet18", num_classes=7, in_chans=1)
network.requires_grad_(False)
network.fc.requires_grad_(True)
groups = [
    {"params": network.conv1.parameters(), "lr": 0.0001},
    {"params": network.fc.parameters(), "lr": 0.001},
]
optimizer = torch.optim.Adam(groups)
first = copy.deepcopy(network.state_dict())
loss = F.cross_entropy(network(gray), torch.tensor(test_set.labels[:64]))
loss.backward()
optimizer.step()
tensors = ("conv1.weight", "bn1.running_mean", "fc.weight")
different = [
    key for key in tensors if not torch.equal(network.state_dict()[key], first[key])
]
here.guess(my_guess, len(different), "tensors")
print(different)

# %% [markdown]
# `conv1` has a learning rate and does not move. `bn1` has none and moves. PyTorch says nothing: an optimizer skips
# parameters without a gradient. (`ferlib` warns.) So compare weights before and after your first epoch, as
# above.

# %% [markdown]
# ## What you have learned
#
# - To make a first layer gray, sum its three channels. The average leaves a third, and BatchNorm hides that in
#   training.
# - BatchNorm's means and variances move in training mode, without labels and without gradients.
# - Freezing parameters does not freeze BatchNorm. Decide whether it may move, and report it.
# - The rate finder shows where training breaks. Fine-tune well below.
# - Compare schedules over several seeds; a difference smaller than the spread says nothing.
# - PyTorch says nothing about what is frozen. Look at what changed.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Make a layer gray. From weights of shape (filters, 3, k, k), return weights of shape (filters, 1,
# k, k). They must answer a gray face as the colour layer answers it in three equal channels.


# %% tags=["exercise"]
def my_gray(weight):
    return ...


# %% tags=["solution"]
def solution_1(weight):
    return weight.sum(1, keepdim=True)


def mean_of_colours(weight):
    return weight.mean(1, keepdim=True)


def red_only(weight):
    return weight[:, :1]


def without_channel(weight):
    return weight.sum(1)


wrong_1 = [
    (mean_of_colours, "the mean answers a third as strongly"),
    (red_only, "that drops green and blue"),
    (without_channel, "a convolution needs its channel axis, of length 1"),
]

# %%
here.check(my_gray, solution_1, wrong_1, on=[(filters[:2],)], tolerance=1e-5)

# %% [markdown]
# **Exercise 2.** Compute a running mean as BatchNorm does. Begin with `old`. For each number in `batch_means`, keep
# nine tenths of the running mean and add one tenth of the number. Return the last running mean.


# %% tags=["exercise"]
def my_running_mean(old, batch_means):
    return ...


# %% tags=["solution"]
def solution_2(old, batch_means):
    for batch_mean in batch_means:
        old = 0.9 * old + 0.1 * batch_mean
    return old


def the_other_way(old, batch_means):
    for batch_mean in batch_means:
        old = 0.1 * old + 0.9 * batch_mean
    return old


def last_batch_only(old, batch_means):
    return 0.9 * old + 0.1 * batch_means[-1]


def plain_mean(old, batch_means):
    return sum(batch_means) / len(batch_means)


wrong_2 = [
    (the_other_way, "nine tenths are the old value, not the batch's"),
    (last_batch_only, "each batch counts, not only the last one"),
    (plain_mean, "older batches count less and less, and `old` counts, too"),
]
examples_2 = [(1.0, [0.0, 0.0]), (0.0, [1.0, 3.0, 2.0])]

# %%
here.check(my_running_mean, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** Write plateau by hand. Given the validation loss of each epoch, return the learning rate of each
# epoch. Begin with `lr`. Count the epochs in a row without a new lowest loss. When the count is above `patience`,
# halve the rate for the next epoch and count from 0 again.


# %% tags=["exercise"]
def my_plateau(losses, lr, patience):
    return ...


# %% tags=["solution"]
def solution_3(losses, lr, patience):
    lowest, count, rates = float("inf"), 0, []
    for value in losses:
        rates.append(lr)
        count = 0 if value < lowest else count + 1
        lowest = min(lowest, value)
        if count > patience:
            lr, count = lr / 2, 0
    return rates


def too_early(losses, lr, patience):
    return solution_3(losses, lr, patience - 1)


def one_epoch_before(losses, lr, patience):
    rates = solution_3(losses, lr, patience)
    return rates[1:] + rates[-1:]


def never_halved(losses, lr, patience):
    return [lr for value in losses]


wrong_3 = [
    (too_early, "an epoch too early: the count must be above `patience`"),
    (one_epoch_before, "the rate is halved for the next epoch, not for this one"),
    (never_halved, "the rate never changes"),
]
examples_3 = [([3.0, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6], 1.0, 2)]

# %%
here.check(my_plateau, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** `fer2013-small` names 66% of FER2013's `PublicTest` right, and far fewer of the drawn faces. Has it
# forgotten what a smile is?
#
# <details><summary>Answer</summary>
#
# No. On drawings, new means and variances alone, unlabelled, gained about 8 points. So a good part of
# its knowledge was still there. But the feature maps of drawings have another mean and variance.
#
# </details>

# %% [markdown]
# **2.** You freeze all but the head of a network. The head takes 288 features and gives 7 scores. How many numbers
# learn? What may move all the same?
#
# <details><summary>Answer</summary>
#
# 288 times 7 is 2,016 weights, and with the seven biases 2,023 numbers learn. The running means and variances of
# every BatchNorm layer may move all the same, unless these layers are in evaluation mode.
#
# </details>

# %% [markdown]
# **3.** You average the first layer to gray and use the network at once for feature extraction, without training.
# Does BatchNorm repair the error?
#
# <details><summary>Answer</summary>
#
# No. Feature extraction runs in evaluation mode. There, BatchNorm divides by the standard deviation that it
# remembers from colour pictures, three times too large. Every feature after it is off, and no message appears.
#
# </details>

# %% [markdown]
# **4.** The finder suggests a rate, and fine-tuning is better with a tenth of it. Is the finder wrong?
#
# <details><summary>Answer</summary>
#
# No, it answers another question: at which rate does the training loss break? It takes a few steps and never looks at
# new faces. A pretrained network starts near good weights, and a large step leads away from them. What it knew may then
# be lost, though the training loss still falls.
#
# </details>

# %% [markdown]
# **5.** Suppose that one-cycle lies one point above linear, in one run with one seed. A friend says: "Take one-cycle."
# What do you answer?
#
# <details><summary>Answer</summary>
#
# One point is within the spread of the seeds, as the rows of the last picture show. On 1,000 test faces, an
# accuracy near 60% also has a standard error of about 1.5 points. Train both with several seeds before you choose, and
# choose on validation faces.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - Y. Li and others, *Revisiting batch normalization for practical domain adaptation*, arXiv 1603.04779, 2016.
# - L. N. Smith, *Cyclical learning rates for training neural networks*, WACV 2017 (the rate finder).
# - L. N. Smith and N. Topin, *Super-convergence: very fast training of neural networks using large learning rates*,
#   SPIE 2019 (one-cycle).
# - S. Ioffe and C. Szegedy, *Batch normalization: accelerating deep network training by reducing internal covariate
#   shift*, ICML 2015.
