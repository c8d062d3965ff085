# %% [markdown]
# # Scale up
#
# *Advanced.* What changes with 28,709 photographs, a GPU, 16 bits or two processes? And which pieces of a large
# recipe really help?
#
# {colab}
#
# **You will be able to** choose the settings for a GPU on Colab, and predict the minutes of a run. You will time mixed
# precision, see what 16 bits round away, check several processes, and read an ablation with its noise.
#
# **You need** lessons 03 to 05, and 08 for the ablation. **Data:** the drawn sample; FER2013 with `FERLIB_DATA`.
#
# **Time:** 40 minutes to read; about 1 minute on a laptop CPU. **Not run on a GPU here**: each time in the text is of a
# CPU.

# %% [markdown]
# ## What the shipped model cost
#
# The weights `fer2013` come from the run `long-2`: a network of 2.0 million parameters, 64 epochs of FER2013's 28,709
# training faces, on two CPU cores. How many hours did it take?

# %% tags=["parameters"]
STEPS, EPOCHS, TEST = 3, 2, 500  # timed steps; epochs of the small run; test faces
SIZES, BATCH = [2, 8, 32, 128], 32  # faces; on a GPU add 512 to SIZES, with BATCH 512

# %% alt="Validation accuracy of the run long-2 over the hours of its training, rising to about 68 percent"
my_guess = ...  # hours; put yours here

import pandas as pd

from ferlib.lesson import Lesson

here = Lesson("11")
runs = here.evidence("long-2").parent
history = pd.read_csv(runs / "long-2" / "history.csv")
hours = history["seconds"].cumsum() / 3600
here.guess(my_guess, hours.iloc[-1], "hours")
ax = (100 * history["val_accuracy"]).set_axis(hours).plot(title="The run long-2")
_ = ax.set(xlabel="hours on two CPU cores", ylabel="validation accuracy (%)")

# %% [markdown]
# The first 24 epochs saw faces of 36 pixels, which is cheaper. The step in the curve is the change to 48. The curve
# counts all of `PublicTest`. Without the 280 faces that `Training` also has, it ends at 66.4%. With 18 views (moved
# or mirrored copies, averaged) it is 68.5%.
#
# Two more runs of the same work took 1.8 hours each, because they shared the cores. So compare only times
# measured together.

# %% [markdown]
# ## On Colab
#
# First choose **Runtime > Change runtime type > GPU**. Then set:
#
# | | CPU | GPU |
# |---|---|---|
# | data | the drawn sample | `prepare(data="fer2013", keep="/content/drive/MyDrive/fer")` |
# | `batch_size` | 64 | 256 or 512, where the speed stops rising |
# | `lr` | as in the recipe | larger if the batch is, with `warmup` |
# | `precision` | `"auto"` | `"auto"`: bf16, on older GPUs fp16 |
# | `workers` (Albumentations) | 0 to 2 | 2, as many as Colab has cores |

# %% [markdown]
# The code stays the same, for `fit` finds a GPU by itself. A Colab session may end at any time. So `keep` writes what
# you train to your Drive, and in a terminal `--resume` continues a run:
#
#     ferlib train --data fer2013 --recipe gpu --out /content/drive/MyDrive/fer/gpu --resume
#
# The GPU column holds common starting points, not tested here.

# %%
import torch

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if device.type == "cuda":
    print(torch.cuda.get_device_name())
else:
    print("no GPU: all that follows runs on", torch.get_num_threads(), "CPU threads")

# %% [markdown]
# ## A step in mixed precision
#
# GPUs and some CPUs multiply 16-bit numbers much faster than 32-bit ones. In *mixed precision*, only the
# convolutions and matrix products use 16 bits, by `torch.autocast`. Weights, updates and the loss keep 32. There are
# two kinds of 16 bits, `float16` (fp16) and `bfloat16` (bf16). `GradScaler`, only for `float16`: explained later.

# %%
import torch.nn.functional as F

scaler = torch.amp.GradScaler(device.type, enabled=False)  # True for float16


def train_step(model, optimizer, images, labels, dtype):
    """One step of training in mixed precision; float32 turns it off."""
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = model(images)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.item()


# %% [markdown]
# ## How fast is it?
#
# Python does not wait for a GPU. So a simple clock stops too early. Here `loss.item()` waits for the GPU.

# %%
import timeit

from ferlib import models


