# %% [markdown]
# # Assignment 3: training
#
# A training loop has few lines, and nearly each of them can be wrong without an error: the network learns all the
# same, only worse. You write four parts: the loss, the step, the figure that tells how an epoch went, and the rule that
# ends a run.
#
# **After lesson** 03. **Points:** 20. **Time:** about two and a half hours. NumPy and PyTorch are needed; no GPU.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% nbgrader={"grade": false, "grade_id": "imports", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import torch.nn.functional as F

# %% [markdown] nbgrader={"grade": false, "grade_id": "cross_entropy_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. The loss (5 points)
#
# Write `cross_entropy(logits, labels, smoothing=0.0)` in NumPy, for float logits (n, K) and integer labels (n,).
#
# The softmax over the K logits of a face gives its probabilities p. *Label smoothing* s asks for q: s / K of every
# class, and 1 - s on top for the right one, as torch does. The face loses the sum over all classes of -q ln p. Return
# the mean over the faces, a float.
#
# It must come out right for logits of 1000 and -1000, where e to the 1000 overflows and ln 0 is infinite. A softmax
# stays the same if one number is taken from all logits of a face.


# %% nbgrader={"grade": false, "grade_id": "cross_entropy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cross_entropy(logits, labels, smoothing=0.0):
    """Mean cross-entropy, a float, of logits (n, K) for labels (n,), smoothed over all K classes."""
    ### BEGIN SOLUTION
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(axis=1)).mean())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cross_entropy_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
loss = cross_entropy(np.zeros((2, 7)), np.array([0, 6]))
assert abs(loss - 1.9459) < 1e-4, "to know nothing costs ln 7 a face; take the mean, not the sum"
logits = np.array([[np.log(3.0), 0.0], [0.0, np.log(7.0)]])  # p: 3/4 and 1/4; 1/8 and 7/8
loss = cross_entropy(logits, np.array([0, 0]))
assert isinstance(loss, float), "one float for all faces"
assert abs(loss - 1.1836) < 1e-4, "(-ln 3/4 - ln 1/8) / 2: a softmax over classes, not over faces"
loss = cross_entropy(logits[:1], np.array([0]), smoothing=0.2)
assert abs(loss - 0.5074) > 1e-4, "0.2 is shared by both classes, not given to the wrong one alone"
assert abs(loss - 0.3975) < 1e-4, "q is 0.9 and 0.1: -0.9 ln 3/4 - 0.1 ln 1/4"
assert abs(cross_entropy(np.array([[1000.0, 0.0]]), np.array([0]))) < 1e-4, "sure and right costs 0"
loss = cross_entropy(np.array([[1000.0, 0.0]]), np.array([1]))
assert abs(loss - 1000) < 0.1, "sure and wrong costs 1000: never take ln of a p that became 0"
loss = cross_entropy(np.array([[1000.0, 1000.0], [-1000.0, -1000.0]]), np.array([0, 1]))
assert abs(loss - 0.6931) < 1e-4, (
    "two equal logits cost ln 2; each face has a largest logit of its own"
)


# %% nbgrader={"grade": true, "grade_id": "cross_entropy_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other logits and labels here.
def tried(logits, labels, smoothing):
    return cross_entropy(np.array(logits, float), np.array(labels), smoothing)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "train_step_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. The step (5 points)
#
# Predict, measure the loss, follow its slope downhill a little. Write `train_step(model, batch, labels, optimizer)` in
# PyTorch. `model(batch)` gives logits (n, K), `labels` are int64 (n,), and `optimizer` holds the model's weights.
#
# Put the model into training mode, whatever mode it is in, and leave it there. Call it once on the batch. Take one step
# of the optimizer along the gradient of the batch's mean cross-entropy, without smoothing; gradients that are left over
# from earlier, even from before your first call, do not count. Return the loss before the weights moved, as a Python
# float: a tensor would keep the whole graph in memory.


