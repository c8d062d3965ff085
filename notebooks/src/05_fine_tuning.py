# %% [markdown]
# # Fine-tuning
#
# EfficientNet has learned from 1.3 million photographs of ImageNet. None of their 1,000 labels is an emotion. Can
# it learn the seven emotions from 1,300 faces, in minutes, without a GPU?
#
# {colab}
#
# **You will be able to** load a timm network with ImageNet's weights and use it for feature extraction. You will train
# a new head, fine-tune the whole network, and give its layers different learning rates. And you will compare this with
# training from scratch.
#
# **You need** lessons 03 and 04. This lesson belongs to the core of the course. **Data:** drawn faces; FER2013 with
# `FERLIB_DATA`.
#
# **Time:** 35 minutes to read; about 2 minutes on a laptop CPU.

# %% [markdown]
# ## The faces
#
# These numbers set how long the lesson runs.

# %% tags=["parameters"]
TRAIN, VAL, TEST = 1300, 250, 1000  # faces
EPOCHS, BATCH, LR = 4, 32, 0.002
SIZE = 48  # pixels, as our faces have; Lite0 was trained at 224

# %%
from ferlib import protocol
from ferlib.lesson import Lesson

here = Lesson("05")
faces = here.load()
# A tenth is for validation; twins stay together.
train_part, val_part = protocol.split(faces.subset("Training"), share=0.1)
# `take` picks this many faces, with the classes in proportion.
train_set, val_set = protocol.take(train_part, TRAIN), protocol.take(val_part, VAL)
# One True or False for each test face; True: Training has no copy of this face.
clean = protocol.audit(here.source).clean("PublicTest")
test_set = protocol.take(faces.subset("PublicTest").subset(clean), TEST)
print(len(train_set), "training,", len(val_set), "validation,", len(test_set), "test")

# %% alt="Fourteen training faces with their emotions"
from ferlib import plots

emotions = [faces.classes[label] for label in train_set.labels[:14]]
title = "Some faces to learn from"
figure = plots.face_grid(train_set.images[:14], emotions, columns=7, title=title)

# %% [markdown]
# ## A network from timm
#
# *timm* is a library of more than a thousand image networks. `timm.create_model` builds one by its name. We take
# EfficientNet-Lite0, a small network of the EfficientNet family. It gets one input channel, because our faces are
# gray, and seven outputs.

# %%
import timm

network = timm.create_model("tf_efficientnet_lite0", num_classes=7, in_chans=1)
for part, module in network.named_children():
    print(f"{part:12}{sum(p.numel() for p in module.parameters()):10,} parameters")

# %% [markdown]
# - The *body* (`conv_stem` to `global_pool`) is made of convolutions and BatchNorm layers. Its last part averages
#   each of 1,280 maps to one number. These 1,280 numbers are the *features*.
# - The *head* (`classifier`) turns the features into seven scores, one for each emotion.
#
# So far the weights are random. With `pretrained=True`, timm downloads ImageNet's weights. `build_model` loads the same
# weights; for this network it needs no internet. It puts a new, random head on top. ImageNet's filters have three
# colour channels. `build_model` sums these three. So a gray image gives the same result as the same image copied to
# red, green and blue.

# %%
import torch

from ferlib import models


def build(weights):
    torch.manual_seed(0)  # the same random head each time
    # small_stem=False keeps timm's first layer, which halves the picture: this is fast.
    return models.build_model(
        "tf_efficientnet_lite0", weights=weights, classes=faces.classes, size=SIZE,
        mean=(0.5,), std=(0.5,), small_stem=False,
    )  # fmt: skip


pretrained = build("imagenet")
print(pretrained.input_spec)

# %% [markdown]
# The network must see pixels on the scale on which it was trained. These weights expect mean 0.5 and standard
# deviation 0.5. Other weights expect other numbers: read them in `network.pretrained_cfg`.
#
# ## The pipelines
#
# Training faces are changed at random; validation and test faces are not. Both pipelines end with `Normalize` and
# `ToTensorV2`. `transforms.light` is the one for training: a flip, a small rotation and shift, some brightness.

