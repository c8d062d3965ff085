# %% [markdown]
# # A first CNN
#
# You write a convolutional neural network (CNN) and the loop that trains it. Is it worth the work? First you build
# simple models, which it has to beat.
#
# {colab}
#
# This is a core lesson.
#
# **You will be able to** write a network and its training loop, build baselines, find a bug with 32 images, and read
# loss curves.
#
# **You need** lessons 01 and 02. **Data:** drawn faces; FER2013 with `FERLIB_DATA`.
#
# **Time:** 40 minutes to read; about 1 minute on a laptop CPU.

# %% [markdown]
# ## The faces
#
# We train on `Training`. To choose between models we need other faces, the *validation* faces: here 1,000 clean faces
# of `PublicTest`. A final figure needs other faces (lesson 02).

# %% tags=["parameters"]
# these numbers set how long the lesson runs
TRAIN, VAL = 2800, 1000  # faces
EPOCHS, BATCH = 8, 32
STEPS = 80  # on the same 32 faces
FEW, LONG = 640, 24  # few faces, many epochs

# %%
from ferlib import plots, protocol
from ferlib.lesson import Lesson

here = Lesson("03")
faces = here.load(TRAIN)
train_set, public = faces.subset("Training"), faces.subset("PublicTest")
clean = protocol.audit(here.source).clean("PublicTest")  # no twin in Training
val_set = protocol.take(public.subset(clean), VAL)

# %% alt="Fourteen training faces with their emotions"
emotions = [faces.classes[label] for label in train_set.labels[:14]]
figure = plots.face_grid(train_set.images[:14], emotions, columns=7, title="Faces")

# %% [markdown]
# ## Two baselines
#
# A *baseline* is a simple model. If a network is not better, you do not need it.
#
# - *Majority* always names the most frequent emotion of the training faces.
# - *Pixels* is logistic regression on the 2,304 pixels: each pixel has one weight for each emotion.
#
# How often will "pixels" be right on the validation faces?

# %%
my_guess = ...  # percent; put yours here

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ferlib import evaluation, models

x_train = train_set.images.reshape(len(train_set), -1).astype("float32")
x_val = val_set.images.reshape(len(val_set), -1).astype("float32")  # (n, 2304)
# a smaller C gives smaller weights; a larger tol stops earlier
linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, tol=0.01))
scores = linear.fit(x_train, train_set.labels).decision_function(x_val)  # (n, 7)
answers = {"pixels": evaluation.Predictions(scores, val_set.labels, faces.classes)}
here.guess(my_guess, 100 * answers["pixels"].correct.mean())

# %%
# the counts of the training faces are the scores of each face; the highest wins
same = np.tile(np.bincount(train_set.labels), (len(val_set), 1))
answers["majority"] = evaluation.Predictions(same, val_set.labels, faces.classes)

# %% [markdown]
# What did "pixels" learn? Here are its weights, one picture for each emotion. White: a bright pixel here makes the
# emotion more likely. Black: less likely.

# %% alt="The weights of the linear model as seven pictures, one for each emotion"
weights = linear[-1].coef_.reshape(-1, 48, 48)
pixels = (127.5 + 127.5 * weights / np.abs(weights).max()).astype(np.uint8)
figure = plots.face_grid(pixels, faces.classes, columns=7, title="Weights of pixels")

# %% [markdown]
# Surprise has a black spot: an open mouth is dark. Disgust is almost gray: only 77 of the 2,800 drawn faces have this
# label, so its weights stay small.
#
# Each weight belongs to one *place*. When a head turns, its mouth moves, and the weights miss it.
#
# ## Edges instead of pixels
#
# The next baseline uses a *histogram of oriented gradients* (HOG). It cuts the face into cells of 8 by 8 pixels. In
# each cell it counts the edges in nine directions. Neighbouring cells are normalised together, so that lighting matters
# less. Then comes logistic regression again. How many points better will it be?

# %%
my_guess = ...  # points; put yours here

import cv2
from sklearn.base import clone

