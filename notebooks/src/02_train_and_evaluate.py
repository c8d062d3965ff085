# %% [markdown]
# # Train a network and read its confusion matrix
#
# One small network, one training loop, and an honest answer to three questions: how good is it, how sure are we of
# that, and what does it mix up?
#
# **You will be able to** write a training step by hand, read training curves, put an interval on an accuracy, read a
# confusion matrix in both directions, and say how much of a score comes from test faces seen in training.
#
# **You need** lesson 01. **Time:** half an hour to read; a few minutes to run on a laptop without GPU.

# %%
import dataclasses
import os

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from ferlib import data, evaluation, models, plots, protocol, recipes, training
from ferlib.emotions import EMOTIONS
from ferlib.transforms import EvalTransform, to_picture

SOURCE = "fer2013" if os.environ.get("FERLIB_DATA") else "sample"
FAST = bool(
    os.environ.get("FERLIB_FAST")
)  # only to check that everything runs: what it prints means nothing
EPOCHS = 2 if FAST else 14

faces = data.load(SOURCE)
train_set, test_set = faces.subset("Training"), faces.subset("PublicTest")
most = (
    320 if FAST else 5000
)  # of FER2013 a part, so that a laptop without GPU is done in minutes
if len(train_set) > most:
    train_set = train_set.subset(np.linspace(0, len(train_set) - 1, most).astype(int))
print(f"{len(train_set):,} faces to train on, {len(test_set):,} to judge by")

# %% [markdown]
# `PublicTest` is what we choose by. The other test, `PrivateTest`, stays sealed: it can give an unspoiled answer once,
# and an answer that is asked for again and again, until it pleases, is spoiled.

# %% [markdown]
# ## One step, by hand
#
# Training repeats a single step: predict, measure the loss, follow its slope downhill a little. Here it is on 64
# faces. With seven equally likely classes a network that knows nothing has a loss of ln 7 = 1.946. Guess the loss on
# these same 64 faces after ten steps.

# %%
my_guess = 1.9

torch.manual_seed(0)
model = models.build_model("plain_cnn")
prepare = EvalTransform(
    models.input_spec(model)
)  # uint8 (n, 1, 48, 48) -> normalised float
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
images = prepare(torch.from_numpy(train_set.images[:64])[:, None])
labels = torch.from_numpy(train_set.labels[:64])

