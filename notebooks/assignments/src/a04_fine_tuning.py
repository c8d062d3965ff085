# %% [markdown]
# # Assignment 4: fine-tuning
#
# You write the parts of a fine-tuning run: a timm network with a new head, two Albumentations pipelines, freezing and
# its proof, one epoch, and the confusion matrix. Each part can be wrong without an error message.
#
# **After lesson** 05. **Points:** 30. **Time:** about three hours. PyTorch, timm and Albumentations are needed; no GPU
# and no network connection.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import os
from collections import OrderedDict

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import looks for a newer version online
import albumentations as A
import timm
import torch
import torch.nn.functional as F
from albumentations.pytorch import ToTensorV2
from torch import nn


def batchnorms(model):
    """Return the BatchNorm layers of a model by name. (The tests use it.)"""
    return {name: one for name, one in model.named_modules() if isinstance(one, nn.BatchNorm2d)}


def colour_weights(name):
    """Return the weights of a timm network for colour; random ones stand for ImageNet's."""
    torch.manual_seed(0)
    model = timm.create_model(name)
    for norm in batchnorms(model).values():
        norm.running_mean.fill_(0.1)
        norm.running_var.fill_(2.0)
    return model.state_dict()


# %% [markdown] nbgrader={"grade": false, "grade_id": "build_network_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. A new head, a gray first layer (5 points)
#
# ImageNet has three colour channels and 1,000 classes. Our faces are gray, and their classes are fewer.
#
# Write `build_network(name, classes, colour)`. `colour` is the `state_dict()` of the timm network `name`, with
# three channels and 1,000 classes. Return timm's `name` with one input channel and `classes` outputs.
#
# - The first layer's weights are those of `colour`, summed over the three channels. So a gray face gives what it would
#   give in three equal channels.
# - The head is new: it keeps its random weights.
# - All else comes from `colour`, also BatchNorm's statistics.
# - `colour` itself does not change.
#
# `model.pretrained_cfg` names two layers: `"first_conv"` and `"classifier"`, the head.