# overlapping blocks of 2 by 2 cells: 25 blocks x 4 cells x 9 directions = 900 numbers
hog = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)
hog_train, hog_val = (
    np.stack([hog.compute(image).ravel() for image in part.images])
    for part in (train_set, val_set)
)
values = clone(linear).fit(hog_train, train_set.labels).decision_function(hog_val)
answers["HOG"] = evaluation.Predictions(values, val_set.labels, faces.classes)
gain = answers["HOG"].correct.mean() - answers["pixels"].correct.mean()
here.guess(my_guess, 100 * gain, "points")

# %% [markdown]
# People designed HOG by hand. A CNN *learns* its features from the faces.
#
# ## Your network
#
# In PyTorch a network is a class. `__init__` creates the layers; `forward` says how the faces pass through them.
#
# - A *convolution* slides small filters over the picture. Each filter gives a *map*: where does its pattern occur? The
#   first filters move by two pixels (`stride=2`), so their maps are half as wide.
# - *ReLU* sets negative numbers to 0.
# - *Max-pooling* keeps the largest of each 2x2 numbers. Maps become half as wide, and small shifts matter less.
# - A *linear layer* turns all numbers of the last maps into seven scores, the *logits*.

# %%
import torch
from torch import nn


def block(n_in, n_out, norm):  # norm is for later: nn.Identity does nothing
    convolution = nn.Conv2d(n_in, n_out, kernel_size=3, padding=1)
    return nn.Sequential(convolution, norm(n_out), nn.ReLU(), nn.MaxPool2d(2))


class FirstCNN(nn.Module):
    def __init__(self, classes=7, norm=nn.Identity):
        super().__init__()
        blocks = block(16, 32, norm), block(32, 64, norm), block(64, 96, norm)
        self.body = nn.Sequential(nn.Conv2d(1, 16, 4, stride=2, padding=1), *blocks)
        self.head = nn.Linear(96 * 3 * 3, classes)

    def forward(self, images):  # (n, 1, 48, 48)
        maps = self.body(images)  # (n, 96, 3, 3)
        return self.head(maps.flatten(1))  # (n, 7)


# %% [markdown]
# A network takes *batches* of normalised faces. `Normalize` and `ToTensorV2` prepare each face; a
# `DataLoader` makes the batches. Send one batch through: wrong shapes show at once.

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
# All training repeats one step: predict, measure the error, change each parameter a little. The error is the *loss*,
# here *cross-entropy*: minus the natural logarithm of the right emotion's probability, in *nats*. One seventh for each
# emotion costs ln 7 = 1.946.
#
# The *gradient* says how fast the loss rises when a parameter grows. The *optimizer* moves each parameter against it;
# the *learning rate* (`lr`) says how far.

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
# Before you train for long, overfit 32 faces: repeat the step on them. The network has 85,000 parameters and must
# be able to learn these faces by heart. If it cannot, the code is wrong.
#
# Here is a usual mistake. The outputs should be probabilities, so somebody adds a softmax at the end. No error appears.
# How many of the 32 faces are right after 80 steps?

# %%
my_guess = ...  # faces; put yours here

import pandas as pd


class SoftmaxCNN(FirstCNN):
    def forward(self, images):
        return super().forward(images).softmax(1)  # the mistake


def learn_by_heart(kind):
    torch.manual_seed(0)
    model = kind().to(device)
    # Adam is an optimizer that adapts the step to each parameter
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    steps = [train_step(model, optimizer, *batch) for _ in range(STEPS)]
    return pd.DataFrame(steps, columns=["loss", "right"])


correct, mistake = learn_by_heart(FirstCNN), learn_by_heart(SoftmaxCNN)
here.guess(my_guess, mistake["right"].iloc[-1], "faces")

# %% alt="Loss over the steps on 32 faces, with logits and with one softmax too many"
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6.5, 3.5), layout="constrained")
ax.plot(correct["loss"], label=f"logits: {correct['right'].iloc[-1]} right")
ax.plot(mistake["loss"], "--", label=f"softmax: {mistake['right'].iloc[-1]} right")
ax.axhline(1.165, color="gray", linewidth=0.8, label="1.165")
ax.set(title="The same 32 faces", xlabel="step", ylabel="loss", ylim=(0, None))
_ = ax.legend(loc=(0.66, 0.22))

