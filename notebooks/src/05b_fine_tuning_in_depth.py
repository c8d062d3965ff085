# %% [markdown]
# # Fine-tuning in depth
#
# *Advanced.* What happens inside while a network is fine-tuned? A network that was trained on 28,709 photographs has to
# name drawings, and gets 20 of each emotion to learn from.
#
# {colab}
#
# **You will be able to** turn a colour network gray, say what BatchNorm does while layers are frozen, find a learning
# rate, choose a schedule, find a group that does not learn, and say when pretraining stops to pay.
#
# **You need** lessons 03 to 05. **Data:** the drawn sample; FER2013 with `FERLIB_DATA`.
#
# **Time:** 50 minutes to read; about 2 minutes on a laptop CPU.

# %%
import copy
import math
import warnings

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.svm import LinearSVC
from timm.models import adapt_input_conv
from torch import nn

from ferlib import evaluation, models, plots, protocol, recipes, training
from ferlib.emotions import EMOTIONS
from ferlib.lesson import Lesson
from ferlib.training import lr_finder
from ferlib.training.optim import TrainConfig, build_optimizer, lr_factor
from ferlib.transforms import EvalTransform

here = Lesson("05b")
SEEDS = here.seeds
EACH, FEW, ALL = (4, 1, 1) if here.fast else (20, 10, 4)  # faces a class; epochs

faces = here.load(most=300 if here.fast else 2800)
public = faces.subset("PublicTest")
test_set = public.subset(np.arange(0, 100 if here.fast else len(public), 2))
train_set, held = protocol.split(faces.subset("Training"), share=0.05)
print(f"{len(train_set):,} faces to train on, {len(held)} to watch the training by,")
print(f"{len(test_set):,} to judge by")

# %% [markdown]
# ## A model that has never seen a drawing
#
# `fer2013-small` ships with `ferlib`: a FerNet of 473,735 weights, trained on FER2013's photographs alone. It names
# 66% of FER2013's `PublicTest` right (one view). The drawn faces have brows, eyes and mouths that move by the same
# action units, but no skin, no pores and no JPEG. How many of them does it name right, as it is?
#
# (With `FERLIB_DATA` set to FER2013 the lesson turns round, since these weights have seen its training faces: it
# starts from `drawn`, the same network trained on drawings, and learns photographs.)

# %%
my_guess = ...  # percent; put yours here

WEIGHTS = "fer2013-small" if here.drawn else "drawn"
known = models.load_model(WEIGHTS)
prepare = EvalTransform(known.input_spec)


def tested(network):
    """What a network says of the test faces."""
    return evaluation.predict(network, test_set)


as_is = tested(known)
accuracy = {"as it is": 100 * as_is.correct.mean()}
here.guess(my_guess, accuracy["as it is"])
majority = np.bincount(test_set.labels).max() / len(test_set)
print(f"always the commonest emotion: {majority:.1%}")

# %% [markdown]
# A model that reads photographs well may read drawings badly: such a change of the pictures, with the labels' meaning
# left alone, is called a *domain shift*. Which of the twelve faces of lesson 03 does it get wrong?

# %% alt="Twelve test faces with their emotion and what the model that has only seen photographs says"
twelve = public.subset(here.twelve(public))


def asked(network):
    """What a network calls the twelve faces."""
    return evaluation.predict(network, twelve).predicted


true = twelve.labels
said = asked(known)
names = [
    f"{EMOTIONS[t].upper()}\nsaid {EMOTIONS[s]}"
    for t, s in zip(true, said, strict=True)
]
ink = ["black" if t == s else "#AA3377" for t, s in zip(true, said, strict=True)]
title = f"Truth, and what {WEIGHTS} says (purple: wrong)"
figure = plots.face_grid(
    twelve.images, names, columns=6, size=1.2, title=title, colors=ink
)
print(f"{(true != said).sum()} of 12 are wrong")
often = np.bincount(as_is.predicted, minlength=7)
print("said most often:", EMOTIONS[often.argmax()], f"({often.max()} times)")

# %% [markdown]
# ## From colour to gray
#
# Most pretrained networks have seen ImageNet: 1.3 million photographs, in colour, of 1,000 things. [Lesson
# 05](05_fine_tuning.ipynb) starts from such a network.
#
# Its first layer wants three channels; a face of ours has one. Two ways out: repeat the face three times, or make the
# layer gray. For the second, each filter's three colour planes become one. Should they be averaged or summed? Guess
# how strong the answer to a face is after *averaging*, in percent of the colour layer's. (A random layer shows it.)

# %%
my_guess = ...  # percent; put yours here