# %%
import albumentations as A
from albumentations.pytorch import ToTensorV2

from ferlib import transforms

train_transform = transforms.light(pretrained.input_spec)
spec = pretrained.input_spec
fixed = A.Compose(
    [A.Resize(SIZE, SIZE), A.Normalize(spec.mean, spec.std), ToTensorV2()]
)
train_data = train_set.with_transform(train_transform)
val_data, test_data = val_set.with_transform(fixed), test_set.with_transform(fixed)
print([type(step).__name__ for step in train_transform.transforms])

# %% [markdown]
# Would you still give each face the same label?

# %% alt="Three training faces, each with five random versions of it"
versions = []
for i in range(3):
    draws = [train_data[i] for _ in range(5)]  # each draw is a new (tensor, label)
    gray = [tensor[0] for tensor, label in draws]  # the only channel, from -1 to 1
    versions.append([((face + 1) * 127.5).byte().numpy() for face in gray])  # 0 to 255
figure = plots.augmentation_grid(train_set.images[:3], versions, emotions[:3])

# %% [markdown]
# ## Way 1: features and a linear model ("features")
#
# The cheapest way trains no network at all. Send each face through the pretrained body once, keep its 1,280
# features, and let scikit-learn's logistic regression separate the emotions. This is called *feature extraction*.
#
# The body has never seen a face with an emotion label. How many of the test faces will be right? (Always "happy"
# gets about 25%.)

# %%
from torch.utils.data import DataLoader


@torch.no_grad()
def features(dataset):
    body, rows = pretrained.network.eval(), []
    for images, _ in DataLoader(dataset.with_transform(fixed), batch_size=100):
        maps = body.forward_features(images)  # (n, 1280, h, w)
        rows.append(body.global_pool(maps))  # (n, 1280): the mean of each map
    return torch.cat(rows).numpy()


train_features, test_features = features(train_set), features(test_set)
print(train_features.shape)

# %% [markdown]
# `StandardScaler` gives each feature mean 0 and standard deviation 1. A small `C` keeps the weights small, against
# overfitting.

# %%
my_guess = ...  # percent; put yours here

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ferlib import evaluation

linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
linear.fit(train_features, train_set.labels)
scores = linear.decision_function(test_features)
predictions = {
    "features": evaluation.Predictions(scores, test_set.labels, faces.classes)
}
here.guess(my_guess, 100 * predictions["features"].correct.mean())

# %% [markdown]
# That is far above always "happy" (25%): the features tell something about the emotion. This is *transfer*. But they
# were made for another task, and they stay as they are.
#
# ## Way 2: a new head on a frozen body ("head")
#
# The next ways train by gradient descent. One function serves them all, with an equal budget: the same faces, the
# same number of epochs. `fit` uses AdamW. The learning rate rises to `lr` in 15% of the steps, then falls to zero.
# The last epoch's weights are kept.

# %%
from ferlib import training
from ferlib.training import TrainConfig

histories = {}


def train(name, model, lr=LR, lr_scales=()):
    config = TrainConfig(
        epochs=EPOCHS, batch_size=BATCH, lr=lr, lr_scales=lr_scales, precision="fp32"
    )
    result = training.fit(model, train_data, val_data, config, progress=False)
    histories[name] = result.history
    predictions[name] = evaluation.predict(result.model, test_data)
    print(f"{name}: {predictions[name].correct.mean():.1%} of the test faces are right")


# %% [markdown]
# To *freeze* a parameter is to take it out of training: `requires_grad = False`. We freeze all but the head. Then only
# 8,967 of 3.4 million parameters learn: 1,280 times 7 weights and 7 biases. The head starts at random, and the frozen
# body is safe. So we use five times the learning rate. `fit` keeps a frozen body's BatchNorm in evaluation mode (lesson
# 05b).