for step in range(11):
    logits = model(images)  # (64, 7): one score for each face and emotion
    loss = F.cross_entropy(logits, labels)
    if step in (0, 10):
        print(f"after {step:2d} steps: loss {loss.item():.3f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"your guess: {my_guess}")

# %% [markdown]
# And what is that loss? Minus the logarithm of the probability that the network gave to the right answer, averaged.
# In the open (the value is another than above: one more step was taken since, and dropout is switched off by `eval`):

# %%
with torch.no_grad():
    logits = model.eval()(images)
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    by_hand = -probabilities[torch.arange(64), labels].log().mean()
    torch.testing.assert_close(by_hand, F.cross_entropy(logits, labels))
print(f"by hand {by_hand:.4f}, the same as torch's")

# %% [markdown]
# ## Many steps
#
# `ferlib.training.fit` is this loop with what experience has added: shuffled batches, augmentation, a learning rate
# that rises and falls, averaged weights, and a validation after each epoch. Its source, `ferlib/training.py`, is
# meant to be read. A *recipe* names a network, its augmentation and the loop's settings. Here is the one made for CPUs.

# %%
recipe = recipes.get_recipe("cpu")
# It is tuned to twenty epochs of FER2013, 8,960 steps. We take some 600: a lower rate, then, and no averaged weights.
config = dataclasses.replace(recipe.config, epochs=EPOCHS, lr=1e-3, ema=None)
model, augment, _ = recipe.build()
total, trainable = models.count_parameters(model)
print(f"{recipe.model['name']}: {total:,} parameters, all of them trained")

# %% [markdown]
# What the network sees in training is never twice the same: each batch is flipped, turned, scaled, shifted, lit and
# partly covered at random. Is the emotion still there in each? If not, the augmentation is too strong.

# %%
originals = train_set.images[:4]
batch = torch.from_numpy(np.repeat(originals, 6, axis=0))[:, None]
augmented = to_picture(augment(batch), models.input_spec(model)).reshape(4, 6, 48, 48)
titles = [EMOTIONS[label] for label in train_set.labels[:4]]
title = "Four training faces and six augmentations of each"
figure = plots.augmentation_grid(originals, augmented, titles, title=title)

# %%
result = training.fit(model, train_set, test_set, config, train_transform=augment)
seconds = result.history["seconds"].sum()
print(f"{result.stopped} after {seconds:.0f} s, computed in {result.precision}")
result.history.tail(3).round(4).set_index("epoch")

# %%
figure = plots.history_grid(result.history)
# %% [markdown]
# Read the curves from left to right. Training figures are taken on augmented faces, with smoothed labels (a tenth of
# each answer is spread over all classes) and while the weights still move, so that they may well look worse than
# validation's. Where is
# validation's best epoch? And what happens to the curves while the learning rate falls to zero?

# %%
best = result.history["val_accuracy"].max()
final = result.history["val_accuracy"].iloc[-1]
print(
    f"best epoch: {result.best_epoch} of {len(result.history)} with {best:.1%}; the last has {final:.1%}"
)

# %% [markdown]
# We keep the last epoch, not the best one. To take the best of many epochs by the very faces that are reported is to
# choose the luckiest. That is how published figures on this data grew. (The recipe `plain_cnn` keeps the best, as
# textbooks do, and its figure on these faces is a little too good.)

# %% [markdown]
# ## How good, and how sure?
#
# Predict once, keep the logits, ask as often as you like. An accuracy measured on n faces is itself a draw of luck. The
# bootstrap asks: had we drawn another test of the same size, what might it have said?

# %%
# each face as it is, and mirrored: the two answers are averaged
views = (None, evaluation.flip)
predictions = evaluation.predict(
    result.model, test_set.images, test_set.labels, prepare, views=views
)
summary = evaluation.summarise(predictions)
title = f"{len(test_set):,} test faces, 95% bootstrap intervals"
plots.plot_intervals(summary).set(title=title, xlabel="percent")
summary.round(3)

# %%
rng, n = np.random.default_rng(0), len(test_set)
redrawn = [predictions.correct[rng.integers(0, n, n)].mean() for _ in range(2000)]
low, high = np.quantile(redrawn, [0.025, 0.975])
print(f"by hand: {predictions.correct.mean():.3f} [{low:.3f}, {high:.3f}]")
np.testing.assert_allclose(
    [low, high],
    summary.loc["accuracy", ["low", "high"]].astype(float),
    atol=0.005 + 1 / n,
)

# %% [markdown]
# F1 is the harmonic mean of a class's precision and recall, two words that come below; macro-F1 its mean over the seven.
# Balanced accuracy, the mean of the seven recalls, treats a rare emotion like a common one. If it is far below
# accuracy, the model does its best work where there are many faces.

# %% [markdown]
# ## What does it mix up?
#
# Rows are what a face was, columns what the network said. Look again at the pair that you found hardest in lesson 01.
# Where would you expect the largest number off the diagonal?

# %%
confusion = predictions.confusion()
axes = plots.plot_confusion(confusion)
_ = axes.set(title=f"{len(test_set):,} test faces, flip averaged")
# %%
by_hand = np.zeros((7, 7), int)
for true, said in zip(predictions.labels, predictions.predicted, strict=True):
    by_hand[true, said] += 1
assert (by_hand == confusion).all()

shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
off = [
    (shares[i, j], EMOTIONS[i], EMOTIONS[j])
    for i in range(7)
    for j in range(7)
    if i != j
]
for share, true, said in sorted(off, reverse=True)[:5]:
    print(f"{share:.0%} of the {true} faces were called {said}")

# %% [markdown]
# Along a row you read *recall*: of the faces that were sad, how many were found? Down a column, *precision*: of those
# called sad, how many were? A model that says "sad" too easily has a high recall and a low precision for it.

# %%
report = evaluation.report(predictions)
axes = plots.plot_report(report)
worst = report["recall"].idxmin()
found, support = (
    confusion.diagonal()[EMOTIONS.index(worst)],
    report.loc[worst, "support"],
)
print(f"lowest recall: {worst}, {found} of {support} faces found")
report.round(3)

# %% [markdown]
# ## How much of it is memory?
#
# In lesson 01 we found test faces that stand in the training set. Guess: how many points higher is the accuracy on
# them?

# %%
my_guess = 0  # points

seen = set(
    protocol.image_hashes(train_set.images)
)  # of the faces that this very model was trained on
clean = np.array([text not in seen for text in protocol.image_hashes(test_set.images)])
parts = {
    "all": predictions,
    "clean": predictions.subset(clean),
    "twins": predictions.subset(~clean),
}
rows = {
    f"{name}, n={len(part.labels):,}": evaluation.summarise(part).loc["accuracy"]
    for name, part in parts.items()
}
table = pd.DataFrame(rows).T
plots.plot_intervals(table).set(
    title="With and without a twin in Training", xlabel="accuracy (%)"
)
hits = {name: parts[name].correct for name in ("twins", "clean")}
redrawn = [
    np.diff([rng.choice(hit, len(hit)).mean() for hit in hits.values()])
    for _ in range(2000)
]
low, high = np.quantile(-100 * np.array(redrawn), [0.025, 0.975])
gap = 100 * (hits["twins"].mean() - hits["clean"].mean())
print(
    f"{gap:+.1f} points on twins, interval {low:+.1f} to {high:+.1f}; you guessed {my_guess}"
)
print(
    "zero is",
    "inside: no gap is shown" if low <= 0 <= high else "outside: the gap is not luck",
)
table.round(3)

# %% [markdown]
# Mind the width of the interval on the twins: they are few. A gap is worth nothing without its interval, and a network
# that is trained longer has more time to memorise.

# %% [markdown]
# ## Where was it sure, and wrong?

# %%
sureness = predictions.probabilities.max(1)
worst = np.flatnonzero(~predictions.correct)
worst = worst[np.argsort(-sureness[worst])][:14]
true, said = predictions.labels, predictions.predicted
titles = [
    f"{EMOTIONS[true[i]]}\nsaid {EMOTIONS[said[i]]} {sureness[i]:.0%}" for i in worst
]
title = "The network's surest mistakes"
figure = plots.face_grid(test_set.images[worst], titles, columns=7, title=title)

# %% [markdown]
# Look at each and decide: was the network wrong, or the label, or can nobody tell? On the drawn faces the answer is
# known: only Training's labels were spoiled, every label here is what was drawn. On FER2013 nobody knows.
#
# ## Keep it
#
# A model is saved as one safetensors file, which holds numbers and JSON and can run no code. It knows how it was built
# and what it wants to be fed.

# %%
path = models.save_model(
    result.model, "runs/02_first_model", lesson="02", source=SOURCE
)
again = models.load_model(path)
assert models.model_hash(again) == models.model_hash(result.model)
print(
    f"{path.resolve()}: {path.stat().st_size / 1e6:.1f} MB, model {models.model_hash(again)[:12]}"
)

# %% [markdown]
# The same from a terminal, on the whole of a source: `ferlib train --data fer2013 --recipe cpu --out runs/cpu`, then
# `ferlib evaluate --model runs/cpu --data fer2013 --split PublicTest --json out.json`.
#
# ## Try it
#
# 1. Build the model anew (`model, augment, _ = recipe.build()`), train it with `train_transform=None`, and draw both
#    histories. Which gap grows?
# 2. Take `recipes.get_recipe("plain_cnn")`. Do the two networks mix up the same pairs?
# 3. Halve the training set: `half, _ = protocol.split(train_set, share=0.5)`. How many points does it cost?
#
# ## Questions
#
# 1. How wide is the interval of the accuracy here? How many test faces would halve its width?
# 2. One class has a recall of 90% and a precision of 45%. What does the model do too often?
# 3. Somebody trains 250 epochs and reports the best of them on the test. Is the number too high or too low, and why
#    does a larger test make that better?
#
# **Further reading.** C. Guo et al., *On calibration of modern neural networks*, 2017. B. Efron and R. Tibshirani, *An
# introduction to the bootstrap*, 1993. B. Recht et al., *Do ImageNet classifiers generalize to ImageNet?*, 2019.