torch.manual_seed(0)
colour = nn.Conv2d(3, 16, 3, bias=False).requires_grad_(False)
gray_faces = prepare(torch.tensor(test_set.images[:64])[:, None])  # (64, 1, 48, 48)
answer = colour(gray_faces.expand(-1, 3, -1, -1))  # the face in all three channels
summed = F.conv2d(gray_faces, colour.weight.sum(1, keepdim=True))
averaged = F.conv2d(gray_faces, colour.weight.mean(1, keepdim=True))

torch.testing.assert_close(summed, answer, atol=1e-5, rtol=0)
torch.testing.assert_close(
    adapt_input_conv(1, colour.weight), colour.weight.sum(1, keepdim=True)
)
here.guess(my_guess, (100 * averaged.std() / answer.std()).item())

# %% [markdown]
# The sum answers as the colour layer did, with a third of its work; it is what timm does when asked for `in_chans=1`,
# and what `build_model` does. "Average" sounds right, because gray *is* an average of colours, and it leaves a third.
#
# Why did the student project `gray_resnet18`, which averages, never notice? Next comes BatchNorm. In training it
# divides by the batch's own spread; in use, by a spread that it remembers. How strong is the averaged answer after
# each, in percent?


# %%
def strength(maps):
    """Standard deviation over faces and places, averaged over channels."""
    return maps.std((0, 2, 3)).mean().item()


norm = nn.BatchNorm2d(16, momentum=1.0)  # remembers the last batch and nothing else
norm(answer)  # it remembers the colour layer's answers
used = strength(norm.eval()(averaged)) / strength(norm(answer))
trained_on = strength(norm.train()(averaged)) / strength(norm(answer))
print(
    f"in training: {100 * trained_on:.1f}%; in use, with the old memory: {100 * used:.1f}%"
)

# %% [markdown]
# In training the third is repaired by the next layer, so no curve shows it. In use it is repaired only if BatchNorm's
# memory was renewed. Keep that in mind for two sections.
#
# ## The statistics move first
#
# BatchNorm remembers, for each channel, a running mean and variance: nine tenths of the old, one tenth of the batch's.
# No gradient is needed for it, and no label. By hand, for the first BatchNorm of our network and 64 drawn faces:

# %%
moving = copy.deepcopy(known)
inside = moving.network
first = inside.stages[0][2]  # convolution, max-pool, and this BatchNorm
batch = prepare(torch.tensor(train_set.images[:64])[:, None])
with torch.no_grad():
    before = first.running_mean.clone()
    inputs = inside.stages[0][:2](inside.stem(batch))  # (64, channels, 12, 12)
    by_hand = 0.9 * before + 0.1 * inputs.mean((0, 2, 3))
    moving.train()(batch)  # looks at the faces, and learns nothing else
torch.testing.assert_close(first.running_mean, by_hand, atol=1e-5, rtol=0)
print(f"{len(before)} channels: by hand and PyTorch agree")

# %% [markdown]
# What was remembered are the means of photographs. Let the network look at 40 batches of drawn faces *without their
# labels*, only to renew these means and variances. All 473,735 weights that are learned stay as they are. How many
# points does that win?

# %%
my_guess = ...  # points; put yours here

picks = np.random.default_rng(0).integers(
    0, len(train_set), (4 if here.fast else 40, 64)
)
with torch.no_grad():
    for some in picks:
        moving(prepare(torch.tensor(train_set.images[some])[:, None]))
accuracy["statistics moved"] = 100 * tested(moving.eval()).correct.mean()
for a, b in zip(moving.parameters(), known.parameters(), strict=True):
    assert torch.equal(a, b)
gained = accuracy["statistics moved"] - accuracy["as it is"]
here.guess(my_guess, gained, "points")
for name, layer in moving.network.named_modules():
    if isinstance(layer, nn.BatchNorm2d):
        old = known.network.get_submodule(name)
        shift = (layer.running_mean - old.running_mean) / old.running_var.sqrt()
        print(f"{name:16} means moved by {shift.abs().mean():.2f} sd on average")

# %% [markdown]
# (Y. Li and others published this in 2016 as *adaptive batch normalization*.) What it shows: part of a domain shift
# is no more than brightness and contrast of the inner pictures. What it does not show: that more faces would win
# more. Means and variances are all there is to renew.
#
# ## Freezing
#
# Now with labels, 20 of each emotion. The dearest layers are those near the picture, and they may know all they need:
# edges are edges. So *freeze* all but the last layer. That is one flag for each parameter:

# %%
torch.manual_seed(0)
frozen = models.build_model("fernet", weights=WEIGHTS, drop_rate=0.0)
for name, parameter in frozen.network.named_parameters():
    parameter.requires_grad = name.startswith("head.")