# %% [markdown]
# `F.cross_entropy` applies the softmax itself. With the mistake it is applied twice, to numbers from 0 to 1. Even a
# perfect answer, 1 and six times 0, then costs -ln(e / (e + 6)) = 1.165. A confident wrong answer costs 2.165, 1 more.
# For such a face the gradient of the inner softmax is almost 0, so it stays wrong. So the dashed
# curve ends above 1.165 by about the share of wrong faces. On all faces it looks like slow learning.
#
# ## One epoch, and validation
#
# An *epoch* shows each training face once. Validation is the same loop without learning. Compare the two: `eval()` in
# place of `train()`, no gradients, and no `train_step`.


# %%
def train_one_epoch(model, optimizer, batches):
    model.train()
    loss_sum, right = 0, 0
    for images, labels in batches:
        loss, hits = train_step(model, optimizer, images, labels)
        loss_sum += loss * len(labels)
        right += hits
    return loss_sum / len(batches.dataset), right / len(batches.dataset)


@torch.no_grad()  # stores nothing for gradients
def validate(model, batches):
    model.eval()
    loss_sum, right = 0, 0
    for images, labels in batches:
        logits, labels = model(images.to(device)), labels.to(device)
        loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
    return loss_sum / len(batches.dataset), right / len(batches.dataset)


# %% [markdown]
# - `train()` and `eval()` switch layers that behave differently in training. Dropout is one. BatchNorm, below, is
#   another: in training it uses the batch's mean, after `eval()` a running mean. `FirstCNN` has no such layer
#   yet. Always write both lines.
# - The last batch is smaller. A mean of batch means would be wrong, so we add up over faces.
#
# Now train for eight epochs: how many validation faces will be right?

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
def plot_both(epochs):
    _, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    plots.plot_history(epochs, metric="loss", ax=axes[0])
    plots.plot_history(epochs, ax=axes[1])


plot_both(history)

# %% [markdown]
# Does the training loss fall? Then the network learns. Does the validation curve follow? Then this holds for new faces.
# In the first epochs the network mostly names one emotion.
#
# ## The same with `fit`
#
# From now on `fit` runs the loops for your network. It adds what most *recipes* (settings of a training) use. The
# learning rate rises, then falls towards 0. *Weight decay* pulls the parameters towards 0. *Label smoothing* (0.1 of
# the target is shared among all seven) makes the network less sure.

# %% [markdown]
# We also add *BatchNorm* in each block. It brings the numbers of a map to mean 0 and standard deviation 1 over a batch.
# That allows a higher learning rate. So layer, rate and recipe change together, and the gain belongs to all three. How
# many points is it?

# %%
my_guess = ...  # points; put yours here

from ferlib.training import TrainConfig, fit

torch.manual_seed(0)
normed = FirstCNN(norm=nn.BatchNorm2d)
config = TrainConfig(epochs=EPOCHS, batch_size=BATCH, lr=0.003)
result = fit(normed, train_data, val_data, config, progress=False)
answers["BatchNorm + fit"] = evaluation.predict(normed, val_data)
gained = answers["BatchNorm + fit"].correct.mean() - answers["first CNN"].correct.mean()
here.guess(my_guess, 100 * gained, "points")

# %% alt="Loss, accuracy and learning rate of fit over the epochs"
figure = plots.history_grid(result.history)

# %% [markdown]
# The right plot shows the rate at the first step of each epoch. In the left plot the validation loss is often far below
# the training loss: only training smooths labels.
#
# ## Few faces, many epochs
#
# Now `FirstCNN` gets only 640 faces, for 24 epochs. After how many epochs will the *validation* loss be
# lowest?

# %%
my_guess = ...  # epochs; put yours here