# %% nbgrader={"grade": false, "grade_id": "train_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train_step(model, batch, labels, optimizer):
    """One step in training mode on a batch (n, ...) with labels (n,); its loss before the step, a float."""
    ### BEGIN SOLUTION
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "train_step_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
model = torch.nn.Linear(1, 2, bias=False)
_ = torch.nn.init.zeros_(model.weight)
model.weight.grad = torch.ones(2, 1)  # left over from somewhere
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
batch, labels = torch.ones(2, 1), torch.tensor([0, 0])  # two equal faces, each the number 1
loss = train_step(model, batch, labels, optimizer)
assert isinstance(loss, float), "a Python float, not a tensor: .item() makes one"
assert abs(loss - 0.6931) < 1e-3, "two equal logits cost ln 2, before the step"
weights = model.weight.detach().flatten().tolist()
assert weights != [0, 0], "the weights stood still: zero_grad, then backward, then step"
assert abs(weights[0] + 0.5) > 1e-3, "what was left over counts: zero_grad before backward"
assert abs(weights[0] - 1.0) > 1e-3, "the mean over the two faces, not the sum"
assert abs(weights[0] - 0.5) < 1e-3, (
    "the slope is p - 1 = -0.5 and the rate 1; hand over logits, not p"
)
assert abs(weights[1] + 0.5) < 1e-3, "the other slope is 0.5"
loss = train_step(model, batch, labels, optimizer)
assert abs(loss - 0.3133) < 1e-3, "now p is e / (1 + e), the loss ln(1 + 1/e)"
weights = model.weight.detach().flatten().tolist()
assert abs(weights[0] - 1.2689) > 1e-3, "the first step's gradient counts again: zero_grad"
assert abs(weights[0] - 0.7689) < 1e-3, "0.5 and 1 - p = 0.2689"

model = torch.nn.Sequential(torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 2)).eval()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
train_step(model, torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]), optimizer)
assert model.training, "after an evaluation the model is in eval mode: a step begins with train()"
assert abs(model[0].running_mean.item() - 0.1) < 1e-3, (
    "BatchNorm adds a tenth of the batch's mean, 1, to its own, once, if the model is called in train mode"
)


# %% nbgrader={"grade": true, "grade_id": "train_step_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, `tried` makes other models here, calls your function once a batch, and looks at one thing.
def tried(looked_at, weight, batches, momentum, left_over):
    weight = torch.tensor(weight)  # (K, features)
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data = weight
    linear.weight.grad = torch.full_like(weight, left_over)
    model = torch.nn.Sequential(linear)
    if looked_at == "mode":
        norm = torch.nn.BatchNorm1d(weight.shape[1], affine=False)
        model = torch.nn.Sequential(norm, linear).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=momentum)
    losses = [train_step(model, torch.tensor(x), torch.tensor(y), optimizer) for x, y in batches]
    if looked_at == "losses":
        return [losses, all(isinstance(loss, float) for loss in losses)]
    if looked_at == "mode":
        return [linear.weight.tolist(), norm.running_mean.tolist(), model.training]
    return linear.weight.tolist()


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "epoch_accuracy_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 3. How the epoch went (5 points)
#
# FER2013's `PublicTest` holds 3,589 faces: 112 batches of 32, and a last one of 5. In a mean of the batches' accuracies
# each of those five counts as much as 6.4 of the others.
#
# Write `epoch_accuracy(batches)`. `batches` is a list of pairs `(logits, labels)` of torch tensors: floats (n, K) and
# int64 (n,), where n differs between batches. Return the share of all faces whose largest logit is that of their label,
# a float from 0 to 1. Each face counts alike. There is at least one face in each batch, and no two logits of a face are
# equal.


# %% nbgrader={"grade": false, "grade_id": "epoch_accuracy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def epoch_accuracy(batches):
    """Share, 0 to 1, of all faces that are right in a list of pairs of logits (n, K) and labels (n,)."""
    ### BEGIN SOLUTION
    right = sum((logits.argmax(dim=1) == labels).sum().item() for logits, labels in batches)
    return right / sum(len(labels) for _, labels in batches)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "epoch_accuracy_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 5.0], [4.0, 3.0, -1.0]])
first = (logits, torch.tensor([0, 1, 2, 1]))  # three of four are right
last = (torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([2]))  # a batch of one, wrong
found = epoch_accuracy([first])
assert abs(found - 0.75) < 1e-4, (
    "a share of the faces; the largest logit of each row, not of each column"
)
found = epoch_accuracy([first, last])
assert abs(found - 0.375) > 1e-4, (
    "a mean of batch means: the one face of the last batch counts four times"
)
assert abs(found - 0.6) < 1e-4, "three of five faces are right"
assert abs(epoch_accuracy([last, first, first]) - 6 / 9) < 1e-4, "batches of any size, in any order"


