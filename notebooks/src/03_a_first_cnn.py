# %% [markdown]
# # A first CNN
#
# You write a convolutional neural network (CNN), and you write the loop that trains it. Is it worth the work? First
# you build simple models, which it has to beat.
#
# {colab}
#
# This is a core lesson.
#
# **You will be able to** write an `nn.Module`, a training step, an epoch and a validation loop. You will build
# baselines, find a bug with 32 images, read loss curves, and train with `fit`.
#
# **You need** lessons 01 and 02. **Data:** drawn faces; FER2013 with `FERLIB_DATA`.
#
# **Time:** 40 minutes to read; about 1 to 2 minutes on a laptop CPU.

# %% [markdown]
# ## The faces
#
# These numbers set how long the lesson runs.

# %% tags=["parameters"]
TRAIN, VAL = 2800, 1000  # faces
EPOCHS, BATCH = 8, 32
STEPS = 80  # on the same 32 faces
FEW, LONG = 640, 30  # few faces, many epochs

# %%
from ferlib import protocol
from ferlib.lesson import Lesson

here = Lesson("03")
faces = here.load(TRAIN)
train_set, public = faces.subset("Training"), faces.subset("PublicTest")
clean = protocol.audit(here.source).clean("PublicTest")  # no twin in Training
val_set = protocol.take(public.subset(clean), VAL)

# %% alt="Fourteen training faces with their emotions"
from ferlib import plots

emotions = [faces.classes[label] for label in train_set.labels[:14]]
figure = plots.face_grid(train_set.images[:14], emotions, columns=7, title="Faces")

# %% [markdown]
# ## Two baselines
#
# A *baseline* is a simple model. If a network is not better, you do not need the network.
#
# - *Majority* looks at no face. It always names the most frequent emotion of the training faces.
# - *Pixels* is logistic regression on the 2,304 pixels: each pixel has one weight for each emotion.
#
# How often will "pixels" be right on the validation faces?

# %%
my_guess = ...  # percent; put yours here

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ferlib import evaluation

x_train = train_set.images.reshape(len(train_set), -1) / 255  # (n, 2304)
x_val = val_set.images.reshape(len(val_set), -1) / 255
linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, tol=0.01))
scores = linear.fit(x_train, train_set.labels).decision_function(x_val)  # (n, 7)
answers = {"pixels": evaluation.Predictions(scores, val_set.labels, faces.classes)}
here.guess(my_guess, 100 * answers["pixels"].correct.mean())

# %%
same = np.tile(np.bincount(train_set.labels), (len(val_set), 1))  # for every face
answers["majority"] = evaluation.Predictions(same, val_set.labels, faces.classes)

# %% [markdown]
# What did "pixels" learn? Here are its weights, one picture for each emotion. A bright pixel there speaks for the
# emotion (white) or against it (black).

# %% alt="The weights of the linear model as seven pictures, one for each emotion"
weights = linear[-1].coef_.reshape(-1, 48, 48)
pixels = (127.5 + 127.5 * weights / np.abs(weights).max()).astype(np.uint8)
figure = plots.face_grid(pixels, faces.classes, columns=7, title="Weights of pixels")

# %% [markdown]
# Each weight belongs to one *place*. When a head turns, its mouth moves to another place, and the weights miss it.
#
# ## Edges instead of pixels
#
# The next baseline forgets exact places. A *histogram of oriented gradients* (HOG) cuts the face into cells of 8 by 8
# pixels. In each cell it counts the edges in nine directions. It also removes differences of brightness and contrast
# between parts of the face. That gives 900 numbers; a linear support vector machine separates the emotions. How many
# points better than "pixels" will it be?

# %%
my_guess = ...  # points; put yours here

import cv2
from sklearn.svm import LinearSVC