# %%
frozen = build("imagenet")
for parameter_name, parameter in frozen.network.named_parameters():
    parameter.requires_grad = parameter_name.startswith("classifier.")
print("all and learning:", *models.count_parameters(frozen))
train("head", frozen, lr=5 * LR)

# %% [markdown]
# This is the same model as in way 1, a linear layer on fixed features. But each epoch shows new random versions of the
# faces, so the body computes the features again.
#
# ## Way 3: the whole network ("whole")
#
# Now everything may learn: this is *fine-tuning* in the narrow sense. It costs more: the gradient runs back through the
# body.

# %%
train("whole", build("imagenet"))

# %% [markdown]
# ## Way 4: a learning rate for each layer ("layer-wise")
#
# The first layers find edges, and an edge in a drawing is an edge. The last layers were made for cats and cars. So the
# idea: change the first little and the last much. Does it help? `lr_scales` gives parts of the network a share of the
# learning rate. The others get all of it.

# %%
shares = (
    ("conv_stem", 0.1), ("bn1", 0.1), ("blocks.0", 0.1), ("blocks.1", 0.2),
    ("blocks.2", 0.3), ("blocks.3", 0.4), ("blocks.4", 0.5), ("blocks.5", 0.7),
)  # fmt: skip
train("layer-wise", build("imagenet"), lr_scales=shares)

# %% [markdown]
# ## The same from scratch
#
# Is it the network that is good, or its weights? Train the same network from random weights, with the same faces
# and four epochs. By how many points will "whole" be better?

# %%
my_guess = ...  # points; put yours here

train("scratch", build(None))
gain = predictions["whole"].correct.mean() - predictions["scratch"].correct.mean()
here.guess(my_guess, 100 * gain, "points")

# %% [markdown]
# ## Compare

# %% alt="Test accuracy of each of the five ways, with its 95% interval"
import pandas as pd

summaries = {way: evaluation.summarise(found) for way, found in predictions.items()}
table = pd.DataFrame({way: rows.loc["accuracy"] for way, rows in summaries.items()}).T
ax = plots.plot_intervals(table)
_ = ax.set(title=f"Test accuracy, {EPOCHS} epochs", xlabel="accuracy (%)", ylabel="way")

# %% [markdown]
# The lines are 95% intervals: with other test faces, an accuracy would move about that much. They say nothing about
# other seeds. In our run (one seed, one rate) "layer-wise" is below "whole"; perhaps its first layers learned too
# little.
#
# Can it learn the emotions? Partly: of the drawn faces more than 60%, in four epochs. ImageNet's weights help *this*
# network. But lesson 04's small network, from scratch with augmentation, had more than 70% after 28 epochs of 700 drawn
# faces, in less time.

# %% alt="Validation accuracy after each epoch for the four ways that train by gradient descent"
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for (way, history), style in zip(
    histories.items(), ("s:", "o-", "^--", "x-."), strict=True
):
    ax.plot(history["epoch"], 100 * history["val_accuracy"], style, label=way)
ax.set(xlabel="epoch", ylabel="accuracy (%)", title=f"{len(val_set)} validation faces")
ax.set_xticks(range(1, EPOCHS + 1))
_ = ax.legend()

# %% [markdown]
# Read two things:
#
# - After one epoch the pretrained ways are above scratch. Scratch still says mostly "happy" (25%): 160 steps are too
#   few.
# - The lines flatten as the rate falls to zero: flat does not mean finished. The comparison holds for this budget and
#   rate.
#
# Which emotions does accuracy hide? In a *confusion matrix*, each row is a true class, each column a predicted one.

# %% alt="Confusion matrices of the network from scratch and of the fine-tuned network on the test faces"
names = {"scratch": "from scratch", "whole": "from ImageNet, whole network"}
figure = plots.confusion_grid({text: predictions[way] for way, text in names.items()})