again = models.build_model("fernet", weights=WEIGHTS, drop_rate=0.0)
models.freeze(again, "head")
flags = [[p.requires_grad for p in network.parameters()] for network in (frozen, again)]
assert flags[0] == flags[1]
total, learns = models.count_parameters(frozen)
print(f"{learns:,} of {total:,} parameters learn")

# %% [markdown]
# Does a frozen network stand still? Here is what `model.train()` does to it: its BatchNorm goes on moving, as above,
# while its owner believes that only the head changes. `ferlib` keeps the frozen parts' statistics unless told
# `freeze_bn=False`. One pass over the few faces, both ways: how many of the frozen *values* have changed?


# %%
def few_of(seed):
    """EACH training faces of every emotion (fewer where there are fewer)."""
    order = np.random.default_rng(seed).permutation(len(train_set))
    kept = [order[train_set.labels[order] == k][:EACH] for k in range(7)]
    return train_set.subset(np.sort(np.concatenate(kept)))


settings = {"optimizer": "adam", "weight_decay": 0, "clip_norm": None}
settings["label_smoothing"] = 0


def trained(network, some, seed, epochs=FEW, lr=3e-3, **more):
    """A network trained on some faces: the result of `fit`."""
    more |= {"epochs": epochs, "batch_size": 16, "lr": lr, "seed": seed}
    config = TrainConfig(**settings, **more)
    return training.fit(network, some, held, config, progress=False)


for keep in (True, False):
    network = copy.deepcopy(frozen)
    trained(network, few_of(0), 0, epochs=1, freeze_bn=keep)
    before = frozen.network.state_dict()
    moved = {
        name: int((value.cpu() != before[name]).sum())
        for name, value in network.network.state_dict().items()
        if not name.startswith("head.")
    }
    kinds = {name.rpartition(".")[2] for name, count in moved.items() if count}
    print(f"freeze_bn={keep}: {sum(moved.values())} values moved", *sorted(kinds))

# %% [markdown]
# Is that a bug or a gift? It depends on whether the new faces look like the old. Train the head alone for ten epochs,
# on three draws of the few faces, once with statistics that stand still and once with statistics that move. How many
# points does moving win?

# %%
my_guess = ...  # points; put yours here, below zero if it loses


def start(seed, weights=WEIGHTS, only=None):
    """The network with these weights, or random ones; with `only` that part learns."""
    torch.manual_seed(seed)
    given = {"weights": weights} if weights else {"widths": (32, 48, 96, 144)}
    network = models.build_model("fernet", drop_rate=0.0, **given)
    return models.freeze(network, only) if only else network


hits = {}
for name, keep in (("head, still", True), ("head, moving", False)):
    heads = [
        trained(start(seed, only="head"), few_of(seed), seed, lr=1e-2, freeze_bn=keep)
        for seed in SEEDS
    ]
    hits[name] = np.array([tested(run.model).correct for run in heads])
    print(f"{name:14}", *[f"{share:.1%}" for share in hits[name].mean(1)])
gained = 100 * (hits["head, moving"].mean() - hits["head, still"].mean())
here.guess(my_guess, gained, "points")

# %% [markdown]
# In our ten seeds the moving statistics won 1.6 points on average: the cure of the section before, by accident. On
# faces like those of the pretraining there is nothing to win, and statistics of 16 faces a batch are noisy. So decide
# it, and write it down. What must not happen is that a report says "frozen" and the network moved.
#
# ## A rate for each layer
#
# Between frozen and free lies a small step: early layers learn slowly, late ones faster. PyTorch's optimisers take
# *groups* of parameters, each with its own rate. `TrainConfig.lr_scales` names parts and their share of `lr`.

# %%
shares = {"stem": 0.1, "stages.0": 0.2, "stages.1": 0.4, "stages.2": 0.7}
network = start(0)
groups = {part: [] for part in (*shares, "rest")}
for name, parameter in network.network.named_parameters():
    part = next((part for part in shares if name.startswith(part + ".")), "rest")
    groups[part].append(parameter)
mine = {part: (3e-3 * shares.get(part, 1), len(held)) for part, held in groups.items()}

config = TrainConfig(lr=3e-3, lr_scales=tuple(shares.items()), **settings)
theirs = {}
for group in build_optimizer(network, config).param_groups:
    lr, count = theirs.get(group["name"], (group["lr"], 0))
    theirs[group["name"]] = (lr, count + len(group["params"]))
assert mine == theirs
print(pd.DataFrame.from_dict(mine, "index", columns=["rate", "tensors"]).to_string())

# %% [markdown]
# ### A group that is dead
#
# `gray_resnet18` is a student project that claims 66.88% on FER2013. Look for two lines of it that cannot both be
# meant.