hog = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)
hog_train, hog_val = (
    np.stack([hog.compute(image).ravel() for image in part.images])
    for part in (train_set, val_set)
)
values = LinearSVC(C=0.1).fit(hog_train, train_set.labels).decision_function(hog_val)
answers["HOG"] = evaluation.Predictions(values, val_set.labels, faces.classes)
gain = answers["HOG"].correct.mean() - answers["pixels"].correct.mean()
here.guess(my_guess, 100 * gain, "points")

# %% [markdown]
# People invented HOG by hand. A CNN *learns* its features from the faces.
#
# ## Your network
#
# In PyTorch a network is a class. `__init__` creates the layers; `forward` says how the faces pass through them.
#
# - A *convolution* slides 3x3 filters over the picture. Each filter gives a *map*: where does its pattern occur?
# - *ReLU* sets negative numbers to 0.
# - *Max-pooling* keeps the largest of each 2x2 numbers. The maps become half as wide, and small shifts matter less.
# - A *linear layer* turns all numbers of the last maps into seven scores, the *logits*.
#
# (`norm` is for later: `nn.Identity` does nothing.)

# %%
import torch
from torch import nn


def block(n_in, n_out, norm):
    convolution = nn.Conv2d(n_in, n_out, kernel_size=3, padding=1)
    return nn.Sequential(convolution, norm(n_out), nn.ReLU(), nn.MaxPool2d(2))


class FirstCNN(nn.Module):
    def __init__(self, classes=7, norm=nn.Identity):
        super().__init__()
        channels = ((1, 16), (16, 32), (32, 64), (64, 96))
        self.body = nn.Sequential(*[block(a, b, norm) for a, b in channels])
        self.head = nn.Linear(96 * 3 * 3, classes)

    def forward(self, images):  # (n, 1, 48, 48)
        maps = self.body(images)  # (n, 96, 3, 3)
        return self.head(maps.flatten(1))  # (n, 7)


# %% [markdown]
# A network takes *batches* of normalised faces. `Normalize` and `ToTensorV2` prepare a face; a `DataLoader` makes the
# batches. Send one batch through before you train: wrong shapes show at once.

# %%
import albumentations as A
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader

fixed = A.Compose([A.Normalize((0.5,), (0.5,)), ToTensorV2()])  # -1 to 1
train_data, val_data = train_set.with_transform(fixed), val_set.with_transform(fixed)
train_batches = DataLoader(train_data, batch_size=BATCH, shuffle=True)
val_batches = DataLoader(val_data, batch_size=200)

torch.manual_seed(0)
batch = next(iter(train_batches))  # faces and their labels
print("faces:", batch[0].shape, "  logits:", FirstCNN()(batch[0]).shape)

# %% [markdown]
# ## One training step
#
# All training repeats one step: predict, measure the error, change each parameter a little. The error is the *loss*.
# *Cross-entropy* is minus the logarithm of the probability that the network gives to the right emotion. If it gives
# one seventh to each emotion, the loss is ln 7 = 1.946.

# %%
import torch.nn.functional as F

device = "cuda" if torch.cuda.is_available() else "cpu"


def train_step(model, optimizer, images, labels):
    images, labels = images.to(device), labels.to(device)
    logits = model(images)  # forward
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()  # forget the gradients of the last step
    loss.backward()  # the gradient of the loss for each parameter
    optimizer.step()  # move each parameter against its gradient
    return loss.item(), (logits.argmax(1) == labels).sum().item()


# %% [markdown]
# ## The test with 32 faces
#
# Before you train for long, take 32 faces and repeat the step on them. The network has 85,000 parameters and must
# learn these faces by heart. If it cannot, the code is wrong, and more faces will not help.
#
# Here is a usual mistake. The outputs should be probabilities, so somebody adds a softmax at the end. No error
# appears. How many of the 32 faces are right after 80 steps?

# %%
my_guess = ...  # faces; put yours here

import pandas as pd


class SoftmaxCNN(FirstCNN):
    def forward(self, images):
        return super().forward(images).softmax(1)  # the mistake