# %% [markdown]
# From scratch, the network calls most faces of every row happy. Fine-tuning puts many on the diagonal.
#
# The share of a class that is found is its *recall*. On the drawn faces, "whole" found almost none of the 14 disgusted
# faces. So an accuracy above 60% hides a recall near 0.

# %% [markdown]
# ## FER2013
#
# On photographs this takes an hour or more on two cores, so we show stored predictions.
#
#     ferlib train --recipe fine_tune --data fer2013 --out runs/mine
#
# trains the whole Lite0, at 96 pixels. To save time, we stopped our run after six of eight epochs. Beside it is FerNet,
# the network of `ferlib`: from scratch, 64 epochs.

# %% alt="Confusion matrices of the fine-tuned Lite0 and of FerNet on the 3,309 clean PublicTest photographs of FER2013"
views = "flip_averaged"  # a face and its mirror image
photographs = {
    "Lite0 from ImageNet, 6 epochs": here.photographs("lite0-0", views, clean=True),
    "FerNet from scratch, 64 epochs": here.photographs("long-2", views, clean=True),
}
for text, found in photographs.items():
    print(f"{text}: {found.correct.mean():.1%} of {len(found.labels):,} photographs")
figure = plots.confusion_grid(photographs)

# %% [markdown]
# Six epochs against 64: half a point fewer (95% interval -1.8 to 0.9), so neither is proved better. But an epoch of
# Lite0 costs as much as 6 to 17 of FerNet's. Which one is faster depends on the processor. And network and weights both
# differ. What do the weights alone do? After four epochs, the same Lite0 from scratch named 50% of all PublicTest faces
# right. The pretrained one had 66% then.
#
# Both matrices show happy and surprise found best, and more than half of fear and disgust missed. Where do the missing
# faces of a row go?
#
# A ResNet that knows photographs comes with `ferlib`: `models.build_model("resnet18", weights="fer2013-resnet")`.

# %% [markdown]
# ## What you have learned
#
# - A timm network is a body and a head. For other classes, keep the body and put a new head on top.
# - Pretrained weights come with a mean and a standard deviation. Normalise your faces with these.
# - Features and a linear model: seconds, and a baseline. A frozen body and a new head: the same model, more slowly.
# - Fine-tuning lets the whole network learn. Lower rates for early layers keep what they know, and may cost
#   accuracy.
# - Compare at an equal budget, choose on validation faces, and give an interval.
#
# BatchNorm in a frozen body, the learning rate and the schedule: [lesson 05b](05b_fine_tuning_in_depth.ipynb).

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** You fine-tune for three classes: open, shut and hidden eyes. The features stay 1,280 numbers. How
# many parameters does the new head have?

# %% tags=["exercise"]
my_count = ...

# %% tags=["solution"]
solution_1 = 1280 * 3 + 3
wrong_1 = [
    (1280 * 3, "these are the weights; each output has a bias, too"),
    (1280 * 7 + 7, "that is the head for seven classes"),
    (1280 + 3, "each of the three outputs has a weight for every feature"),
]

# %%
here.check(my_count, solution_1, wrong_1)

# %% [markdown]
# **Exercise 2.** To freeze a part, you must know which parameters lie in it. Return whether the parameter `name` is
# the part itself or lies in it: `blocks.1.0.conv_pw.weight` lies in `blocks.1`.


# %% tags=["exercise"]
def my_is_in(name, part):
    return ...


# %% tags=["solution"]
def solution_2(name, part):
    return name == part or name.startswith(part + ".")


def without_dot(name, part):
    return name.startswith(part)


def anywhere(name, part):
    return part in name


def only_below(name, part):
    return name.startswith(part + ".")


wrong_2 = [
    (without_dot, "blocks.10 begins with blocks.1 and does not lie in it"),
    (anywhere, "bn1 is also a layer inside of each block: compare the beginning"),
    (only_below, "pos_embed is a single parameter, with no dot after its name"),
]
examples_2 = [
    ("blocks.1.0.conv_pw.weight", "blocks.1"),
    ("blocks.10.0.conv_pw.weight", "blocks.1"),
    ("blocks.1.0.bn1.weight", "bn1"),
    ("pos_embed", "pos_embed"),
]