# %%
recipe = recipes.get_recipe("gray_resnet18")
print(recipes.describe(recipe))

# %% [markdown]
# `conv1` has a rate, and `conv1` is not among what learns. We take one step with the recipe's own optimiser on 16
# faces, with random weights in place of ImageNet's and at 48 px. What of `conv1` and of the BatchNorm behind it has
# moved?

# %%
plain = {"weights": None, "size": 48, "small_stem": False}
torch.manual_seed(0)
resnet = models.freeze(models.build_model(**recipe.model | plain), recipe.trainable)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    optimizer = build_optimizer(resnet, recipe.config)
print("warning:", *[str(warning.message) for warning in caught])

accelerator = Accelerator()
resnet.to(accelerator.device)
inside = resnet.network
before = {name: value.clone() for name, value in inside.state_dict().items()}
one = torch.tensor(train_set.images[:16])[:, None], torch.tensor(train_set.labels[:16])
one = [tuple(part.to(accelerator.device) for part in one)]
feed = EvalTransform(resnet.input_spec)
training.train_one_epoch(resnet, one, feed, optimizer, accelerator, recipe.config)
for name in ("conv1.weight", "bn1.weight", "bn1.running_mean", "fc.weight"):
    changed = int((inside.state_dict()[name] != before[name]).sum())
    print(f"{name:18}{changed:6} of {before[name].numel():5} values moved")

# %% [markdown]
# Nobody is told by PyTorch: a parameter without a gradient is passed over. `ferlib` warns. The moving `running_mean`
# is the other flaw in the list, and also what makes up for the averaged first layer.
#
# ## Which rate?
#
# L. Smith's rate finder trains a copy of the network while the rate grows from 0.00001 to 1, a step each, and watches
# the loss. `suggest_lr` reads off where the loss takes off, and takes a third of that. Guess how many times larger
# the rate of the pretrained network may be than that of the same network with random weights.

# %% alt="Loss over learning rate for the pretrained network and for random weights, with the suggested rates"
my_guess = ...  # times; put yours here

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
suggested = {}
for ax, (name, weights) in zip(
    axes, {"pretrained": WEIGHTS, "random": None}.items(), strict=True
):
    config = TrainConfig(epochs=1, batch_size=16, **settings)
    found = lr_finder.find_lr(
        start(0, weights), few_of(0), config, steps=8 if here.fast else 60
    )
    try:
        suggested[name] = lr_finder.suggest_lr(found)
    except ValueError as reason:
        print(f"{name}: {reason}")
    plots.plot_lr_finder(found, suggested.get(name), ax=ax)
    ax.set_title(f"{name} weights, batches of 16")
    ax.legend(loc="lower left", fontsize=8)
if len(suggested) == 2:
    times = suggested["pretrained"] / suggested["random"]
    here.guess(my_guess, times, "times")
    print({name: float(f"{rate:.2g}") for name, rate in suggested.items()})

# %% [markdown]
# Read the two dashed lines. What the curves do not show is any face that is new: each of the few faces comes back
# every eight steps, and a loss that falls may be memory. The finder says where training *breaks*. How far to stay
# below is another question: for fine-tuning, far, as a large step away from good weights loses them. In trials on five
# draws of 20 faces a class, rates of 0.003, 0.01 and 0.03 got 63.2, 57.4 and 49.8% on average. We take 0.003.

# %% [markdown]
# ## One cycle, or wait for a plateau?
#
# *One-cycle* (Smith again) plans everything ahead: the rate rises along a cosine to its peak, then falls along
# another to nearly nothing. By hand:


# %%
def one_cycle(step, steps, warmup=0.3):
    """Share of the highest rate in step `step` of `steps`."""
    top, end = warmup * steps - 1, steps - 1
    if step <= top:
        low, along = 1 / 25, step / top
    else:
        low, along = 4e-6, (end - step) / (end - top)
    return low + (1 - low) * (1 - math.cos(math.pi * along)) / 2


plan = TrainConfig(schedule="onecycle", warmup=0.3)
by_hand = [one_cycle(step, 70) for step in range(70)]
np.testing.assert_allclose(by_hand, [lr_factor(step, 70, plan) for step in range(70)])
print(
    f"first step {by_hand[0]:.2f}, highest {max(by_hand):.2f}, last {by_hand[-1]:.6f}"
)

# %% [markdown]
# *Plateau* plans nothing: it halves the rate whenever the validation loss has not improved for more than two epochs.
# What would it have done in a real run? The shipped `fer2013` was trained for 64 epochs with a linear schedule; its
# validation losses are in `benchmarks/fer2013`. How often would plateau have halved the rate?