def speed(model, batch_size, dtype, size=48):
    """Measure how many random faces a second a network trains on."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters())
    images = torch.rand(batch_size, 1, size, size, device=device)
    labels = torch.randint(7, (batch_size,), device=device)
    names = {"step": train_step, "inputs": (model, optimizer, images, labels, dtype)}
    once = "step(*inputs)"  # to warm up, then STEPS times
    seconds = timeit.timeit(stmt=once, setup=once, number=STEPS, globals=names)
    return STEPS * batch_size / seconds


# %% [markdown]
# By what factor is a batch of 128 faster, per face, than one of 2?

# %% alt="Training speed in faces a second over the batch size, in 32 and in 16 bits"
my_guess = ...  # times; put yours here

network = models.build_model("fernet")  # the network of long-2
speeds = pd.DataFrame(index=SIZES, columns=["float32", "bfloat16"], dtype=float)
for bits in speeds:
    for batch in SIZES:
        speeds.loc[batch, bits] = speed(network, batch, getattr(torch, bits))
gain = speeds["float32"].iloc[-1] / speeds["float32"].iloc[0]
here.guess(my_guess, gain, "times")
ax = speeds.plot(style=["o-", "s--"], logx=True, ylim=0, title=f"Training on {device}")
ax.set_xticks(SIZES, SIZES)
_ = ax.set(xlabel="batch size (faces)", ylabel="faces a second")

# %% [markdown]
# Where the line is flat or falls, a larger batch gains nothing: the device is busy. (Three timed steps are few, so the
# points are noisy.) A GPU has thousands of small cores, so its line should rise longer. Run this cell there, and
# take the batch size where the line flattens.
#
# Are 16 bits faster? With a CPU made for `bfloat16` we measured 1.9 times for a ResNet-18. On others they can be
# slower. `precision="auto"` chooses.

# %% [markdown]
# ## Minutes expected
#
# Minutes = epochs x faces / (faces a second) / 60. For three recipes on all of FER2013:

# %%
from ferlib import recipes
from ferlib.training import choose_precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
plan = {}
for recipe_name in ("fine_tune", "long", "gpu"):
    recipe = recipes.get_recipe(recipe_name)
    model, _, _ = recipe.build()  # and its augmentation, not timed here
    # on a CPU, bf16 slows convolutions with one filter a channel, as in fine_tune
    kind = choose_precision(model, device)
    batch_size, side = min(BATCH, recipe.config.batch_size), model.input_spec.size
    rate = speed(model, batch_size, DTYPES[kind], side)
    minutes = recipe.config.epochs * 28709 / rate / 60
    plan[recipe_name] = [recipe.config.epochs, kind, round(rate), round(minutes)]
pd.DataFrame(plan, index=["epochs", "precision", "faces a second", "minutes"]).T

# %% [markdown]
# These are minutes of *your* device, with batches of at most 32, without augmentation and validation. The real run of
# `long` was on another machine, and its 24 epochs at 36 pixels were cheaper.
#
# Is the result longer than your Colab session? Take fewer epochs. Is your training on a GPU much slower than this? Then
# use `BatchAugment`, or more `workers`: the loader is too slow. Nobody has run the recipe `gpu` to its end.

# %% [markdown]
# ## What is lost in 16 bits
#
# Why not keep the weights in 16 bits, too? Take a weight of 1 that the optimizer moves up by 0.003, a thousand times.
# The exact end is 4. Where does it end in `bfloat16`?

# %% alt="A weight over a thousand steps in three number formats: one reaches 4, one goes beyond it, one never moves"
my_guess = ...  # put yours here

paths = {}
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    weight, path = torch.ones((), dtype=dtype), []
    for _ in range(1000):
        weight = weight + torch.tensor(0.003, dtype=dtype)
        path.append(weight.item())
    paths[str(dtype)] = path
    print(
        f"{dtype}: after 1 comes {1 + torch.finfo(dtype).eps}, the end is {weight:.4f}"
    )
here.guess(my_guess, paths["torch.bfloat16"][-1], "in bfloat16")
ax = pd.DataFrame(paths).plot(style=["-", "--", ":"], title="1 + 0.003 + 0.003 + ...")
_ = ax.set(xlabel="step", ylabel="weight")

# %% [markdown]
# In `bfloat16` it never moves. The next number after 1 is 1.0078, so 1.003 is rounded back each time. `float16` is
# wrong as well. Above 2 its numbers are 0.002 apart, and each step of 0.003 is rounded up to 0.004. This is why weights
# and updates keep 32 bits.
#
# With `float16` there is a second trouble: numbers below 0.00000003 become zero, and numbers above 65,504 become
# infinite. Many gradients are small. So `GradScaler` multiplies the loss by 65,536 before `backward`, and divides the
# gradients before the step. No scaler is needed for `bfloat16`: its range is as wide as that of 32 bits.

# %% [markdown]
# How many of the test faces get another answer in `bfloat16`?

# %%
my_guess = ...  # faces; put yours here

from ferlib import evaluation, protocol

shipped = models.load_model("drawn" if here.drawn else "fer2013")
faces = here.load()
clean_rows = protocol.audit(here.source).clean("PublicTest")  # no twin in Training
test_set = protocol.take(faces.subset("PublicTest").subset(clean_rows), TEST)
full = evaluation.predict(shipped, test_set)
with torch.autocast("cpu", torch.bfloat16):
    half = evaluation.predict(shipped, test_set)
renamed = full.predicted != half.predicted
here.guess(my_guess, renamed.sum(), f"of {len(test_set)} faces")
print(f"right: {full.correct.mean():.1%} in 32 bits, {half.correct.mean():.1%} in 16")

# %% [markdown]
# A few faces get another answer; the accuracy is about the same.
#
# ## Several processes
#
# With two GPUs, two processes train one network. Each takes half of each batch. They average their gradients and take
# the same step. So the result should be that of one process. Two CPU processes can show it.

# %%
SCRIPT = """
# A script of its own: each process runs all of it.
import sys
import torch
from accelerate import PartialState
from ferlib import data, models, protocol, training

