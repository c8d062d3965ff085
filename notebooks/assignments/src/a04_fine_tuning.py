# %% [markdown]
# # Assignment 4: begin from what is known
#
# Pretrained weights are worth something only if they arrive whole: a first layer that answers as it did, frozen layers
# that stand still, rates that reach the right parameters, steps that are not too long. Each goes wrong without an error
# message. You write five functions that do it right.
#
# **After lesson** 05. **Points:** 25. **Time:** about three hours. PyTorch is needed.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
from torch import nn

print("PyTorch", torch.__version__)

# %% [markdown] nbgrader={"grade": false, "grade_id": "gray_conv_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. A gray first layer (5 points)
#
# ImageNet's networks saw each colour normalised by a mean and sd of its own: red by 0.485 and 0.229, green by 0.456 and
# 0.224, blue by 0.406 and 0.225. FER2013's gray faces are normalised once, by 0.5077 and 0.2550. Lesson 05 summed the
# three colour planes: right where the same numbers stand in all three channels. But the network learned to see a gray
# pixel p as *three* numbers, `(p - means[c]) / sds[c]`.
#
# Write `gray_conv(conv, means, sds, mean, sd)`: from an `nn.Conv2d` with three input channels make a new one with one.
# Given `(p - mean) / sd` it must answer what `conv` answers to those three numbers.

# %% [markdown] nbgrader={"grade": false, "grade_id": "gray_conv_rules", "locked": true, "schema_version": 3, "solution": false, "task": false}
# The layer sees `x = (p - mean) / sd`. Write p by means of x, put it into the three formulas, and collect what is
# multiplied by x, the new weights, and what is left over. The rest goes into the bias, so that the new layer always has
# one, even if `conv` has none.
#
# `mean` and `sd` are numbers, `means` and `sds` lists of three. Stride, padding and dilation are those of `conv`, and
# `conv` itself stays as it was. (Where zeros are padded the two layers cannot agree, for a zero stands for another gray
# in each. Everywhere else they do.)


# %% nbgrader={"grade": false, "grade_id": "gray_conv", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gray_conv(conv, means, sds, mean, sd):
    """A new Conv2d (1 channel in) that answers (p - mean) / sd as `conv` (3 in) answers (p - means) / sds."""
    ### BEGIN SOLUTION
    means, sds = (torch.tensor(each).view(1, 3, 1, 1) for each in (means, sds))
    shape = (conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    gray = nn.Conv2d(1, *shape)
    with torch.no_grad():
        gray.weight.copy_((conv.weight * sd / sds).sum(1, keepdim=True))
        gray.bias.copy_((conv.weight * (mean - means) / sds).sum((1, 2, 3)))
        if conv.bias is not None:
            gray.bias += conv.bias
    return gray
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gray_conv_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
means, sds = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]
conv = nn.Conv2d(3, 1, 1, bias=False)
conv.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
gray = gray_conv(conv, means, sds, 0.5, 0.2)
assert gray.weight.shape == (1, 1, 1, 1), "filters, 1, height, width: the channel axis stays"
weight = gray.weight.item()
assert weight not in (1.0, 2.0), "one plane alone, or the mean of the three, answers far too weakly"
assert weight != 6.0, "the plain sum is right only if the three channels hold the same numbers"
assert same(weight, 9), "1 * 0.2/0.2 + 2 * 0.2/0.2 + 3 * 0.2/0.1"
assert gray.bias is not None, "what is left over needs a bias"
assert same(gray.bias.item(), 7), "1 * 0/0.2 + 2 * 0.1/0.2 + 3 * 0.2/0.1"
# The pixel 0.6 is 0.5, 1 and 3 to the colour layer, 0.5 to the gray one: 1*0.5 + 2*1 + 3*3 = 9*0.5 + 7