# %% nbgrader={"grade": false, "grade_id": "build_network", "locked": false, "schema_version": 3, "solution": true, "task": false}
def build_network(name, classes, colour):
    """Build timm's `name` for gray faces, with a new head and the weights of `colour`, a state_dict."""
    ### BEGIN SOLUTION
    model = timm.create_model(name, num_classes=classes, in_chans=1)
    first = model.pretrained_cfg["first_conv"] + ".weight"
    head = model.pretrained_cfg["classifier"] + "."
    body = {key: tensor for key, tensor in colour.items() if not key.startswith(head)}
    body[first] = body[first].sum(dim=1, keepdim=True)
    model.load_state_dict(body, strict=False)  # the head is missing
    return model
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "build_network_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
colour = colour_weights("test_resnet")  # timm's smallest ResNet
given = {key: tensor.clone() for key, tensor in colour.items()}
model = build_network("test_resnet", 7, given)
assert model.fc.weight.shape == (7, 96), "seven classes: num_classes"
first = model.conv1[0].weight
assert first.shape[1] == 1, "one channel: in_chans"
assert all(torch.equal(given[key], colour[key]) for key in colour), "colour changed: copy it"
summed = colour["conv1.0.weight"].sum(1, keepdim=True)
assert not torch.allclose(first, summed / 3, atol=1e-5), "the mean of the channels is too weak"
assert torch.allclose(first, summed, atol=1e-5), "the sum of the three channels, not random weights"
assert torch.equal(model.bn1.running_mean, colour["bn1.running_mean"]), "the statistics, too"
own, new = model.state_dict(), ("conv1.0.weight", "fc.weight", "fc.bias")
assert all(torch.equal(own[key], colour[key]) for key in colour if key not in new)
assert model(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


# %% nbgrader={"grade": true, "grade_id": "build_network_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function builds other networks here.
def tried(name, classes):
    colour = colour_weights(name)
    given = {key: tensor.clone() for key, tensor in colour.items()}
    model = build_network(name, classes, given).eval()
    config, own = model.pretrained_cfg, model.state_dict()
    expected = {key: one for key, one in colour.items() if config["classifier"] not in key}
    first = config["first_conv"] + ".weight"
    expected[first] = colour[first].sum(1, keepdim=True)
    wrong = [key for key in expected if not torch.allclose(own[key], expected[key], atol=1e-5)]
    unchanged = all(torch.equal(given[key], colour[key]) for key in colour)
    head, old = (weights[config["classifier"] + ".weight"] for weights in (own, colour))
    random_head = bool(head.std() > 0) and not torch.equal(head, old[:classes])
    return list(model(torch.zeros(2, 1, 64, 64)).shape), wrong, unchanged, random_head


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "pipelines_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. Two pipelines (5 points)
#
# Training faces change at random, validation faces never. Both end as tensors on the scale that the network expects.
#
# Write `pipelines(size, mean, std)`. Return two `A.Compose`, for training and for validation. They get a gray face,
# `uint8` (height, width), as `pipeline(image=face)["image"]`. They return a `float32` tensor (1, size, size).
#
# - Validation: resize to `size` x `size`, normalise, to tensor. Nothing is random.
# - Training: a horizontal flip of half of the faces, and a random rotation of at most 10 degrees either way. Then the
#   same three steps.
#
# `mean` and `std` are numbers on the scale from 0 to 1. The result is (pixel / 255 - mean) / std.


# %% nbgrader={"grade": false, "grade_id": "pipelines", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pipelines(size, mean, std):
    """Return the pipelines for training and for validation, two `A.Compose`."""
    ### BEGIN SOLUTION
    fixed = [A.Resize(size, size), A.Normalize((mean,), (std,)), ToTensorV2()]
    return A.Compose([A.HorizontalFlip(), A.Rotate((-10, 10)), *fixed]), A.Compose(fixed)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pipelines_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
train, fixed = pipelines(24, 0.5, 0.25)
train.set_random_seed(0)
for name, pipeline in (("training", train), ("validation", fixed)):
    tensor = pipeline(image=np.full((48, 40), 204, np.uint8))["image"]
    assert torch.is_tensor(tensor), f"{name}: a tensor, not an array"
    assert tensor.shape == (1, 24, 24), f"{name}: 1, size, size, also if the face is not square"
    assert tensor.dtype == torch.float32, f"{name}: uint8 is not normalised"
    value = tensor[0, 12, 12].item()
    assert value > -1.9, f"{name}: divided by 255 twice? Normalize does it"
    assert same(value, 1.2), f"{name}: (204 / 255 - 0.5) / 0.25"

quarters = np.array([[250, 150], [100, 0]], np.uint8).repeat(20, 0).repeat(20, 1)
draws = [fixed(image=quarters)["image"] for _ in range(20)]
assert all(torch.equal(draws[0], one) for one in draws), "validation: the same each time"
draws = [train(image=quarters)["image"][0] for _ in range(80)]
assert all(one[:12].mean() > one[12:].mean() + 0.5 for one in draws), "a face stays upright"
level = np.array([[255], [0]], np.uint8).repeat(20, 0).repeat(40, 1)  # white above black
leveled = [train(image=level)["image"][0] for _ in range(80)]
tilts = [(one[:, :12].mean() - one[:, 12:].mean()).item() for one in leveled]
assert max(map(abs, tilts)) < 0.4, "a rotation of at most 10 degrees gives 0.36 here"
assert min(tilts) < -0.03 and max(tilts) > 0.03, "either way"
flipped = sum((one[:, :12].mean() < one[:, 12:].mean()).item() for one in draws)
assert 20 <= flipped <= 60, "about half of the 80 draws are flipped from left to right"
assert len({str(one.tolist()) for one in draws}) > 4, "and some are rotated a little"


# %% nbgrader={"grade": true, "grade_id": "pipelines_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other sizes and numbers here. `tried` looks at one thing.
def tried(looked_at, size, mean, std, shape, grays):
    train, fixed = pipelines(size, mean, std)
    train.set_random_seed(size)
    pipeline, half = (train if "training" in looked_at else fixed), size // 2
    tensors = [pipeline(image=np.full(shape, gray, np.uint8))["image"] for gray in grays]
    if "values" in looked_at:
        framed = np.pad(np.zeros((44, 44), np.uint8), 8, constant_values=255)
        tensors.append(pipeline(image=framed)["image"])
        return [
            (list(one.shape), str(one.dtype), one[0, half, half].item(), one[0, 0, half].item())
            for one in tensors
        ]
    quarters = np.array([[250, 150], [100, 0]], np.uint8).repeat(20, 0).repeat(20, 1)
    draws = [pipeline(image=quarters)["image"][0].float() for _ in range(80)]
    if "rotation" in looked_at:
        upright = all((one[:half].mean() > one[half:].mean() + 0.4).item() for one in draws)
        level = np.array([[255], [0]], np.uint8).repeat(20, 0).repeat(40, 1)
        draws = [pipeline(image=level)["image"][0].float() for _ in range(80)]
        tilts = [255 * std * (one[:, :half].mean() - one[:, half:].mean()).item() for one in draws]
        return upright, max(map(abs, tilts)) < 25.5, min(tilts) < -2, max(tilts) > 2
    flipped = sum((one[:, :half].mean() < one[:, half:].mean()).item() for one in draws)
    return "none" if flipped == 0 else "half" if 20 <= flipped <= 60 else "wrong"


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "freeze_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 3. Freeze a part (5 points)
#
# In training mode, BatchNorm updates its statistics with each batch, also without a gradient.
#
# Write `freeze(model, trainable)`, which changes the model in place. `trainable` lists names as in
# `model.named_modules()`, such as `"fc"` or `"layer1.0"`.
#
# - The parameters in these modules learn; the others do not (`requires_grad`). What is *in* a module has its
#   name and a dot in front. So `layer1.10.bn1` is not in `layer1.1`, and `layer1.0.conv1` is not in `conv1`.
# - All modules go into training mode. The exception is each `nn.BatchNorm2d` that is neither named nor in a named
#   module: it goes into evaluation mode.
# - In a second call, only the new names count.


# %% nbgrader={"grade": false, "grade_id": "freeze", "locked": false, "schema_version": 3, "solution": true, "task": false}
def freeze(model, trainable):
    """Let only the modules named in `trainable` learn; every other BatchNorm2d evaluates. In place."""

    ### BEGIN SOLUTION
    def learns(name):
        return any(f"{name}.".startswith(f"{part}.") for part in trainable)

    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = learns(name)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(learns(name))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "freeze_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def learning(model):
    return {name for name, one in model.named_parameters() if one.requires_grad}


model = timm.create_model("test_resnet", layers=(11, 1, 1, 1), num_classes=7, in_chans=1).eval()
freeze(model, ["layer1.1", "bn1", "fc"])
assert "layer1.0.bn1.weight" not in learning(model), "names begin at the beginning: not in bn1"
assert "layer1.10.conv1.weight" not in learning(model), "not in layer1.1: mind the dot"
block = {f"layer1.1.{one}" for one in ("conv1.weight", "conv2.weight")}
block |= {f"layer1.1.{norm}.{end}" for norm in ("bn1", "bn2") for end in ("weight", "bias")}
expected = block | {"bn1.weight", "bn1.bias", "fc.weight", "fc.bias"}
assert learning(model) == expected, "all that is in the named modules, and nothing else"
assert model.training and model.layer2.training, "dropout needs training mode"
before = {name: norm.running_mean.clone() for name, norm in batchnorms(model).items()}
_ = model(torch.linspace(-1, 1, 4 * 32 * 32).view(4, 1, 32, 32))
norms = batchnorms(model)
updated = {name for name in norms if not torch.equal(before[name], norms[name].running_mean)}
assert "layer2.0.bn1" not in updated, "a frozen BatchNorm moved: it needs evaluation mode"
assert updated == {"bn1", "layer1.1.bn1", "layer1.1.bn2"}, "BatchNorm that learns moves"
freeze(model, ["layer4"])
assert model.layer4[0].conv1.weight.requires_grad, "the second call lets layer4 learn"
assert not model.fc.weight.requires_grad, "the names of the first call no longer count"
assert not model.bn1.training and model.layer4[0].bn1.training, "nor do they for BatchNorm"


# %% nbgrader={"grade": true, "grade_id": "freeze_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other names here.
def tried(calls):
    model = timm.create_model("test_resnet", layers=(11, 1, 1, 1), num_classes=7, in_chans=1)
    model.eval()
    for trainable in calls:
        freeze(model, trainable)
    norms = batchnorms(model)
    return (
        [name for name, one in model.named_parameters() if one.requires_grad],
        [name for name, one in norms.items() if one.training],
        all(one.training for name, one in model.named_modules() if name not in norms),
    )


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "moved_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 4. Prove what moves (5 points)
#
# Is the body really frozen? Do not trust the flags: compare the numbers before and after.
#
# Write `moved(model, step)`. `step()` is a function without arguments, such as one training step. Call it once. Return
# a sorted list of the names in `model.state_dict()` whose tensors it changed. One number that differs is enough.
#
# The `state_dict()` holds the parameters and the statistics of BatchNorm: `running_mean`, `running_var` and
# `num_batches_tracked`. It holds the tensors themselves, not copies.


# %% nbgrader={"grade": false, "grade_id": "moved", "locked": false, "schema_version": 3, "solution": true, "task": false}
def moved(model, step):
    """Call `step()`; return the sorted names of the model's tensors that it changed."""
    ### BEGIN SOLUTION
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step()
    after = model.state_dict()
    return sorted(name for name in before if not torch.equal(before[name], after[name]))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "moved_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
batch, labels = torch.arange(64.0).view(4, 1, 4, 4).sin(), torch.tensor([0, 1, 2, 0])
statistics = ["1.num_batches_tracked", "1.running_mean", "1.running_var"]


def train_head():
    model[:2].requires_grad_(False)
    optimizer = torch.optim.SGD(model[3].parameters(), lr=0.1)
    F.cross_entropy(model(batch), labels).backward()
    optimizer.step()


def swap_biases():
    model[3].bias.data = model[3].bias.data.flip(0)


with torch.no_grad():
    model[3].bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
found = moved(model, train_head)
assert found, "state_dict() gives the tensors themselves: copy them before the step"
assert set(statistics) <= set(found), "no gradient, and BatchNorm moves: it is in training mode"
assert found == [*statistics, "3.bias", "3.weight"], "sorted names; the frozen weights stay"
model.eval()
assert moved(model, lambda: model(batch)) == [], "an evaluation moves nothing"
assert moved(model, swap_biases) == ["3.bias"], "sum and mean are the same, the numbers not"


# %% nbgrader={"grade": true, "grade_id": "moved_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, `step` does other things here to a network with other names.
def tried(names, done, place):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)
    model = nn.Sequential(OrderedDict(zip(names, layers)))
    batch = torch.arange(64.0).view(4, 1, 4, 4).sin()
    if done in ("evaluation", "frozen body"):
        model.eval()

    def step():
        if done == "one number":
            model[3].weight.data[place] += 1
            return
        if done == "other order":
            model[3].weight.data = model[3].weight.data.flip(0)
            return
        learning = model if done == "everything" else model[3]  # what the optimizer gets
        optimizer = torch.optim.SGD(learning.parameters(), lr=0.1)
        loss = F.cross_entropy(model(batch), torch.tensor([0, 1, 2, 0]))
        if done not in ("evaluation", "statistics alone"):
            loss.backward()
            optimizer.step()

    return moved(model, step)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "train_one_epoch_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 5. One epoch (5 points)