source, out, epochs = sys.argv[1:]
faces = data.load(source)
train_set = protocol.take(faces.subset("Training"), 256)
val_set = faces.subset("PublicTest").subset(range(99))
torch.manual_seed(0)
model = models.build_model("resnet18", channels=(16, 16, 32, 64), layers=(1, 1, 1, 1),
                           norm_layer="groupnorm1", small_stem=False)
# no random augmentation and 32 bits: nothing but the processes can differ
config = training.TrainConfig(epochs=int(epochs), batch_size=32, optimizer="sgd",
                              lr=0.02, precision="fp32")
result = training.fit(model, train_set, val_set, config, progress=False)
state = PartialState()  # knows how many processes there are; one of them writes
if state.is_main_process:
    result.history.assign(processes=state.num_processes).to_csv(out, index=False)
"""

# %% [markdown]
# Accelerate, a library by Hugging Face, starts such a script with `accelerate launch`. The obvious options are
# `--cpu --num_processes 2`. How many processes take part?

# %%
my_guess = ...  # processes; put yours here

import os
import subprocess
import sys

here.folder.mkdir(parents=True, exist_ok=True)
script, out = here.folder / "two.py", here.folder / "two.csv"
_ = script.write_text(SCRIPT)
# for the launched processes alone: use the CPU, and hide a GPU
ON_CPU = os.environ | {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}


def launch(options):
    """Run the script by `accelerate launch`, and return its history."""
    # `python -m accelerate.commands.launch` is `accelerate launch`
    command = [sys.executable, "-m", "accelerate.commands.launch", *options.split()]
    command += [script, here.source, out, str(EPOCHS)]
    subprocess.run(command, check=True, env=ON_CPU, capture_output=True)
    return pd.read_csv(out)


asked = launch("--cpu --num_processes 2")
here.guess(my_guess, asked["processes"].iloc[0], "process(es)")

# %% [markdown]
# It was one: with `--cpu`, Accelerate 1.15 counts this number only under MPI (another way to start processes). So let
# your script print how many it is. `--multi_gpu` starts two, and `ACCELERATE_USE_CPU` puts them on the CPU. In which
# digit will the losses differ?

# %%
pair = launch("--multi_gpu --num_processes 2 --main_process_port 0")
print("processes:", pair["processes"].iloc[0])
losses = ["train_loss", "val_loss"]
apart = ((asked[losses] - pair[losses]).abs() / asked[losses]).to_numpy().max()
print(f"largest difference of a loss: {apart:.1e} of it")
pd.concat({"one": asked[losses], "two": pair[losses]}, axis=1)

# %% [markdown]
# Both give the same losses, up to rounding. `ferlib.training` does three things for this. A batch of 32 stays 32 over
# *all* processes. The order of faces is the same in all. And each validation face counts once, though 99 is odd.
#
# Our network has *group normalisation*: it takes its mean within one face. BatchNorm takes its mean over the faces of
# one process, so two processes give other numbers. So does random augmentation.

# %% [markdown]
# ## Which pieces help?
#
# An *ablation* takes one piece out of a recipe, or changes it, and trains again. Here the base is `third`: a small
# network, 40 epochs on a third of FER2013. Nine changes of it were run, with one seed each. We compare their answers on
# the 3,309 clean `PublicTest` photographs, 18 views each. Which change costs most?
#
# The advanced parts below explain mixup, label smoothing and averaged weights. "FER+ votes" trains on the FER+ labels.

# %%
import numpy as np

clean = pd.read_csv(runs / "publictest.csv")["clean"].to_numpy(bool)


def right(run):
    """Which of the clean photographs a run names right."""
    return here.photographs(run).correct[clean].astype(float)


# how much a seed moves the accuracy
seeds_sd = np.std([right(f"long-{seed}").mean() for seed in range(3)], ddof=1)
base, gaps = right("third-0"), {}
# not those that begin with b, c or m: runs of a later search
for folder in sorted(runs.glob("third_[!bcm]*-0")):
    gap = right(folder.name) - base  # for each face: -1, 0 or 1
    # half the width of a 95% interval: over faces; over faces and two seeds
    by_faces = 1.96 * gap.std() / len(gap) ** 0.5
    by_both = (by_faces**2 + 2 * (1.96 * seeds_sd) ** 2) ** 0.5
    # "third_no-mixup-0" is the change "no mixup"
    change = folder.name.removeprefix("third_").removesuffix("-0").replace("-", " ")
    gaps[change] = {"gap": gap.mean(), "faces": by_faces, "both": by_both}
ablation = 100 * pd.DataFrame(gaps).T.sort_values("gap")
ablation.round(1)

# %% alt="For nine changes of a FER2013 recipe the gap in accuracy with two 95% intervals; most of them include zero"
from ferlib import plots

ax = ablation["gap"].plot(style="o", color=plots.DARK, figsize=(8, 4.2))
for column, width in (("both", 1), ("faces", 4)):
    ax.errorbar(range(len(ablation)), ablation["gap"], ablation[column], fmt="none",
                ecolor=plots.DARK, elinewidth=width)  # fmt: skip
ax.axhline(0, color="black", linewidth=0.8)
ax.set_xticks(range(len(ablation)), ablation.index, rotation=30, ha="right")
title = "95% intervals: other test faces (thick); other faces and seeds (thin)"
_ = ax.set(title=title, xlabel="change", ylabel="gap (points)")

# %% [markdown]
# A row "no ..." takes something out. **None of these five rows shows its piece to help.** All five even look a little
# better. But all are compared with one base run. If its seed was unlucky, all five look better.
#
# The thick line shows how much the gap may change with other test faces. The thin line adds other seeds: the three
# seeds of `long` have a standard deviation of 0.4 points. (They are few, and of a larger network: a rough figure.)

# %% [markdown]
# Two thin lines stay clear of zero. "Flips alone" leaves out moving, turning and lighting the faces, and costs 3.5
# points. "FER+ votes" trained on FER+ labels but is tested on FER2013's, so its loss of 5 points does not show a worse
# model. The others say "cannot tell".

# %% [markdown]
# ## What you have learned
#
# - Measure the faces a second and compute the minutes before you run.
# - On a GPU: larger batches, `precision="auto"`, and a folder that outlives the session.
# - 16 bits for products, 32 for weights and updates. `float16` needs a scaler.
# - Let a script print its number of processes, and compare its losses with those of one.
# - An ablation with one seed and one base can rarely tell.

# %% [markdown] tags=["advanced"]
# ## Advanced: a large batch in small parts
#
# "CUDA out of memory" means: take a smaller batch. *Gradient accumulation* keeps the large one. It sends the batch
# through in parts, adds up the gradients, and steps once.


# %% tags=["advanced"]
def gradient(model, images, labels, parts=1, divide=True):
    """Gradient of the mean loss over a batch that goes through in equal parts."""
    model.zero_grad()
    for some, names in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        loss = F.cross_entropy(model(some), names)
        (loss / parts if divide else loss).backward()
    return torch.cat([value.grad.flatten() for value in model.parameters()])


SMALL = {"channels": (8, 16, 32, 64), "layers": (1, 1, 1, 1), "small_stem": False}
tiny = models.build_model("resnet18", norm_layer="groupnorm1", **SMALL)
inputs = torch.tensor(faces.images[:64, None] / 255, dtype=torch.float32)
targets = torch.tensor(faces.labels[:64])
whole = gradient(tiny, inputs, targets)
for divided in (True, False):
    other = gradient(tiny, inputs, targets, parts=4, divide=divided)
    share = ((whole - other).norm() / whole.norm()).item()
    print(f"in 4 parts, divided {divided}: {share:.1e} of the gradient's length away")

# %% [markdown] tags=["advanced"]
# Each part's loss is a mean already. Without the division, the gradient is four times as long: three lengths away from
# the right one. With BatchNorm the parts would never agree with the whole, for 16 faces have another mean than 64.
#
# ## Advanced: label smoothing and mixup
#
# `long` trains with both. *Label smoothing* asks for 90% of the label, and spreads 10% evenly over all seven emotions.
# *Mixup* blends two faces, and asks for both emotions in the same proportion. Its `alpha` says how much is blended:
# `long` takes 0.2, and here it is 1, so that one sees it. Both by hand:


# %% tags=["advanced"]
def smooth(labels, share=0.1):
    """What is asked of a network: (n, 7) probabilities."""
    return (1 - share) * F.one_hot(labels, 7).float() + share / 7


def mixup(images, labels, alpha=0.2):
    """Blend each face, and its label, with the one at the other end of the batch."""
    share = np.random.default_rng(0).beta(alpha, alpha)
    asked = F.one_hot(labels, 7).float()
    return [share * both + (1 - share) * both.flip(0) for both in (images, asked)]


scores = tiny(inputs)
by_hand = F.cross_entropy(scores, smooth(targets))
by_torch = F.cross_entropy(scores, targets, label_smoothing=0.1)
torch.testing.assert_close(by_hand, by_torch)
blended, asked_for = mixup(inputs, targets, alpha=1.0)
k = (targets != targets.flip(0)).nonzero()[0].item()  # two labels
print(f"smoothed loss {by_hand.item():.3f}; one blended face asks for")
print(asked_for[k].tolist())

# %% [markdown] tags=["advanced"]
# ## Advanced: averaged weights
#
# At a high learning rate each batch pulls the weights another way. An *exponential moving average* (EMA) of all the
# weights so far moves less. ferlib validates and keeps it (`ema=0.998`). By hand it is one line for each tensor:

# %% tags=["advanced"]
import copy

from timm.utils import ModelEmaV3


@torch.no_grad()
def average_in(average, model, decay):
    """Move an averaged model a little towards the model."""
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.mul_(decay).add_(new, alpha=1 - decay)


my_average, timm_average = copy.deepcopy(tiny), ModelEmaV3(tiny, decay=0.9)
optimizer = torch.optim.SGD(tiny.parameters(), lr=0.1)
for _ in range(5):
    optimizer.zero_grad()
    F.cross_entropy(tiny(inputs), targets).backward()
    optimizer.step()
    average_in(my_average, tiny, decay=0.9)
    timm_average.update(tiny)
torch.testing.assert_close(my_average.state_dict(), timm_average.module.state_dict())
print("after 5 steps the average by hand is timm's")

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** How many minutes does a run take? You have the epochs, the training faces, and the steps a second with
# batches of `batch_size` faces. A last, smaller batch is dropped.


# %% tags=["exercise"]
def my_minutes(epochs, faces, batch_size, steps_a_second):
    return ...


# %% tags=["solution"]
def solution_1(epochs, faces, batch_size, steps_a_second):
    return epochs * (faces // batch_size) / steps_a_second / 60


def in_seconds(epochs, faces, batch_size, steps_a_second):
    return 60 * solution_1(epochs, faces, batch_size, steps_a_second)


def faces_as_steps(epochs, faces, batch_size, steps_a_second):
    return epochs * faces / steps_a_second / 60


def with_the_last(epochs, faces, batch_size, steps_a_second):
    return epochs * -(-faces // batch_size) / steps_a_second / 60


wrong_1 = [
    (in_seconds, "these are seconds"),
    (faces_as_steps, "a step takes a whole batch of faces"),
    (with_the_last, "the last, smaller batch is dropped: round down"),
]
examples_1 = [(64, 28709, 128, 5.0), (10, 1000, 64, 2.0)]

# %%
here.check(my_minutes, solution_1, wrong_1, on=examples_1)

# %% [markdown]
# **Exercise 2.** Each of several processes sends `each` faces through at a time, and accumulates `parts` of these
# before a step. How many steps are in an epoch? What is left over at the end is dropped.


# %% tags=["exercise"]
def my_steps(faces, each, processes, parts):
    return ...


# %% tags=["solution"]
def solution_2(faces, each, processes, parts):
    return faces // (each * processes * parts)


def without_parts(faces, each, processes, parts):
    return faces // (each * processes)


def without_processes(faces, each, processes, parts):
    return faces // (each * parts)


def rounded_up(faces, each, processes, parts):
    return -(-faces // (each * processes * parts))


wrong_2 = [
    (without_parts, "that counts backward passes; a step follows `parts` of them"),
    (without_processes, "all processes step together, after a batch of all of theirs"),
    (rounded_up, "what is left over is dropped: round down"),
]
examples_2 = [(28709, 64, 2, 4), (28709, 32, 8, 2)]

# %%
here.check(my_steps, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** One change, one seed for each side. The gap's 95% interval over faces reaches `by_faces` points to
# each side. Seeds have a standard deviation of `sd` points. Return how far the interval reaches with both. (Variances
# add up, and both sides have a seed. 95% are 1.96 standard deviations.)


# %% tags=["exercise"]
def my_reach(by_faces, sd):
    return ...


# %% tags=["solution"]
def solution_3(by_faces, sd):
    return (by_faces**2 + 2 * (1.96 * sd) ** 2) ** 0.5


def one_seed(by_faces, sd):
    return (by_faces**2 + (1.96 * sd) ** 2) ** 0.5


def added(by_faces, sd):
    return by_faces + 1.96 * 2**0.5 * sd


def not_scaled(by_faces, sd):
    return (by_faces**2 + 2 * sd**2) ** 0.5


wrong_3 = [
    (one_seed, "the changed run and its base each have a seed"),
    (added, "square the two parts, add them, then take the root"),
    (not_scaled, "95% are 1.96 standard deviations"),
]
examples_3 = [(1.1, 0.4), (0.4, 1.0)]

# %%
here.check(my_reach, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** If a factor of 65,536 saves the small gradients in `float16`, why not take a billion?
#
# <details><summary>Answer</summary>
#
# `float16` ends at 65,504. With a billion, each gradient above 0.000066 becomes infinite, and `GradScaler` throws the
# step away. So the scaler halves its factor after a failure, and later doubles it.
#
# </details>

# %% [markdown]
# **2.** On a GPU, your network trains at the same faces a second with batches of 256 and 512. Which one do you take?
#
# <details><summary>Answer</summary>
#
# The smaller one. Where the line is flat, the larger batch gains no time. It costs steps: an epoch has half as many.
# Then learning rate and warm-up must change as well.
#
# </details>

# %% [markdown]
# **3.** At its end, `long-2` has 75.8% of its training faces right and 68.3% of the validation faces. Does it overfit
# by 7.5 points?
#
# <details><summary>Answer</summary>
#
# The two are not measured alike. The training faces are turned and mixed, so they are harder. And 280 validation faces
# are in `Training`, too; without them 66.4% are right. So the true gap is larger.
#
# </details>

# %% [markdown]
# **4.** You try twelve changes, each with one seed and a base run of its own. None of them does anything, and two runs
# differ by 0.5 points (standard deviation) through luck. Is the measured gain of the best of the twelve about zero?
#
# <details><summary>Answer</summary>
#
# No, 0.8 points: `np.random.default_rng(0).normal(0, 0.5, (10000, 12)).max(1).mean()`. The mean of all twelve is about
# zero, but the best is chosen for its luck. Train it again with new seeds before you believe it.
#
# </details>

# %% [markdown]
# **5.** If the batch of 32 were not divided, each of two processes would take 32 faces. Why is this not the same run,
# twice as fast?
#
# <details><summary>Answer</summary>
#
# A step now sees 64 faces, and an epoch has half the steps, at the same learning rate. That is the run with
# `batch_size=64` on one process.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - P. Micikevicius and others, *Mixed precision training*, ICLR 2018.
# - P. Goyal and others, *Accurate, large minibatch SGD: training ImageNet in 1 hour*, arXiv 1706.02677, 2017.
# - S. Li and others, *PyTorch distributed: experiences on accelerating data parallel training*, PVLDB 13(12), 2020.
# - C. Szegedy and others, *Rethinking the Inception architecture for computer vision*, CVPR 2016 (label smoothing).
# - H. Zhang and others, *mixup: beyond empirical risk minimization*, ICLR 2018.