def learn_by_heart(kind):
    torch.manual_seed(0)
    model = kind().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    steps = [train_step(model, optimizer, *batch) for _ in range(STEPS)]
    return pd.DataFrame(steps, columns=["loss", "right"])


correct, mistake = learn_by_heart(FirstCNN), learn_by_heart(SoftmaxCNN)
here.guess(my_guess, mistake["right"].iloc[-1], "faces")

# %% alt="Loss over the steps on 32 faces, with logits and with a softmax too many"
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
ax.plot(correct["loss"], label="logits")
ax.plot(mistake["loss"], "--", label="softmax at the end")
ax.axhline(1.165, color="gray", linewidth=0.8, label="1.165")
ax.set(title="The same 32 faces", xlabel="step", ylabel="loss", ylim=(0, None))
_ = ax.legend(loc=(0.66, 0.22))

# %% [markdown]
# `F.cross_entropy` applies the softmax itself. With the mistake it is applied twice, to numbers from 0 to 1. Even a
# perfect answer, 1 and six times 0, then costs -ln(e / (e + 6)) = 1.165. Worse: where the first softmax is sure and
# wrong, its gradient is almost 0, and the face stays wrong. On all faces this looks like a network that learns slowly.
# The test with 32 faces finds it in seconds.
#
# ## One epoch, and validation
#
# An *epoch* shows each training face once. Validation is the same loop without a step. Three lines differ: compare.


# %%
def train_one_epoch(model, optimizer, batches):
    model.train()
    loss_sum, right = 0, 0
    for images, labels in batches:
        loss, hits = train_step(model, optimizer, images, labels)
        loss_sum += loss * len(labels)
        right += hits
    return loss_sum / len(batches.dataset), right / len(batches.dataset)


@torch.no_grad()
def validate(model, batches):
    model.eval()
    loss_sum, right = 0, 0
    for images, labels in batches:
        logits, labels = model(images.to(device)), labels.to(device)
        loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
    return loss_sum / len(batches.dataset), right / len(batches.dataset)


# %% [markdown]
# - `no_grad` stores nothing for gradients.
# - `train()` and `eval()` switch layers that behave differently in training, such as dropout. `FirstCNN` has no such
#   layer. Write them always: your next network will have one.
# - The last batch is smaller. So we add up over faces and divide by their number; a mean of batch means would be wrong.
#
# Now the whole training. Eight epochs: how many validation faces will be right?

# %%
my_guess = ...  # percent; put yours here

torch.manual_seed(0)
network = FirstCNN().to(device)
adam = torch.optim.Adam(network.parameters(), lr=0.001)
rows = []
for epoch in range(1, EPOCHS + 1):
    trained = train_one_epoch(network, adam, train_batches)
    rows.append((epoch, *trained, *validate(network, val_batches)))
names = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
history = pd.DataFrame(rows, columns=names)
answers["first CNN"] = evaluation.predict(network, val_data)
here.guess(my_guess, 100 * history["val_accuracy"].iloc[-1])

# %% alt="Loss and accuracy of the hand-written loop on training and validation faces over the epochs"
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
plots.plot_history(history, metric="loss", ax=axes[0])
_ = plots.plot_history(history, ax=axes[1])

# %% [markdown]
# Does the training loss fall? Then the network learns. Does the validation curve follow? Then what it learns holds for
# new faces. In the first epochs nothing seems to happen: the network names only the most frequent emotion, 25%.
#
# ## The same with `fit`
#
# From now on `training.fit` runs the loops. It takes your class as it is, and adds what most recipes use: the learning
# rate rises, then falls towards 0. *Weight decay* and *label smoothing* (a target of 0.91 instead of 1) hold the
# network back from extremes.

# %% [markdown]
# We change the network, too, by one word. *BatchNorm* after each convolution brings the numbers of a map to mean 0 and
# standard deviation 1 over a batch. That allows a higher learning rate. How many points will `fit` with BatchNorm gain?

# %%
my_guess = ...  # points; put yours here