# %% nbgrader={"grade": true, "grade_id": "epoch_accuracy_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other batches here, turned into tensors by `tried`.
def tried(batches):
    return epoch_accuracy(
        [(torch.tensor(logits), torch.tensor(labels)) for logits, labels in batches]
    )


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "early_stop_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 4. When to stop, and what to keep (5 points)
#
# Early stopping ends a run when its *patience* is over, and keeps the best epoch.
#
# Write `early_stop(losses, patience)`. `losses` lists the validation losses of epochs 1, 2, ..., at least one, finite
# or NaN, as if nothing stopped training. An epoch is a *new best* if its loss is lower than all numbers before it; the
# first number is one, NaN never. Training stops after the first epoch that ends `patience` (1 or more) epochs in a row
# without a new best, else after the last.
#
# Return `(best, stop)`, counted from 1: the last new best up to `stop`, `None` without any, and the epoch after which
# training stops.


# %% nbgrader={"grade": false, "grade_id": "early_stop", "locked": false, "schema_version": 3, "solution": true, "task": false}
def early_stop(losses, patience):
    """The best epoch, or None, and the epoch after which training stops, both counted from 1."""
    ### BEGIN SOLUTION
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, start=1):
        if loss < lowest:  # never true of NaN
            best, lowest = epoch, loss
        if epoch - (best or 0) == patience:
            break
    return best, epoch
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "early_stop_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
losses = [1.9, 1.7, 1.8, 1.6, 1.65, 1.7, 1.9, 1.5]
best, stop = early_stop(losses, patience=3)
assert stop == 7, "epochs 5, 6 and 7 are three in a row without a new best; epochs count from 1"
assert best == 4, "1.6; the 1.5 of epoch 8 is never seen, and epoch 7 is not the one to keep"
best, stop = early_stop(losses, patience=2)
assert (best, stop) == (4, 6), "epoch 3 is one without a new best; then the counting begins anew"
best, stop = early_stop([2.0, 1.0, 1.5, 1.2, 1.1], patience=3)
assert (best, stop) == (2, 5), "better than the epoch before is not yet a new best"
best, stop = early_stop([3.0, 2.0, 1.0], patience=1)
assert (best, stop) == (3, 3), "patience is never over: the last epoch"
best, stop = early_stop([1.0, 1.0, 1.0, 0.5], patience=2)
assert (best, stop) == (1, 3), "an equal loss is no new best: the earliest is kept"
best, stop = early_stop([math.nan, 2.0, math.nan, 1.5], patience=2)
assert (best, stop) == (4, 4), (
    "NaN is never best, even as the first; one NaN is one epoch without a new best"
)
best, stop = early_stop([math.nan, math.nan, 1.0], patience=2)
assert (best, stop) == (None, 2), "NaN counts toward the patience; no number so far, no best epoch"


# %% nbgrader={"grade": true, "grade_id": "early_stop_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other losses here, None in place of NaN.
def tried(losses, patience):
    return early_stop([math.nan if loss is None else loss for loss in losses], patience)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown]
# ## And on a whole dataset
#
# Nothing here is graded. If `ferlib` is installed, your functions train the small network of lesson 03 on the 2,800
# drawn faces of `Training`, in well under a minute on a laptop.

# %%
import importlib.util
import os

if importlib.util.find_spec("ferlib") and not os.environ.get("NBGRADER_EXECUTION"):
    from ferlib import data, models
    from ferlib.transforms import EvalTransform

    faces = data.load("sample")
    learned, judged = faces.subset("Training"), faces.subset("PublicTest")
    torch.manual_seed(0)
    shape = {"widths": (16, 32, 64, 96), "depths": (0, 0, 0), "drop_rate": 0.0}
    network = models.build_model("fernet", **shape)
    prepare = EvalTransform(network.input_spec)
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for epoch in range(1, 6):
        for images, labels in data.loader(learned, 32, shuffle=True):
            train_step(network, prepare(images), labels, adam)
        network.eval()
        with torch.no_grad():
            pairs = data.loader(judged, 256, shuffle=False)
            found = [(network(prepare(images)), labels) for images, labels in pairs]
        logits, labels = (torch.cat(parts).numpy() for parts in zip(*found))
        losses.append(cross_entropy(logits, labels))
        print(f"epoch {epoch}: loss {losses[-1]:.3f}, accuracy {epoch_accuracy(found):.1%}")
    print("best epoch, and the one after which a patience of 2 stops:", *early_stop(losses, 2))