# %%
my_guess = ...  # times; put yours here

folder = here.evidence()
if folder:
    losses = pd.read_csv(folder / "history.csv")["val_loss"].to_numpy()
    watched = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(watched, factor=0.5, patience=2)
    plateau = []
    for loss in losses:
        plateau.append(watched.param_groups[0]["lr"])
        rule.step(loss)
    here.guess(my_guess, -math.log2(plateau[-1]), "times")

# %% [markdown]
# When do the plans agree, and when does plateau begin to act?

# %% alt="Share of the highest learning rate over 64 epochs for one-cycle, linear and plateau, and the validation loss that plateau followed"
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
steps = np.arange(64 * 10)
lines = {"one-cycle": ("onecycle", 0.3, "-"), "linear": ("linear", 0.15, "--")}
for name, (schedule, warmup, style) in lines.items():
    plan = TrainConfig(schedule=schedule, warmup=warmup)
    share = [lr_factor(step, len(steps), plan) for step in steps]
    axes[0].plot(steps / 10, share, style, color=plots.DARK, label=name)
if folder:
    epochs = np.arange(1, len(losses) + 1)
    axes[0].step(
        epochs - 1, plateau, where="post", color=plots.MIDDLE, lw=2.5, label="plateau"
    )
    axes[1].plot(epochs, losses, color=plots.DARK)
    cuts = np.flatnonzero(np.diff(plateau)) + 1
    axes[1].plot(
        cuts, losses[cuts - 1], "v", color=plots.MIDDLE, label="plateau halves after it"
    )
    axes[1].legend()
    print("plateau halves after epoch", *cuts)
    print("lowest validation loss in epoch", losses.argmin() + 1)
axes[0].set(title="Three schedules", xlabel="epoch", ylabel="share of highest rate")
axes[1].set(title="FER2013, recipe long, seed 2", xlabel="epoch")
axes[1].set_ylabel("validation loss (nats)")
_ = axes[0].legend()

# %% [markdown]
# This run's losses belong to its own schedule; with plateau's rates they would have been others, so the picture shows
# when the rule acts and not what it would have reached. It needs validation faces, too, and those must not be the
# ones you report. `onecycle_resnet18` plans with one cycle, and has a flaw of another kind:

# %%
print(recipes.describe(recipes.get_recipe("onecycle_resnet18")))

# %% [markdown]
# ## Twenty faces a class
#
# Now the question of this lesson: 20 faces of each emotion, 140 in all, judged by every second face of `PublicTest`.
# Three seeds, each with a draw of its own. The same network from the pretrained weights, with one-cycle and with
# plateau, and from random weights. Beside them the classic of lesson 03, HOG and a linear support vector machine, on
# the same 140. How many points will fine-tuning lie above scratch?

# %%
my_guess = ...  # points; put yours here

cycle = {"schedule": "onecycle", "warmup": 0.3}
arms = {
    "fine-tuned": (WEIGHTS, cycle),
    "with plateau": (WEIGHTS, {"schedule": "plateau"}),
    "scratch": (None, cycle),
}
runs = {
    name: [trained(start(seed, weights), few_of(seed), seed, **plan) for seed in SEEDS]
    for name, (weights, plan) in arms.items()
}
for name, arm in runs.items():
    hits[name] = np.array([tested(run.model).correct for run in arm])

describe = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9).compute
hits["HOG + SVM"] = []
for some in map(few_of, SEEDS):
    x, x_test = (
        np.stack([describe(image).ravel() for image in part.images])
        for part in (some, test_set)
    )
    said = LinearSVC(C=0.1).fit(x, some.labels).predict(x_test)
    hits["HOG + SVM"].append(said == test_set.labels)
hits["HOG + SVM"] = np.array(hits["HOG + SVM"])
gain = 100 * (hits["fine-tuned"].mean() - hits["scratch"].mean())
here.guess(my_guess, gain, "points")

# %% [markdown]
# Where do all the ways of this lesson stand? A point is one seed.

# %% alt="Test accuracy of each way to use the pretrained weights, of HOG and of random weights, three seeds each"
order = ["scratch", "HOG + SVM", "head, still", "head, moving", "with plateau"]
order += ["fine-tuned"]
figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for place, name in enumerate(order):
    each = 100 * hits[name].mean(1)
    ax.plot(each, np.full(len(each), place), "o", color=plots.MIDDLE, mec="black")
    ax.plot(each.mean(), place, "|", color=plots.DARK, markersize=22, mew=2)
    ax.text(each.max() + 1.5, place, f"{each.mean():.1f}", va="center", fontsize=9)