#
# Write `train_one_epoch(model, batches, optimizer, schedule)`. `batches` gives pairs of `images` and `labels`, like a
# `DataLoader`. For each batch, in this order:
#
# 1. `model(images)` gives the scores (n, classes). The loss is their mean cross-entropy.
# 2. Clear the old gradients, compute new ones, take a step of the optimizer.
# 3. Take a step of the schedule. `OneCycleLR` and others change the learning rate after each batch.
#
# Return the mean loss over all *faces* of the epoch, a Python float. The last batch may be smaller.
#
# Do not change the mode of any layer: `freeze` has set it. A `model.train()` here would put the frozen BatchNorm back
# into training mode.


# %% nbgrader={"grade": false, "grade_id": "train_one_epoch", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train_one_epoch(model, batches, optimizer, schedule):
    """Train for one epoch, with a schedule's step per batch; return the mean loss over the faces."""
    ### BEGIN SOLUTION
    total, faces = 0.0, 0
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(labels)
        faces += len(labels)
    return total / faces
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "train_one_epoch_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
model = nn.Linear(1, 2, bias=False)
_ = nn.init.zeros_(model.weight)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)  # halves the rate
one = torch.tensor([[1.0]])
batches = [(one.repeat(3, 1), torch.tensor([0, 0, 0])), (one, torch.tensor([0]))]
loss = train_one_epoch(model, batches, optimizer, schedule)
rate = optimizer.param_groups[0]["lr"]
assert rate != 0.5, "the schedule steps after each batch, not after the epoch"
assert same(rate, 0.25), "two batches, two steps of the schedule"
weight = model.weight[0].item()
assert weight != 0, "nothing moved: zero_grad, then backward, then step"
# The slope is p - 1. First p = 0.5: by 1.0 * 0.5. Then p = e / (e + 1) = 0.7311: by 0.5 * 0.2689.
assert not same(weight, 0.8845), "the first gradient counts twice: zero_grad for each batch"
assert same(weight, 0.6345), "first the optimizer's step, then the schedule's"
assert isinstance(loss, float), "a Python float: .item()"
assert not same(loss, 0.5032), "the mean of the two batches: three faces count as one"
assert same(loss, 0.5982), "(3 * 0.6931 + 0.3133) / 4"