# %%
here.check(my_is_in, solution_2, wrong_2, on=examples_2)

# %% [markdown]
# **Exercise 3.** A common rule for layer-wise rates: the last part gets `lr`, and each part before it gets `decay`
# times the rate of the next one. A network has `count` parts. Return the list of their rates, first part first.


# %% tags=["exercise"]
def my_rates(lr, decay, count):
    return ...


# %% tags=["solution"]
def solution_3(lr, decay, count):
    return [lr * decay ** (count - 1 - k) for k in range(count)]


def last_first(lr, decay, count):
    return [lr * decay**k for k in range(count)]


def one_too_many(lr, decay, count):
    return [lr * decay ** (count - k) for k in range(count)]


def in_equal_steps(lr, decay, count):
    return [lr * decay * (k + 1) / count for k in range(count)]


wrong_3 = [
    (last_first, "now the first part learns fastest: the order is the other way round"),
    (one_too_many, "the last part gets the whole lr"),
    (in_equal_steps, "multiply by decay for each part; do not subtract"),
]
examples_3 = [(0.1, 0.5, 4), (0.01, 0.8, 7)]

# %%
here.check(my_rates, solution_3, wrong_3, on=examples_3)

# %% [markdown]
# ## Questions
#
# **1.** In your own loop (`fit` checks this) you forget `Normalize` and convert the pixels to float. No error appears.
# What is wrong?
#
# <details><summary>Answer</summary>
#
# The pixels go from 0 to 255, and the weights expect -1 to 1. All features are off. A network that is trained in
# all layers can partly adapt; a frozen one cannot. Wrong preprocessing is silent. So compare your `Normalize` with
# the input spec.
#
# </details>

# %% [markdown]
# **2.** Ways 1 and 2 are the same model, a linear layer on fixed features. Why are their results not the same?
#
# <details><summary>Answer</summary>
#
# The training differs. Way 1 scales the features, and `C` limits the weights. It finds the best weights for faces
# that never change. Way 2 takes some steps of gradient descent on random versions of the faces.
#
# </details>

# %% [markdown]
# **3.** A friend trains from scratch for 100 epochs, reaches the same accuracy as "whole", and says: "Pretraining
# is useless." Is that right?
#
# <details><summary>Answer</summary>
#
# No: it saved 96 epochs. With many faces and enough time, training from scratch can catch up: K. He and others
# found this for object detection. With few faces it often cannot. So say at which budget you compared.
#
# </details>

# %% [markdown]
# **4.** You have 20 faces of each emotion, not hundreds. Which way do you try first, and why?
#
# <details><summary>Answer</summary>
#
# Features and a linear model. It takes seconds, needs no learning rate, and gives you a baseline. With few faces every
# way can learn them by heart; a small `C` holds the linear model back.
#
# </details>

# %% [markdown]
# **5.** In FerNet's matrix for FER2013, which two emotions are mistaken for each other most often, in both directions?
# Why is a single accuracy blind to that?
#
# <details><summary>Answer</summary>
#
# Sad and neutral: 118 sad faces are called neutral, 69 neutral ones sad. Fear and sad follow, with 89 and 54.
# Accuracy counts only the diagonal: it is the same whether fear is taken for sad or for happy.
#
# </details>

# %% [markdown]
# ## Further reading
#
# - J. Yosinski et al., *How transferable are features in deep neural networks?*,
#   NeurIPS 2014.
# - M. Tan and Q. V. Le, *EfficientNet: Rethinking model scaling for convolutional neural networks*, ICML 2019.
# - K. He et al., *Rethinking ImageNet pre-training*, ICCV 2019.
# - J. Howard and S. Ruder, *Universal language model fine-tuning for text classification*, ACL 2018 (a rate for
#   each layer).