from ferlib import training
from ferlib.training import TrainConfig

torch.manual_seed(0)
normed = FirstCNN(norm=nn.BatchNorm2d)
config = TrainConfig(epochs=EPOCHS, batch_size=BATCH, lr=0.003)
result = training.fit(normed, train_data, val_data, config, progress=False)
answers["with BatchNorm"] = evaluation.predict(normed, val_data)
gained = answers["with BatchNorm"].correct.mean() - answers["first CNN"].correct.mean()
here.guess(my_guess, 100 * gained, "points")

# %% alt="Loss, accuracy and learning rate of fit over the epochs"
figure = plots.history_grid(result.history)

# %% [markdown]
# The right plot shows the rate at the first step of each epoch. It first rises. After that it falls at each step, and
# at the last step of the run it is almost 0.
#
# ## Few faces, many epochs
#
# Now `FirstCNN` gets only 640 faces, for 30 epochs. The training loss will fall as it did with 32. In which epoch will
# the *validation* loss be lowest?

# %%
my_guess = ...  # epoch; put yours here

few_data = protocol.take(train_data, FEW)
long = TrainConfig(
    epochs=LONG, batch_size=16, lr=0.001, schedule="constant", label_smoothing=0
)
torch.manual_seed(0)
overfitted = training.fit(FirstCNN(), few_data, val_data, long, progress=False).history
here.guess(my_guess, overfitted["val_loss"].idxmin() + 1, "(epoch)")

# %% alt="Loss, accuracy and learning rate on few training faces: the validation loss turns and rises"
figure = plots.history_grid(overfitted)

# %% [markdown]
# This is *overfitting*: the network learns its training faces by heart, and the validation loss rises, on the drawn
# faces from 1.7 to 3.0. Now look at the accuracy: it rises as well. The loss punishes answers that are wrong and
# *sure*, and these get more.
#
# *Early stopping* ends a run when validation gets no better for some epochs, the *patience*:
# `TrainConfig(patience=5, keep="best")`. But the best of many epochs is partly luck on these validation faces, so
# its figure is too high. We keep the last epoch.

# %% [markdown]
# ## The ladder
#
# All models on the same validation faces. Which step is the largest?

# %% alt="Accuracy of majority, pixels, HOG and your two networks, each with its 95% interval"
summaries = {name: evaluation.summarise(given) for name, given in answers.items()}
ladder = pd.DataFrame({name: rows.loc["accuracy"] for name, rows in summaries.items()})
ax = plots.plot_intervals(ladder.T.sort_values("value"))
_ = ax.set(title=f"{len(val_set):,} faces", xlabel="accuracy (%)", ylabel="model")

# %% [markdown]
# Was it worth the work? On the drawn faces the first CNN is hardly better than HOG: 67% and 64%. With BatchNorm and
# `fit` it is 77%, 12 points above HOG.
#
# The lines are 95% intervals: with other validation faces a figure would move about that much. They say nothing about
# other seeds.
#
# ## The confusion matrix
#
# Which emotions does your network name, and which does it miss?

# %% alt="Confusion matrix of your network with BatchNorm on the validation faces"
_ = plots.plot_confusion(answers["with BatchNorm"])

# %% [markdown]
# Read one row: what happens to the faces of that emotion? Then one column: when the network says the word, is it
# right? On the drawn faces, 7 of the 14 disgusted faces are named angry, and 3 are found.

# %% [markdown]
# ## Keep your network
#
# A file needs the parameters, the size, mean and standard deviation of a face, and the classes. A `FaceModel` holds
# them. To load it, give your network again: `models.load_model(path, network=FirstCNN(norm=nn.BatchNorm2d))`.

# %%
from ferlib import models
from ferlib.transforms import InputSpec

mine = models.FaceModel(normed, InputSpec(mean=0.5, std=0.5), faces.classes)
models.save_model(mine, here.folder / "mine")