model = nn.Sequential(nn.BatchNorm1d(1).eval(), nn.Linear(1, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 1, cycle_momentum=False)
train_one_epoch(model, [(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))], optimizer, schedule)
assert model[0].running_mean.item() == 0, "frozen BatchNorm moved: leave the modes alone"


# %% nbgrader={"grade": true, "grade_id": "train_one_epoch_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, `tried` makes other models and batches here, and looks at one thing.
def tried(looked_at, weight, batches, momentum, gamma):
    linear = nn.Linear(len(weight[0]), len(weight), bias=False)
    linear.weight.data = torch.tensor(weight)
    norm = nn.BatchNorm1d(len(weight[0]), affine=False).eval()
    model = nn.Sequential(norm, linear)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=momentum)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=gamma)
    tensors = [(torch.tensor(faces), torch.tensor(labels)) for faces, labels in batches]
    losses = [train_one_epoch(model, tensors, optimizer, schedule) for _ in range(2)]
    if looked_at == "losses":
        return losses, all(isinstance(loss, float) for loss in losses)
    if looked_at == "modes":
        return model.training, norm.training, norm.running_mean.tolist(), linear.weight.tolist()
    return linear.weight.tolist(), optimizer.param_groups[0]["lr"]


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "confusion_and_recall_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 6. What was each emotion taken for? (5 points)
#
# Accuracy hides which emotions are named right. A confusion matrix shows it.
#
# Write `confusion_and_recall(scores, labels)`. `scores` is a float tensor (n, classes), `labels` an int64 tensor (n,).
# The predicted class of a face is the one with its largest score. Return two things:
#
# - the confusion matrix, counts (classes, classes) as a list of lists or an array. A row for each true class, a column
#   for each predicted one, also for a class that never occurs.
# - the recall of each class, a list: the share of its faces that are named right, `None` for a class without faces.