conv = nn.Conv2d(3, 2, 3, stride=2)
conv.weight = nn.Parameter(torch.linspace(-1, 1, 54).view(2, 3, 3, 3))
conv.bias = nn.Parameter(torch.tensor([0.5, -0.5]))
before = conv.weight.detach().clone()
gray = gray_conv(conv, means, sds, 0.51, 0.26)
p = torch.linspace(0, 1, 49).view(1, 1, 7, 7)
colours = (p - torch.tensor(means).view(1, 3, 1, 1)) / torch.tensor(sds).view(1, 3, 1, 1)
assert torch.equal(conv.weight, before), "the colour layer stays as it was"
assert gray.stride == (2, 2), "stride, padding and dilation are those of conv"
assert torch.allclose(gray((p - 0.51) / 0.26), conv(colours), atol=1e-4), (
    "conv's own bias counts, too"
)
assert gray.weight.requires_grad, "the new layer has to be able to learn"


# %% nbgrader={"grade": true, "grade_id": "gray_conv_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other layers here, made by `tried`.
def tried(weight, bias, means, sds, mean, sd, picture, settings):
    conv = nn.Conv2d(3, len(weight), len(weight[0][0]), bias=bias is not None, **dict(settings))
    conv.weight = nn.Parameter(torch.tensor(weight))
    if bias is not None:
        conv.bias = nn.Parameter(torch.tensor(bias))
    gray = gray_conv(conv, means, sds, mean, sd)
    answer = gray((torch.tensor(picture)[None, None] - mean) / sd)
    own = conv.weight.tolist(), None if conv.bias is None else conv.bias.tolist()
    return gray.weight.tolist(), gray.bias.tolist(), answer.tolist(), own


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "freeze_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. Frozen means still (5 points)
#
# A frozen network moves on: in training mode BatchNorm renews its statistics with every batch, gradient or not.
#
# Write `freeze(model, trainable)`, which changes the model in place. `trainable` lists module names as
# `model.named_modules()` gives them, such as `"head"` or `"layer1.0"`.
#
# - Parameters in these modules learn, all others do not (`requires_grad`). What is in a module begins with its name and
#   a dot: `layer10.weight` is not in `layer1`, `layer1.fc.weight` not in `fc`.
# - All modules go into training mode, except each `nn.BatchNorm2d` that is neither named nor in a named module: it goes
#   into evaluation mode, uses its statistics and leaves them alone.
# - Called again, only the new names count.


# %% nbgrader={"grade": false, "grade_id": "freeze", "locked": false, "schema_version": 3, "solution": true, "task": false}
def freeze(model, trainable):
    """Let only the modules named in `trainable` (a list) learn; all other BatchNorm2d stands still. In place."""

    ### BEGIN SOLUTION
    def learns(name):
        return any(f"{name}.".startswith(f"{part}.") for part in trainable)

    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = learns(name)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not learns(name):
            module.eval()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "freeze_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def block():
    conv = nn.Conv2d(1, 1, 1)
    nn.init.ones_(conv.weight)
    nn.init.ones_(conv.bias)
    return nn.Sequential(conv, nn.BatchNorm2d(1))


model = nn.Sequential()
for name in ("stem", "layer1", "layer10", "head"):
    model.add_module(name, block())
model.layer10.add_module("head", nn.Conv2d(1, 1, 1))
freeze(model, ["layer1", "head"])
learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
assert "layer10.head.weight" not in learning, (
    "head is not layer10.head: names begin at the beginning"
)
assert "layer10.0.weight" not in learning, "layer10 is not in layer1: mind the dot"
assert "stem.0.bias" not in learning, "biases are parameters, too"
due = {
    f"{name}.{end}"
    for name in ("layer1.0", "layer1.1", "head.0", "head.1")
    for end in ("weight", "bias")
}
assert learning == due, "all that is in the named modules, and nothing else"