for name, style in {"as it is": "--", "statistics moved": ":"}.items():
    ax.axvline(accuracy[name], linestyle=style, color="#666666", label=name)
ax.set(yticks=range(len(order)), yticklabels=order, xlabel="accuracy (%)")
ax.set(title=f"{EACH} faces a class, {len(test_set):,} test faces", xlim=(0, 75))
ax.set_ylim(-0.6, len(order) - 0.4)
ax.set_ylabel("start, and what learns")
_ = ax.legend(title="without a label", fontsize=8, loc="lower right")
train = [run.history["train_accuracy"].iloc[-1] for run in runs["scratch"]]
print("training accuracy from scratch:", *[f"{share:.0%}" for share in train])

# %% [markdown]
# Look at scratch beside its training accuracy, and beside 25%, what one gets for always saying "happy": 140 faces are
# learned by heart, and nothing else. (Training has the classes in equal numbers here, the test has not; part of the
# low figure is that.) HOG, which has nothing to learn but seven weights a number, is the fair opponent when faces are
# few.
#
# One-cycle against plateau: hold the distance of their bars against how far single dots of one row lie apart, before
# you call one of them better. The picture does not show what a hundred faces a class would do.

# %% [markdown]
# ## All the faces
#
# Does the lead last? The same two networks on all the training faces, four epochs each, rate 0.001 for both (in
# trials scratch did best with it). Guess the gap now.

# %%
my_guess = ...  # points; put yours here

finals = {
    name: [
        trained(start(seed, weights), train_set, seed, epochs=ALL, lr=1e-3)
        for seed in SEEDS
    ]
    for name, weights in (("fine-tuned", WEIGHTS), ("scratch", None))
}
whole = {
    name: np.array([tested(run.model).correct for run in arm])
    for name, arm in finals.items()
}
for name, right in whole.items():
    print(f"{name:12}", *[f"{share:.1%}" for share in right.mean(1)])
here.guess(
    my_guess, 100 * (whole["fine-tuned"].mean() - whole["scratch"].mean()), "points"
)

# %% alt="Accuracy of the fine-tuned network and of the one from scratch, with 140 faces and with all training faces"
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
x = [len(few_of(0)), len(train_set)]
for name, line, color in (
    ("fine-tuned", "o-", plots.DARK),
    ("scratch", "s--", plots.MIDDLE),
):
    each = 100 * np.array([hits[name].mean(1), whole[name].mean(1)])
    ax.plot(x, each, line[0], color=color, markersize=4, alpha=0.6)
    ax.plot(x, each.mean(1), line, color=color, label=name)
ax.set(xscale="log", xlabel="training faces (log scale)", ylabel="accuracy (%)")
ax.set(title="The lead of pretrained weights", xticks=x, xticklabels=x, ylim=(0, 100))
ax.minorticks_off()
_ = ax.legend(loc="lower right")

# %% [markdown]
# The two ends of each line are all that was measured; between them is a ruler. And four epochs are few: scratch has
# not finished. The intervals below redraw the test faces and the seeds.


# %%
def gap(of, seeds, picks):
    """Points between fine-tuned and scratch, on these seeds and test faces."""
    high, low = (of[name][seeds][:, picks].mean() for name in ("fine-tuned", "scratch"))
    return 100 * (high - low)


rng, (k, n) = np.random.default_rng(0), whole["scratch"].shape
redrawn = []
for _ in range(1000):
    picks = rng.integers(0, k, k), rng.integers(0, n, n)
    redrawn.append((gap(hits, *picks), gap(whole, *picks)))
redrawn = np.array(redrawn)
few, many = (gap(of, slice(None), slice(None)) for of in (hits, whole))
more = {"n": n, "seeds": len(SEEDS)}
text = f"{EACH} faces a class: fine-tuned above scratch"
limits = np.quantile(redrawn[:, 0], [0.025, 0.975])
here.claim(text, few, 20, interval=limits, **more)
share = redrawn[:, 1] / np.where(redrawn[:, 0] == 0, np.nan, redrawn[:, 0])
text = "the gap with all faces, as a share of that one"
limits = np.nanquantile(share, [0.025, 0.975])
_ = here.claim(
    text,
    many / few if few else np.nan,
    0.5,
    at_most=True,
    unit="",
    interval=limits,
    **more,
)

# %% [markdown]
# Does it vanish? The model `drawn` answers that: the very same network, from random weights, on the drawn sample, for
# thirty epochs with augmentation. It names 89% of the 2,000 test faces right, more than the fine-tuned ones above,
# which had four epochs. K. He, R. Girshick and P. Dollár found the same for detection on COCO's 118,000
# photographs: pretraining gets there sooner, and, with pictures and time enough, not further.