# %% nbgrader={"grade": false, "grade_id": "confusion_and_recall", "locked": false, "schema_version": 3, "solution": true, "task": false}
def confusion_and_recall(scores, labels):
    """Return the confusion matrix, rows true, and the list of recalls, None for a class without faces."""
    ### BEGIN SOLUTION
    classes = scores.shape[1]
    matrix = np.zeros((classes, classes), int)
    for true, predicted in zip(labels.tolist(), scores.argmax(dim=1).tolist()):
        matrix[true, predicted] += 1
    recalls = [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(matrix)]
    return matrix, recalls
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "confusion_and_recall_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
labels = torch.tensor([0, 0, 0, 0, 1, 2])
predicted = torch.tensor([0, 0, 1, 1, 0, 2])
scores = F.one_hot(predicted, 4).float() * 2 - 1
matrix, recalls = confusion_and_recall(scores, labels)
matrix = np.array(matrix)
assert matrix.shape == (4, 4), "class 3 has a row and a column, too, although it never occurs"
assert matrix.sum() == 6, "six faces, six counts: the same pair twice counts 2"
assert matrix[0].tolist() == [2, 2, 0, 0], "rows are true classes: four faces of class 0"
assert matrix.tolist() == [[2, 2, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
recalls = list(recalls)
assert not same(recalls[0], 2 / 3), "divided by the column, this is precision"
assert recalls[3] is None, "no faces of class 3: no recall, neither 0 nor NaN"
assert same(recalls, [0.5, 0.0, 1.0, None]), "the right ones of a row, divided by the row's sum"
recalls = list(confusion_and_recall(scores[:4], labels[:4])[1])
assert same(recalls, [0.5, None, None, None]), "predicted as 1, but no face is of class 1: None"


# %% nbgrader={"grade": true, "grade_id": "confusion_and_recall_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other scores and labels here, turned into tensors by `tried`.
def tried(scores, labels):
    matrix, recalls = confusion_and_recall(torch.tensor(scores), torch.tensor(labels))
    return matrix, list(recalls)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown]
# ## All of it together
#
# Nothing here is graded. If `ferlib` is installed, your six functions fine-tune EfficientNet-Lite0 from ImageNet's
# weights on 1,000 drawn faces. First the head learns alone for one epoch, then the whole network for three. It takes
# about a minute.

# %%
import importlib.util
from functools import partial

from torch.utils.data import DataLoader

if importlib.util.find_spec("ferlib") and not os.environ.get("NBGRADER_EXECUTION"):
    from ferlib import data, models, protocol

    name, faces = "tf_efficientnet_lite0", data.load("sample")
    donor = models.build_model(name, weights="imagenet", in_chans=3, small_stem=False)
    torch.manual_seed(0)
    model = build_network(name, 7, donor.network.state_dict())
    model.reset_classifier(7)  # smaller random weights: better for a start
    augmented, fixed = pipelines(64, 0.5, 0.5)
    train_set = protocol.take(faces.subset("Training"), 1000).with_transform(augmented)
    val_set = protocol.take(faces.subset("PublicTest"), 500).with_transform(fixed)
    batches = DataLoader(train_set, 40, shuffle=True)

    def train(trainable, lr, epochs):
        optimizer = torch.optim.AdamW(model.parameters(), lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, epochs * len(batches))
        epoch = partial(train_one_epoch, model, batches, optimizer, schedule)
        for _ in range(epochs):
            freeze(model, trainable)
            names = moved(model, lambda: print(f"mean loss {epoch():.2f}"))
            print(len(names), "of", len(model.state_dict()), "tensors moved")

    train(["classifier"], 0.01, epochs=1)
    train([part for part, _ in model.named_children()], 0.001, epochs=3)
    model.eval()
    with torch.no_grad():
        pairs = [(model(images), labels) for images, labels in DataLoader(val_set, 100)]
    matrix, recalls = confusion_and_recall(*map(torch.cat, zip(*pairs)))
    print(np.array(matrix), dict(zip(faces.classes, recalls)), sep="\n")