model(torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1))
assert model.stem[1].running_mean.item() == 0, (
    "a frozen BatchNorm moved: evaluation mode keeps it still"
)
assert model.layer1[1].running_mean.item() != 0, "a BatchNorm that learns has to move on"
freeze(model, ["layer10"])
assert model.layer10[0].weight.requires_grad, "a second call lets layer10 learn"
assert not model.head[0].weight.requires_grad, "and the names of the first call no longer count"
assert model.layer10[1].training and not model.layer1[1].training


# %% nbgrader={"grade": true, "grade_id": "freeze_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets a model with other names, in which every convolution adds 1.
def tried(names, calls, batch):
    model = nn.Sequential()
    for name in names:
        place = model
        for part in name.split("."):
            if part not in dict(place.named_children()):
                place.add_module(part, nn.Sequential())
            place = dict(place.named_children())[part]
        place.add_module("conv", nn.Conv2d(1, 1, 1))
        place.add_module("norm", nn.BatchNorm2d(1))
        nn.init.ones_(place.conv.weight)
        nn.init.ones_(place.conv.bias)
    model.eval()
    seen = []
    for trainable in calls:
        freeze(model, trainable)
        answer = model(torch.tensor(batch).view(-1, 1, 1, 1)).flatten().tolist()
        learning = sorted(name for name, one in model.named_parameters() if one.requires_grad)
        norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
        modes = [one.training for one in model.modules()]
        seen.append((learning, modes, [one.running_mean.item() for one in norms], answer))
    return seen


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "param_groups_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 3. A rate for the head, a rate for the body (5 points)
#
# A new head begins with random weights and needs long steps; the body knows something and needs short ones. Weight
# decay is for weights: a bias or a scale need not be small.
#
# Write `param_groups(model, head, body_lr, head_lr, weight_decay)`. Return a list of dictionaries for an optimiser,
# each with `"params"`, a list of parameters, `"lr"` and `"weight_decay"`.
#
# - What is in the module named `head` ("in" as above) gets `head_lr`, all else `body_lr`.
# - Parameters of fewer than two axes (biases, what normalisation learns) decay by 0, others by `weight_decay`.
# - Each parameter that learns is in one group, once; a frozen one in none.