few_data, few_val = protocol.take(train_data, FEW), protocol.take(val_data, VAL // 2)
long = TrainConfig(
    epochs=LONG, batch_size=16, lr=0.001, schedule="constant", label_smoothing=0
)
torch.manual_seed(0)
overfitted = fit(FirstCNN(), few_data, few_val, long, progress=False).history
here.guess(my_guess, overfitted["val_loss"].idxmin() + 1, "epochs")

# %% alt="Loss and accuracy on few training faces: the validation loss turns and rises"
plot_both(overfitted)

# %% [markdown]
# After the lowest point comes *overfitting*: the network learns its faces by
# heart, and the validation loss rises. But the accuracy still rises for some epochs. The loss punishes answers that are
# wrong and *sure*, and there are more and more of them.
#
# *Early stopping* ends a run when validation gets no better for some epochs, the *patience*:
# `TrainConfig(patience=5, keep="best")`. But the best of many epochs is partly luck, so its accuracy is too high. We
# keep the last epoch.

# %% [markdown]
# ## The ladder
#
# All models on the same validation faces. Which step is the largest?

# %% alt="Accuracy of majority, pixels, HOG and your two networks, each with its 95% interval"
# "value" is the accuracy, "low" and "high" are the ends of its interval
summaries = {name: evaluation.summarise(given) for name, given in answers.items()}
ladder = pd.DataFrame({name: rows.loc["accuracy"] for name, rows in summaries.items()})
ax = plots.plot_intervals(ladder.T.sort_values("value"))
_ = ax.set(title=f"{len(val_set):,} faces", xlabel="accuracy (%)", ylabel="model")

# %% [markdown]
# Was it worth the work? On the drawn faces the largest step is from pixels to HOG, about 25 points; the first CNN adds
# a few. With BatchNorm and `fit` it is near 78%, more than 10 points above HOG.
#
# The lines, 95% intervals, show what other faces might change. They leave out other seeds.
#
# ## The confusion matrix
#
# Which emotions does your network miss?

# %% alt="Confusion matrix of your network with BatchNorm and fit on the validation faces"
_ = plots.plot_confusion(answers["BatchNorm + fit"])

# %% [markdown]
# Read one row: what happens to the faces of that emotion? Then one column: when the network names this emotion, is it
# right? Of the 14 drawn faces with disgust, few are found; many are named angry.

# %% [markdown]
# ## Keep your network
#
# A saved model needs its parameters, the size of a face, the mean and standard deviation, and the classes. A
# `FaceModel` holds them. To load it, give your network again:
# `models.load_model(path, network=FirstCNN(norm=nn.BatchNorm2d))`.

# %%
from ferlib.transforms import InputSpec

mine = models.FaceModel(normed, InputSpec(mean=0.5, std=0.5), faces.classes)
models.save_model(mine, here.folder / "mine")

# %% [markdown] tags=["advanced"]
# ## Advanced: a network of `ferlib`
#
# `ferlib` has a network of the same kind, FerNet: convolutions, BatchNorm, pooling. Later lessons use a small one:
# `widths` are its numbers of maps; `depths` of 0 mean no extra blocks.
#
# `build_model` gives a `FaceModel`: a network that knows its classes and how to normalise. Its faces need no transform.
# `off` switches off what `fit` adds; with plain Adam it then trains much like your loop.

# %% tags=["advanced"]
torch.manual_seed(0)
layers = {"widths": (16, 32, 64, 96), "depths": (0, 0, 0)}
fernet = models.build_model("fernet", classes=faces.classes, drop_rate=0, **layers)
off = {"weight_decay": 0, "clip_norm": None, "label_smoothing": 0}
config_fernet = TrainConfig(
    epochs=EPOCHS, batch_size=BATCH, lr=0.003, optimizer="adam", **off
)
fit(fernet, train_set, val_set, config_fernet, progress=False)
found_fernet = evaluation.predict(fernet, val_set)
print(f"{found_fernet.correct.mean():.1%} of the validation faces are right")
_ = here.keep(fernet)  # for later lessons

# %% [markdown] tags=["advanced"]
# Here are twelve faces. The drawn ones are chosen: such networks, trained with ten seeds, mostly named the first seven
# right and the last five wrong. How many does this one miss?

# %% tags=["advanced"] alt="Twelve validation faces with their emotion and FerNet's answer, wrong answers in red"
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
# - A network must beat the baselines.
# - A step is forward, loss, `zero_grad`, `backward`, `step`.
# - Give logits to `F.cross_entropy`, never probabilities.
# - Overfit 32 faces first.
# - When the validation loss rises and the training loss falls, the network overfits.

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
    # the logarithm of exp(logit) / sum; logsumexp stays finite for large logits
    log_p = logits - logits.logsumexp(1, keepdim=True)
    return -log_p[torch.arange(len(labels)), labels].mean()


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
# **Exercise 2.** Early stopping. Given the validation losses of epochs 1, 2, ... and a patience, return the epoch after
# which training stops. It stops when `patience` epochs in a row brought no new lowest loss. If that never happens,
# return the last epoch.


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
# **Exercise 3.** How many parameters does the head of `FirstCNN` have?

# %% tags=["exercise"]
my_count = ...

# %% tags=["solution"]
solution_3 = 96 * 3 * 3 * 7 + 7
wrong_3 = [
    (96 * 3 * 3 * 7, "each of the seven outputs has a bias, too"),
    (96 * 7 + 7, "the head sees every place of a map: 3 by 3 numbers for each map"),
    (96 * 48 * 48 * 7 + 7, "stride 2 and three poolings made the maps 3 by 3"),
]

# %%
here.check(my_count, solution_3, wrong_3)

# %% [markdown]
# ## Questions
#
# **1.** In the first step on 32 faces the loss is 0.4, not about 1.95. What do you suspect?
#
# <details><summary>Answer</summary>
#
# A leak. A network that has not learned cannot know anything. A loss of 0.4 means 67% (e to the -0.4) on the right
# class. Perhaps the label is part of the input, or you loaded a trained model.
#
# </details>

# %% [markdown]
# **2.** You take `optimizer.zero_grad()` out of `train_step` and run `learn_by_heart` again. All gradients are of the
# same 32 faces. Is it harmless to add them up?
#
# <details><summary>Answer</summary>
#
# No: after 80 steps, 8 of 32 drawn faces are right. When the goal is reached, the sum still points where it
# pointed at the start, and the parameters overshoot.
#
# </details>

# %% [markdown]
# **3.** Each of twelve epochs has a true accuracy of 78%. You report the best one on 2,000 validation faces. What do
# you report, on average? (The largest of twelve independent values lies about 1.6 standard errors, sqrt(p(1-p)/n),
# above the mean.)
#
# <details><summary>Answer</summary>
#
# About 79.5%. One value has a standard error of 0.9 points, and 1.6 times this is 1.5 points. Real epochs resemble each
# other, so the gain is smaller.
#
# </details>

# %% [markdown]
# **4.** HOG has 900 numbers for each face, "pixels" has 2,304. Is HOG better *because* it has fewer? Try "pixels" with
# every second row and column, `images[:, ::2, ::2]`.
#
# <details><summary>Answer</summary>
#
# No. With these 576 numbers the accuracy on the drawn faces falls to about 34%. HOG tolerates small shifts: an edge
# that moves by a pixel mostly stays in its cell. And it hardly depends on the light.
#
# </details>

# %% [markdown]
# **5.** In the hand-written run the validation accuracy often lies *above* the training accuracy. Why?
#
# <details><summary>Answer</summary>
#
# At first the network says only "happy": of the drawn validation faces, 24.8% are happy, of the training faces 22.9%.
# Later, training accuracy is measured *while* the network changes: the first faces of an epoch meet a worse network. To
# remove this reason, call `validate` on the training faces. And some training labels are wrong (lesson 01).
#
# </details>

# %% [markdown]
# ## Further reading
#
# - N. Dalal and B. Triggs, *Histograms of oriented gradients for human detection*, CVPR 2005.
# - S. Ioffe and C. Szegedy, *Batch normalization*, ICML 2015.
# - A. Karpathy, *A recipe for training neural networks*, blog, 2019 (the test with few faces).