# %% alt="The twelve test faces, with the answers of the model as it is, fine-tuned on few faces and on all"
said = {
    "as it is": asked(known),
    f"{EACH} a class": asked(runs["fine-tuned"][0].model),
    "all": asked(finals["fine-tuned"][0].model),
}
names = [
    "\n".join(
        [EMOTIONS[t].upper(), *(f"{k}: {EMOTIONS[v[i]]}" for k, v in said.items())]
    )
    for i, t in enumerate(true)
]
figure = plots.face_grid(
    twelve.images, names, columns=6, size=1.3, title="Truth, three answers"
)
for name, given in said.items():
    print(f"{name}: {(given != true).sum()} of 12 wrong")

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Make a layer gray: from weights (filters, 3, k, k) return (filters, 1, k, k) that answer a gray face
# as the colour layer answered it in three equal channels.


# %% tags=["exercise"]
def my_gray(weight):
    return ...


# %% tags=["solution"]
def solution_1(weight):
    return weight.sum(1, keepdim=True)


# %%
luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
wrong_answers = [
    (
        lambda weight: weight.mean(1, keepdim=True),
        "the mean answers a third as strongly",
    ),
    (
        lambda weight: (weight * luma).sum(1, keepdim=True),
        "these shares turn a colour *picture* gray; here the picture is gray already",
    ),
    (lambda weight: weight[:, :1], "that throws green and blue away"),
    (
        lambda weight: weight.sum(1),
        "a convolution wants its channel axis kept, of length 1",
    ),
]
here.check(
    my_gray, solution_1, wrong_answers, on=[(colour.weight[:2],)], tolerance=1e-5
)

# %% [markdown]
# **Exercise 2.** Which rate does a parameter get? `scales` maps parts to their share of `lr`. A part holds all names
# that are it or begin with it and a dot. Of several parts that fit, the longest counts; where none does, `lr` itself.


# %% tags=["exercise"]
def my_rate(name, lr, scales):
    return ...


# %% tags=["solution"]
def solution_2(name, lr, scales):
    fits = [part for part in scales if f"{name}.".startswith(f"{part}.")]
    return lr * scales[max(fits, key=len)] if fits else lr


# %%
def without_dot(name, lr, scales):
    fits = [part for part in scales if name.startswith(part)]
    return lr * scales[max(fits, key=len)] if fits else lr


def only_below(name, lr, scales):
    fits = [part for part in scales if name.startswith(f"{part}.")]
    return lr * scales[max(fits, key=len)] if fits else lr


def first_that_fits(name, lr, scales):
    fits = [part for part in scales if f"{name}.".startswith(f"{part}.")]
    return lr * scales[fits[0]] if fits else lr


def product_of_all(name, lr, scales):
    fits = [part for part in scales if f"{name}.".startswith(f"{part}.")]
    return lr * math.prod(scales[part] for part in fits)


wrong_answers = [
    (without_dot, "layer10 is not in layer1: mind the dot"),
    (only_below, "pos_embed is one tensor, a name and a part at once: no dot follows"),
    (first_that_fits, "of several parts the longest counts, not the first"),
    (product_of_all, "the shares of nested parts do not multiply; the longest counts"),
]
parts = {"layer1": 0.1, "layer1.2": 0.5, "fc": 0.8, "pos_embed": 0.3}
some_names = [
    "layer1.0.weight",
    "layer1.2.weight",
    "layer10.weight",
    "fc.bias",
    "pos_embed",
    "conv1",
]
here.check(
    my_rate,
    solution_2,
    wrong_answers,
    on=[(name, 0.01, parts) for name in some_names],
)

# %% [markdown]
# **Exercise 3.** Plateau by hand. Given the validation loss of each epoch, return the rates of the epochs: begin with
# `lr`; after more than `patience` epochs in a row without a loss below the lowest so far, halve it and count anew.


# %% tags=["exercise"]
def my_plateau(losses, lr, patience):
    return ...


# %% tags=["solution"]
def solution_3(losses, lr, patience):
    lowest, bad, rates = math.inf, 0, []
    for loss in losses:
        rates.append(lr)
        lowest, bad = (loss, 0) if loss < lowest else (lowest, bad + 1)
        if bad > patience:
            lr, bad = lr / 2, 0
    return rates


# %%
def never_anew(losses, lr, patience):
    lowest, bad, rates = math.inf, 0, []
    for loss in losses:
        rates.append(lr)
        lowest, bad = (loss, 0) if loss < lowest else (lowest, bad + 1)
        lr = lr / 2 if bad > patience else lr
    return rates