# %% nbgrader={"grade": false, "grade_id": "param_groups", "locked": false, "schema_version": 3, "solution": true, "task": false}
def param_groups(model, head, body_lr, head_lr, weight_decay):
    """Groups for an optimiser, dictionaries with "params", "lr" and "weight_decay", in any number and order."""
    ### BEGIN SOLUTION
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = head_lr if name.startswith(f"{head}.") else body_lr
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    return [
        {"params": held, "lr": lr, "weight_decay": decay} for (lr, decay), held in groups.items()
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "param_groups_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
model = nn.Module()
model.conv = nn.Conv2d(1, 2, 3)
model.bn = nn.BatchNorm2d(2)
model.body = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
model.fc_old = nn.Linear(2, 2)
model.fc = nn.Linear(2, 7)
model.conv.weight.requires_grad = False
groups = param_groups(model, "fc", 0.01, 0.1, 0.05)
held = [id(parameter) for group in groups for parameter in group["params"]]
assert len(held) == len(set(held)), "a parameter in two groups is stepped twice (PyTorch refuses)"
got = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
assert id(model.conv.weight) not in got, "conv.weight is frozen"
assert id(model.conv.bias) in got, "conv.bias is not"
assert id(model.fc.weight) in got, "the head is lost: nothing would learn in it"
assert got[id(model.fc.weight)] == (0.1, 0.05), "the head's weights: its own rate, and decay"
assert got[id(model.fc.bias)] == (0.1, 0), "its bias: the same rate, no decay"
assert got[id(model.fc_old.weight)] == (0.01, 0.05), "fc_old is not in fc: mind the dot"
assert got[id(model.bn.weight)] == (0.01, 0), "what BatchNorm learns does not decay"
assert got[id(model.body[1].weight)] == (0.01, 0), (
    "nor LayerNorm, called body.1.weight: count the axes"
)
assert len(got) == 11


# %% nbgrader={"grade": true, "grade_id": "param_groups_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other models here. A layer is a linear one or a BatchNorm, by its kind.
def tried(layers, frozen, head, body_lr, head_lr, weight_decay):
    model = nn.Sequential()
    for name, kind in layers:
        *parts, last = name.split(".")
        place = model
        for part in parts:
            if part not in dict(place.named_children()):
                place.add_module(part, nn.Sequential())
            place = dict(place.named_children())[part]
        place.add_module(last, nn.BatchNorm1d(2) if kind == "norm" else nn.Linear(2, 2))
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name not in frozen
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = param_groups(model, head, body_lr, head_lr, weight_decay)
    rows = [
        (names[id(p)], float(g["lr"]), float(g["weight_decay"]))
        for g in groups
        for p in g["params"]
    ]
    return sorted(rows)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "one_cycle_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 4. Up, and down to the end (5 points)
#
# One-cycle raises the rate along half a cosine to its peak, then lowers it along another. It changes at every
# *step*, not once an epoch.
#
# Write `one_cycle(epochs, batches, warmup, peak, first, last)`: a list of the rates of all steps of a run, in order.
# Each epoch has `batches` steps.
#
# - Step 0 has `first`, step number `warmup` has `peak`, the very last step exactly `last`.
# - From a to b, a share t of the way, the rate is `a + (b - a) * (1 - cos(pi * t)) / 2`.
# - If `warmup` is 0, step 0 has `peak`. (It is below the last step's number.)


# %% nbgrader={"grade": false, "grade_id": "one_cycle", "locked": false, "schema_version": 3, "solution": true, "task": false}
def one_cycle(epochs, batches, warmup, peak, first, last):
    """Learning rates of all steps, a list: from `first` to `peak` at step `warmup`, to `last` at the last step."""

    ### BEGIN SOLUTION
    def between(a, b, share):
        return a + (b - a) * (1 - math.cos(math.pi * share)) / 2

    end = epochs * batches - 1
    rise = [between(first, peak, step / warmup) for step in range(warmup)]
    return rise + [
        between(peak, last, (step - warmup) / (end - warmup)) for step in range(warmup, end + 1)
    ]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "one_cycle_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
rates = [float(rate) for rate in one_cycle(3, 4, 4, peak=1.0, first=0.2, last=0.05)]
assert len(rates) == 12, "a rate for each step, not for each epoch"
assert rates[0] != rates[1], "the rate changes within an epoch"
assert same(rates[0], 0.2), "the first step has the first rate"
assert same(rates[4], 1.0), "step 4, counted from 0, has the peak"
assert same(rates[11], 0.05), "step 11 is the last: it has the last rate, not nearly"
assert same(rates[2], 0.6), "step 2 is halfway up: between 0.2 and 1"
assert same(rates[1], 0.2 + 0.8 * (1 - math.cos(math.pi / 4)) / 2), "a cosine up, no straight line"
assert same(rates[6], 1 - 0.95 * (1 - math.cos(math.pi * 2 / 7)) / 2), "and a cosine down, 7 steps"
assert same(one_cycle(1, 4, 0, peak=1.0, first=0.2, last=0.0)[0], 1.0), (
    "no warm-up: begins at the peak"
)


# %% nbgrader={"grade": true, "grade_id": "one_cycle_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other runs here.
def tried(epochs, batches, warmup, peak, first, last):
    return [float(rate) for rate in one_cycle(epochs, batches, warmup, peak, first, last)]


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "clip_by_norm_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 5. No step too long (5 points)
#
# One strange batch can throw good weights away. Clipping shortens the gradient and leaves its direction alone.
#
# Write `clip_by_norm(parameters, max_norm)`. Take the gradients of all parameters as *one* long vector; its norm is
# the root of the sum of all squares. If it is above `max_norm`, multiply each gradient by `max_norm / norm`, in place:
# `parameter.grad` changes. If not, leave all as it is. Return the norm from before.
#
# A parameter whose `grad` is None is passed over. `parameters` may be `model.parameters()`, which can be walked through
# only once.


# %% nbgrader={"grade": false, "grade_id": "clip_by_norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clip_by_norm(parameters, max_norm):
    """Scale the gradients, in place, so that their common norm is at most `max_norm`; the norm from before."""
    ### BEGIN SOLUTION
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "clip_by_norm_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def with_gradients(*gradients):
    made = [nn.Parameter(torch.zeros(2)) for _ in gradients]
    for parameter, gradient in zip(made, gradients):
        parameter.grad = None if gradient is None else torch.tensor(gradient)
    return made


made = with_gradients([2.0, 4.0], None, [4.0, 0.0])  # squares 4, 16, 16: the norm is 6
norm = float(clip_by_norm(iter(made), 3.0))
assert same(norm, 6), "the root of the sum of all squares, as it was before"
assert made[0].grad.tolist() != [2.0, 4.0], (
    "in place: parameter.grad has to change (and iter can be used only once)"
)
assert torch.allclose(made[0].grad, torch.tensor([1.0, 2.0])), "all by 3 / 6: the direction stays"
assert torch.allclose(made[2].grad, torch.tensor([2.0, 0.0])), "not each tensor by its own norm"
assert made[1].grad is None

made = with_gradients([0.3, 0.4], [0.0, 0.0])
assert same(float(clip_by_norm(iter(made), 3.0)), 0.5)
assert torch.allclose(made[0].grad, torch.tensor([0.3, 0.4])), (
    "short enough: clipping never makes longer"
)
made = with_gradients([0.0, 0.0])
assert float(clip_by_norm(iter(made), 3.0)) == 0, "a norm of 0 is no reason to stop"
assert made[0].grad.tolist() == [0, 0], "0 / 0 is no gradient"


# %% nbgrader={"grade": true, "grade_id": "clip_by_norm_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other gradients here; None stands for a parameter without one.
def tried(gradients, max_norm):
    made = []
    for gradient in gradients:
        value = None if gradient is None else torch.tensor(gradient)
        made.append(nn.Parameter(torch.zeros(1) if value is None else torch.zeros_like(value)))
        made[-1].grad = value
    norm = float(clip_by_norm(iter(made), max_norm))
    return norm, [None if one.grad is None else one.grad.tolist() for one in made]


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown]
# ## And a network of 473,735 weights
#
# Nothing here is graded. If `ferlib` is installed, your functions fine-tune the model that learned FER2013's
# photographs, its head alone and then all of it, on 280 drawn faces.