# %% [markdown] tags=["advanced"]
# ## Advanced: a stronger network
#
# `ferlib` has a network of the same kind, FerNet: convolutions, BatchNorm, pooling. Later lessons use a small one.
#
# `build_model` gives a `FaceModel`: a network that knows its mean, its standard deviation and its classes. Its faces
# need no transform.

# %% tags=["advanced"]
torch.manual_seed(0)
fernet = models.build_model(
    "fernet", classes=faces.classes, drop_rate=0.0,
    widths=(16, 32, 64, 96), depths=(0, 0, 0),
)  # fmt: skip
config_fernet = TrainConfig(
    epochs=EPOCHS, batch_size=BATCH, lr=0.003, optimizer="adam",
    weight_decay=0, clip_norm=None, label_smoothing=0,
)  # fmt: skip
training.fit(fernet, train_set, val_set, config_fernet, progress=False)
found_fernet = evaluation.predict(fernet, val_set)
print(f"{found_fernet.correct.mean():.1%} of the validation faces are right")
_ = here.keep(fernet)  # for later lessons

# %% [markdown] tags=["advanced"]
# These twelve faces come back in later lessons. They were chosen: seven that such networks mostly name right, five that
# they mostly do not. Which five, would you say?

# %% tags=["advanced"] alt="Twelve test faces with their emotion and FerNet's answer, wrong answers in red"
twelve = public.subset(here.twelve(public))
said = evaluation.predict(fernet, twelve).predicted
texts = [
    f"{faces.classes[true]}\nsaid {faces.classes[answer]}"
    for true, answer in zip(twelve.labels, said, strict=True)
]
inks = np.where(said == twelve.labels, "black", "crimson").tolist()
title_12 = "Twelve faces and FerNet's answers (red: wrong)"
figure = plots.face_grid(twelve.images, texts, columns=6, title=title_12, colors=inks)

# %% [markdown]
# ## What you have learned
#
# - Baselines first: majority, pixels, HOG. A network must beat them.
# - A network is an `nn.Module`; a step is forward, loss, `zero_grad`, `backward`, `step`.
# - Give logits to `F.cross_entropy`, never probabilities.
# - Overfit 32 faces before you train for long.
# - A validation loss that rises while the training loss falls means overfitting.

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** Write the cross-entropy yourself, without `torch.nn`. Given logits (n, 7) and labels (n,), return the
# mean over the faces of minus the logarithm of the right class's probability.


# %% tags=["exercise"]
def my_loss(logits, labels):
    return ...


# %% tags=["solution"]
def solution_1(logits, labels):
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -probabilities[torch.arange(len(labels)), labels].log().mean()


def summed(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum")


def without_softmax(logits, labels):
    return -logits[torch.arange(len(labels)), labels].mean()


def softmax_twice(logits, labels):
    return F.cross_entropy(logits.softmax(1), labels)


wrong_1 = [
    (summed, "this is the sum over the faces; divide by their number"),
    (without_softmax, "logits are no probabilities: exp, then divide by the sum"),
    (softmax_twice, "this applies the softmax twice, the mistake of this lesson"),
]
examples_1 = [
    (torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]]), torch.tensor([0, 1])),
    (torch.tensor([[1.0, 1.0, 4.0]]), torch.tensor([2])),
]

# %%
here.check(my_loss, solution_1, wrong_1, on=examples_1, tolerance=1e-4)

# %% [markdown]
# **Exercise 2.** Early stopping. Given the validation losses of epochs 1, 2, ... and a patience, return the epoch
# after which training stops. It stops when `patience` epochs in a row brought no new lowest loss. If that never
# happens, return the last epoch.


# %% tags=["exercise"]
def my_stop(losses, patience):
    return ...


# %% tags=["solution"]
def solution_2(losses, patience):
    best = 0
    for k, loss in enumerate(losses):
        best = k if loss < losses[best] else best
        if k - best == patience:
            return k + 1
    return len(losses)


def best_epoch(losses, patience):
    return int(np.argmin(losses)) + 1