def against_last(losses, lr, patience):
    last, bad, rates = math.inf, 0, []
    for loss in losses:
        rates.append(lr)
        last, bad = loss, 0 if loss < last else bad + 1
        if bad > patience:
            lr, bad = lr / 2, 0
    return rates


wrong_answers = [
    (
        lambda losses, lr, patience: solution_3(losses, lr, patience - 1),
        "an epoch too early: *more* than `patience` epochs must have brought nothing",
    ),
    (never_anew, "after a halving the count starts again"),
    (against_last, "compare with the lowest loss so far, not with the epoch before"),
]
falls, zigzag = [3.0, 2, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6], [2.0, 3, 2.5, 2.8, 2.4, 2.7]
here.check(
    my_plateau, solution_3, wrong_answers, on=[(falls, 1.0, 2), (zigzag, 1.0, 2)]
)
if folder:  # torch asks for 0.01% less than the lowest: here that makes no difference
    np.testing.assert_allclose(solution_3(losses, 1.0, 2), plateau)

# %% [markdown]
# ## Questions
#
# **1.** `fer2013-small` names 66% of the photographs of `PublicTest` right and 38% of the drawn faces. Has it forgotten
# what a smile is?
#
# <details><summary>Answer</summary>
#
# "It cannot read drawings" is tempting. But 38% is half as much again as always saying "happy" would get, and with no
# new label at all, by renewed statistics alone, it won seven to eight points in our run. Much of what it knows is
# there, behind inner pictures whose brightness and contrast are not those it learned with.
#
# </details>

# %% [markdown]
# **2.** You freeze all but the head of a network of 473,735 weights. How many numbers learn, if the head takes 288 and
# gives 7? And what may move all the same?
#
# <details><summary>Answer</summary>
#
# 288 * 7 is 2,016; the seven biases are often forgotten: 2,023. "Nothing else moves" is the tempting second half. The
# running means and variances of every BatchNorm do, unless the frozen layers are put into evaluation mode, which
# `freeze_bn=True` does.
#
# </details>

# %% [markdown]
# **3.** Set `EACH` to 100 and run the lesson again. Which way does the gap between fine-tuned and scratch go?
#
# <details><summary>Answer</summary>
#
# "It grows, for both learn more" is tempting. Both do, but scratch has more to win: with 20 faces a class it was 46.8
# points behind in our run, with a hundred 21.5 (15 to 30 by seed), with all faces 6.6. (Disgust has fewer than a
# hundred training faces: all of them are then taken.)
#
# </details>

# %% [markdown]
# **4.** The rate finder suggested 0.015 for pretrained weights; the lesson fine-tunes with 0.003. Run
# `trained(start(seed), few_of(seed), seed, lr=0.015, **cycle)` for the three seeds and put each into `tested`. What
# does the larger rate bring?
#
# <details><summary>Answer</summary>
#
# "A larger rate only gets there sooner" is tempting. It cost 8.9 points in our run, 7.3 to 11.3 by seed: the first
# large steps destroy some of what was worth keeping. The finder says where training breaks and not what is best, so try
# a rate or two below what it suggests, with the weights you have.
#
# </details>

# %% [markdown]
# **5.** The lesson watches by 143 faces of `Training` and judges by 1,000 of `PublicTest`. Suppose that ten epochs are
# equally good, 63%, and their luck is independent. By how many points is the best of them too good on the 1,000, if
# these chose it? (The best of ten lies 1.54 standard errors above the mean.)
#
# <details><summary>Answer</summary>
#
# "By none, watching is not training" is tempting. But who keeps the best epoch lets the test choose. The standard
# error on 1,000 faces is sqrt(0.63 * 0.37 / 1000), 1.5 points; times 1.54 that is 2.4. The 143 are noisier, but others
# judge what they chose. (Epochs of one run resemble each other: ours gained 0.1 points, with plateau 0.3.)
#
# </details>

# %% [markdown]
# ## Further reading
#
# - J. Yosinski, J. Clune, Y. Bengio and H. Lipson, *How transferable are features in deep neural networks?*, NeurIPS
#   2014.
# - Y. Li, N. Wang, J. Shi, J. Liu and X. Hou, *Revisiting batch normalization for practical domain adaptation*, arXiv
#   1603.04779, 2016.
# - K. He, R. Girshick and P. Dollár, *Rethinking ImageNet pre-training*, ICCV 2019.
# - L. N. Smith, *Cyclical learning rates for training neural networks*, WACV 2017 (the rate finder).
# - L. N. Smith and N. Topin, *Super-convergence: very fast training of neural networks using large learning rates*,
#   SPIE 2019 (one-cycle).
# - J. Howard and S. Ruder, *Universal language model fine-tuning for text classification*, ACL 2018 (rates by layer).