# %%
import importlib.util
import os

if importlib.util.find_spec("ferlib") and not os.environ.get("NBGRADER_EXECUTION"):
    from ferlib import data, evaluation, models
    from ferlib.transforms import EvalTransform

    faces = data.load("sample")
    few, judged = faces.subset("Training").subset(np.arange(280)), faces.subset("PublicTest")
    for learns in (["head"], ["stem", "stages", "head"]):
        model = models.load_model("fer2013-small")
        prepare = EvalTransform(model.input_spec)
        freeze(model.network, learns)
        optimizer = torch.optim.AdamW(param_groups(model.network, "head", 0.1, 1.0, 0.05))
        shares = [group["lr"] for group in optimizer.param_groups]
        order = np.random.default_rng(0)
        for rate in one_cycle(10, 14, 42, peak=0.003, first=1e-4, last=1e-6):
            picks = order.integers(0, 280, 20)
            answer = model(prepare(torch.tensor(few.images[picks])[:, None]))
            nn.functional.cross_entropy(answer, torch.tensor(few.labels[picks])).backward()
            clip_by_norm(model.parameters(), 2.0)
            for group, share in zip(optimizer.param_groups, shares):
                group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad()
        said = evaluation.predict(model, judged)
        print(f"{' and '.join(learns)} learn: {said.correct.mean():.1%} of the drawn test faces")