def counted_from_0(losses, patience):
    return solution_2(losses, patience) - 1


def first_rise(losses, patience):
    rises = [k + 1 for k in range(1, len(losses)) if losses[k] > losses[k - 1]]
    return rises[0] if rises else len(losses)


wrong_2 = [
    (best_epoch, "that is the best epoch, known only `patience` epochs later"),
    (counted_from_0, "epochs count from 1, positions in a list from 0"),
    (first_rise, "this stops at the first rise and has no patience"),
]
examples_2 = [
    ([1.9, 1.7, 1.8, 1.6, 1.65, 1.7, 1.9, 1.5], 3),
    ([3.0, 2.0, 1.0], 2),
    ([1.9, 1.0, 1.5, 1.4, 1.3, 1.2], 3),
]

# %%
here.check(my_stop, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** How many parameters has the head of `FirstCNN`?

# %% tags=["exercise"]
my_count = ...

# %% tags=["solution"]
solution_3 = 96 * 3 * 3 * 7 + 7
wrong_3 = [
    (96 * 3 * 3 * 7, "each of the seven outputs has a bias, too"),
    (96 * 7 + 7, "the head sees every place of a map: 3 by 3 numbers for each map"),
    (96 * 48 * 48 * 7 + 7, "four poolings made the maps 3 by 3"),
]

# %%
here.check(my_count, solution_3, wrong_3)

# %% [markdown]
# ## Questions
#
# **1.** After the first step on 32 faces the loss is 0.4, not about 1.95. What do you suspect?
#
# <details><summary>Answer</summary>
#
# A leak. A network that has not learned cannot know anything, and equal probabilities cost ln 7 = 1.946. A loss of 0.4
# means 67% (e to the -0.4) on the right class. Perhaps the label is part of the input, or you loaded a trained model.
#
# </details>

# %% [markdown]
# **2.** You forget `optimizer.zero_grad()`. Try it with `learn_by_heart`. All gradients are of the same 32 faces, so
# may they not add up?
#
# <details><summary>Answer</summary>
#
# They add up, and never forget. When the goal is reached, the sum still points where it pointed at the start, and the
# parameters run past. The test with 32 faces finds this mistake, too.
#
# </details>

# %% [markdown]
# **3.** Twelve epochs are equally good: each has a true accuracy of 78%. You keep the best one on 2,000 validation
# faces and report its accuracy. What do you report, on average?
#
# <details><summary>Answer</summary>
#
# About 79.5%, if the epochs err independently. One figure has a standard error of 0.9 points, and the largest of
# twelve lies about 1.6 of these above the truth. Real epochs resemble each other, so the gain is smaller.
#
# </details>

# %% [markdown]
# **4.** HOG has 900 numbers for each face, "pixels" has 2,304. Is HOG better *because* it has fewer? Try "pixels" with
# every second row and column, `images[:, ::2, ::2]`.
#
# <details><summary>Answer</summary>
#
# No. That leaves 576 numbers, and on the drawn faces the accuracy falls. HOG tolerates
# small shifts: an edge that moves by a pixel stays in its cell. And it does not depend on the light.
#
# </details>

# %% [markdown]
# **5.** In the hand-written run the validation accuracy lies *above* the training accuracy. How can that be?
#
# <details><summary>Answer</summary>
#
# Training accuracy is measured *while* the network changes: the first faces meet a network that has not seen the rest.
# To compare fairly, call `validate` on the training faces.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - N. Dalal and B. Triggs, *Histograms of oriented gradients for human detection*, CVPR 2005.
# - Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-based learning applied to document recognition*,
#   Proceedings of the IEEE 86(11), 1998.
# - S. Ioffe and C. Szegedy, *Batch normalization*, ICML 2015.
# - L. Prechelt, *Early stopping, but when?*, in Neural Networks: Tricks of the Trade, Springer 1998.
# - A. Karpathy, *A recipe for training neural networks*, blog, 2019 (the test with few faces).
