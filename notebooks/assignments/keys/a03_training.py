"""For the teacher: hidden cases of a03, drawn anew for each secret, and wrong answers that must lose points."""

import math

import numpy as np
import torch
import torch.nn.functional as F


# ---- cross_entropy
def cases_cross_entropy(rng):
    """Arguments of each hidden case, by its name."""

    def logits(n, k, sd=2.0, mean=0.0):
        return rng.normal(mean, sd, (n, k)).round(2)

    def labels(n, k):
        return rng.integers(0, k, n).tolist()

    def sure(n, k, height):
        """Logits with one of `height` in each row, and labels of which the first two are wrong."""
        winners = rng.integers(0, k, n)
        found = logits(n, k)
        found[np.arange(n), winners] += height
        return found.tolist(), ((winners + [1, 1, *[0] * (n - 2)]) % k).tolist()

    apart = np.concatenate([logits(2, 5, mean=1000.0), logits(2, 5, mean=-1000.0), logits(1, 5)])
    return {
        "logits of seven emotions": (logits(5, 7).tolist(), labels(5, 7), 0.0),
        "as many faces as classes": (logits(4, 4).tolist(), labels(4, 4), 0.0),
        "smoothing of a tenth": (logits(6, 7).tolist(), labels(6, 7), 0.1),
        "more smoothing, three classes": (logits(4, 3).tolist(), labels(4, 3), 0.3),
        "logits of a thousand": (*sure(4, 5, 1000), 0.0),
        "faces far apart": (apart.tolist(), labels(5, 5), 0.0),
        "a thousand and smoothing": (*sure(3, 4, 1000), 0.1),
    }


def cross_entropy__overflows(logits, labels, smoothing=0.0):
    """e to the 1000 is infinite, and infinite by infinite is not a number."""
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    q = np.full(logits.shape, smoothing / logits.shape[1])
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(q * np.log(p)).sum(1).mean())


def cross_entropy__logarithm_of_zero(logits, labels, smoothing=0.0):
    """The softmax is safe, but a probability that became 0 has no logarithm."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    q = np.full(logits.shape, smoothing / logits.shape[1])
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(q * np.log(p)).sum(1).mean())


def cross_entropy__a_little_added(logits, labels, smoothing=0.0):
    """Finite, but sure and wrong costs 27.6, however sure."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    log_p = np.log(e / e.sum(1, keepdims=True) + 1e-12)
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())


def cross_entropy__clipped(logits, labels, smoothing=0.0):
    """Finite, but a logit of 1000 is no longer one."""
    z = np.clip(logits, -50, 50)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())


def cross_entropy__one_maximum_for_all(logits, labels, smoothing=0.0):
    """The largest logit of the whole batch: nothing is left of a face far below it."""
    z = logits - logits.max()
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())


def cross_entropy__wrong_axis(logits, labels, smoothing=0.0):
    """A softmax over the faces."""
    z = logits - logits.max(0)
    log_p = z - np.log(np.exp(z).sum(0))
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())


def cross_entropy__smoothing_over_the_others(logits, labels, smoothing=0.0):
    """The share goes to the K - 1 wrong classes; the right one has a part of it, too."""
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.full(logits.shape, smoothing / (logits.shape[1] - 1))
    q[np.arange(len(labels)), labels] = 1 - smoothing
    return float(-(q * log_p).sum(1).mean())


def cross_entropy__smoothing_too_much(logits, labels, smoothing=0.0):
    """Adds the share without taking it from the right class."""
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    right = log_p[np.arange(len(labels)), labels]
    return float(-(right + smoothing * log_p.mean(1)).mean())


def cross_entropy__smoothing_lost(logits, labels, smoothing=0.0):
    """Takes the share from the right class and gives it to none."""
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    return float(-(1 - smoothing) * log_p[np.arange(len(labels)), labels].mean())


def cross_entropy__no_smoothing(logits, labels, smoothing=0.0):
    """Takes the argument and does nothing with it."""
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels].mean())


def cross_entropy__a_sum(logits, labels, smoothing=0.0):
    """The sum over the faces."""
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).sum())


def cross_entropy__mean_over_classes_too(logits, labels, smoothing=0.0):
    """Divides by n K instead of n."""
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.full(logits.shape, smoothing / logits.shape[1])
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return float(-(q * log_p).mean())


def cross_entropy__softmax_twice(logits, labels, smoothing=0.0):
    """The bug of lesson 03: a softmax of probabilities."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    log_p = p - np.log(np.exp(p).sum(1, keepdims=True))
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())


def cross_entropy__in_bits(logits, labels, smoothing=0.0):
    """Logarithms to base 2."""
    z = logits - logits.max(1, keepdims=True)
    log_p = (z - np.log(np.exp(z).sum(1, keepdims=True))) / np.log(2)
    right = log_p[np.arange(len(labels)), labels]
    return float(-((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())


# ---- train_step
def cases_train_step(rng):
    """Arguments of each hidden case, by its name."""

    def weight():
        return rng.uniform(-1, 1, (3, 2)).round(2).tolist()

    def batches(number, n=4):
        """Batches whose features differ enough for BatchNorm; each holds all three classes."""
        found = []
        for _ in range(number):
            spread = np.linspace(-1.5, 2.5, n)[:, None] + rng.uniform(-0.4, 0.4, (n, 2))
            labels = rng.permutation([0, 1, 2, *rng.integers(0, 3, n - 3)])
            found.append((rng.permuted(spread, axis=0).round(2).tolist(), labels.tolist()))
        return found

    return {
        "the loss of each batch": ("losses", weight(), batches(2), 0.0, 0.0),
        "weights after one step": ("weights", weight(), batches(1, n=5), 0.0, 0.0),
        "weights after three steps": ("weights", weight(), batches(3), 0.0, 0.0),
        "with momentum": ("weights", weight(), batches(3), 0.9, 0.0),
        "gradients left over from before": ("weights", weight(), batches(1), 0.0, 2.0),
        "evaluated before, with BatchNorm": ("mode", weight(), batches(2), 0.0, 0.0),
    }


def train_step__no_zero_grad(model, batch, labels, optimizer):
    """The gradients of all steps add up."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def train_step__eval_mode(model, batch, labels, optimizer):
    """BatchNorm and dropout do what they do when a model is judged."""
    model.eval()
    loss = F.cross_entropy(model(batch), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_step__mode_as_found(model, batch, labels, optimizer):
    """After the first validation the model stays in evaluation mode."""
    loss = F.cross_entropy(model(batch), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_step__train_mode_too_late(model, batch, labels, optimizer):
    """The mode counts when the model is called."""
    loss = F.cross_entropy(model(batch), labels)
    model.train()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_step__step_before_backward(model, batch, labels, optimizer):
    """The optimizer goes along a gradient that is not there yet."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    optimizer.zero_grad()
    optimizer.step()
    loss.backward()
    return loss.item()


def train_step__a_step_late(model, batch, labels, optimizer):
    """Each step goes along the gradient of the batch before."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def train_step__zero_grad_after_backward(model, batch, labels, optimizer):
    """Throws away the gradient before it is used."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def train_step__zero_grad_at_the_end(model, batch, labels, optimizer):
    """What was left over before the first step counts."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def train_step__no_step(model, batch, labels, optimizer):
    """A gradient and nobody who follows it."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def train_step__softmax_twice(model, batch, labels, optimizer):
    """torch's cross-entropy takes the softmax itself."""
    model.train()
    loss = F.cross_entropy(model(batch).softmax(1), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_step__a_sum(model, batch, labels, optimizer):
    """The sum over the faces: a larger batch takes a larger step."""
    model.train()
    loss = F.cross_entropy(model(batch), labels, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item() / len(labels)


def train_step__smoothed(model, batch, labels, optimizer):
    """Smoothing that nobody asked for."""
    model.train()
    loss = F.cross_entropy(model(batch), labels, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_step__loss_after_the_step(model, batch, labels, optimizer):
    """The loss of the weights that have moved already."""
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(batch), labels).backward()
    optimizer.step()
    return F.cross_entropy(model(batch), labels).item()


def train_step__a_tensor(model, batch, labels, optimizer):
    """Keeps the graph of each step as long as its loss is kept."""
    model.train()
    loss = F.cross_entropy(model(batch), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


# ---- epoch_accuracy
def cases_epoch_accuracy(rng):
    """Arguments of each hidden case, by its name."""

    def batch(n, right, k=4):
        """Logits and labels of n faces of which `right` are named right, in any order."""
        logits = (
            np.stack([rng.permutation(k) for _ in range(n)])
            + rng.uniform(-0.3, 0.3, (n, k))
            - rng.integers(0, 4)
        )
        hits = rng.permutation(n) < right
        labels = (logits.argmax(1) + np.where(hits, 0, rng.integers(1, k, n))) % k
        return logits.round(2).tolist(), labels.tolist()

    lucky, unlucky = int(rng.integers(5, 7)), int(rng.integers(1, 3))
    return {
        "a small last batch": ([batch(7, lucky), batch(7, unlucky), batch(2, 2)],),
        "a large last batch": ([batch(2, 0), batch(9, lucky)],),
        "batches of three sizes": ([batch(3, 3), batch(5, unlucky), batch(8, lucky)],),
        "one batch": ([batch(7, lucky)],),
        "as many faces as classes": ([batch(5, 2, k=5), batch(4, 4, k=5), batch(1, 0, k=5)],),
    }


def epoch_accuracy__mean_of_batch_means(batches):
    """Each face of a small batch counts more than the others."""
    return float(np.mean([(z.argmax(1) == y).float().mean().item() for z, y in batches]))


def epoch_accuracy__the_last_batch(batches):
    """Overwrites the figure with each batch."""
    for z, y in batches:
        accuracy = (z.argmax(1) == y).float().mean().item()
    return accuracy


def epoch_accuracy__a_running_mean(batches):
    """A mean of the figure so far and of the batch: the last one counts half."""
    accuracy = 0.0
    for k, (z, y) in enumerate(batches):
        now = (z.argmax(1) == y).float().mean().item()
        accuracy = now if k == 0 else (accuracy + now) / 2
    return accuracy


def epoch_accuracy__size_of_the_first_batch(batches):
    """Takes all batches to be as large as the first."""
    right = sum((z.argmax(1) == y).sum().item() for z, y in batches)
    return right / (len(batches) * len(batches[0][1]))


def epoch_accuracy__divided_by_the_batches(batches):
    """Faces by batches."""
    return sum((z.argmax(1) == y).sum().item() for z, y in batches) / len(batches)


def epoch_accuracy__without_the_last_batch(batches):
    """Leaves out a last batch that is smaller, as a training loader does."""
    full = [pair for pair in batches if len(pair[1]) >= len(batches[0][1])]
    return sum((z.argmax(1) == y).sum().item() for z, y in full) / sum(len(y) for z, y in full)


def epoch_accuracy__percent(batches):
    """From 0 to 100."""
    right = sum((z.argmax(1) == y).sum().item() for z, y in batches)
    return 100 * right / sum(len(y) for z, y in batches)


def epoch_accuracy__a_count(batches):
    """How many, not which share."""
    return sum((z.argmax(1) == y).sum().item() for z, y in batches)


def epoch_accuracy__errors(batches):
    """The share of those that are wrong."""
    wrong = sum((z.argmax(1) != y).sum().item() for z, y in batches)
    return wrong / sum(len(y) for z, y in batches)


def epoch_accuracy__mean_over_classes(batches):
    """Balanced accuracy: each class counts alike, not each face."""
    said = torch.cat([z.argmax(1) for z, y in batches])
    true = torch.cat([y for z, y in batches])
    return float(np.mean([(said[true == k] == k).float().mean().item() for k in true.unique()]))


def epoch_accuracy__wrong_axis(batches):
    """The face with the largest logit of each class."""
    right = sum((z.argmax(0)[: len(y)] == y[: z.shape[1]]).sum().item() for z, y in batches)
    return right / sum(len(y) for z, y in batches)


def epoch_accuracy__above_one_half(batches):
    """Takes logits for probabilities."""
    right = sum((z[torch.arange(len(y)), y] > 0.5).sum().item() for z, y in batches)
    return right / sum(len(y) for z, y in batches)


# ---- early_stop
def cases_early_stop(rng):
    """Arguments of each hidden case, by its name; None stands for NaN."""

    def falling(n, high, low):
        """Losses that fall from epoch to epoch."""
        return np.sort(rng.uniform(low, high, n).round(3))[::-1].tolist()

    def above(n, low):
        """Losses above `low`, in any order."""
        return rng.uniform(low + 0.05, low + 0.6, n).round(3).tolist()

    a, b, c = (int(rng.integers(low, low + 2)) for low in (2, 3, 3))
    first, then = falling(a, 2.0, 1.5), falling(2, 1.4, 1.0)
    equal = falling(b, 1.9, 1.2)
    up_and_down = [then[-1] + 0.3, then[-1] + 0.5, then[-1] + 0.2, then[-1] + 0.4, then[-1] + 0.1]
    after_equal = [equal[-1], *above(1, equal[-1]), equal[-1]]
    return {
        "a rest, and then the end": (
            [*first, *above(c - 1, 2.0), *then, *above(c, 1.4), 0.5, 0.4],
            c,
        ),
        "it never stops": (
            [*falling(b, 2.0, 1.5), *above(1, 2.0), *falling(a, 1.4, 1.0), *above(1, 1.4)],
            2,
        ),
        "ups and downs above the best": ([*first, *then, *np.round(up_and_down, 3).tolist()], 5),
        "equal losses": ([*equal, *after_equal, 0.5], 3),
        "no patience": ([*falling(a + 1, 2.0, 1.5), *above(1, 2.0), 0.3], 1),
        "NaN on the way": ([*first, None, *then, None, *above(1, 1.4), None, 0.2], 3),
        "NaN at first": ([None, *falling(b, 1.9, 1.2), *above(2, 1.9), 0.1], 2),
        "nothing but NaN": ([None] * (b + 2), b),
    }


def early_stop__an_epoch_late(losses, patience):
    """Waits until there are more bad epochs than the patience."""
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        if epoch - (best or 0) > patience:
            break
    return best, epoch


def early_stop__an_epoch_early(losses, patience):
    """Counts the best epoch among those that bring nothing."""
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        elif epoch - (best or 0) + 1 >= patience:
            break
    return best, epoch


def early_stop__counted_from_0(losses, patience):
    """Positions in the list, not epochs."""
    best, lowest, bad = None, math.inf, 0
    for epoch, loss in enumerate(losses):
        bad += 1
        if loss < lowest:
            best, lowest, bad = epoch, loss, 0
        if bad == patience:
            break
    return best, epoch


def early_stop__the_last_of_equals(losses, patience):
    """An equal loss passes for a new best."""
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss <= lowest:
            best, lowest = epoch, loss
        if epoch - (best or 0) == patience:
            break
    return best, epoch


def early_stop__keeps_the_last(losses, patience):
    """Keeps the weights that training stopped with."""
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        if epoch - (best or 0) == patience:
            break
    return (best and epoch), epoch


def early_stop__looks_ahead(losses, patience):
    """The best of all epochs, those after the stop included."""
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        if epoch - (best or 0) == patience:
            break
    numbers = [loss for loss in losses if not math.isnan(loss)]
    return (losses.index(min(numbers)) + 1 if numbers else None), epoch


def early_stop__nan_is_the_least(losses, patience):
    """NumPy's argmin says where the first NaN is."""
    bad, lowest = 0, math.inf
    for epoch, loss in enumerate(losses, 1):
        bad = 0 if loss < lowest else bad + 1
        lowest = min(lowest, loss)
        if bad == patience:
            break
    return int(np.argmin(losses[:epoch])) + 1, epoch


def early_stop__nan_at_first_stays(losses, patience):
    """Nothing is lower than NaN, so that a first NaN is never beaten."""
    best, lowest = 1, losses[0]
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        if epoch - best == patience:
            break
    return best, epoch


def early_stop__nan_is_no_epoch(losses, patience):
    """Steps over NaN, which then costs no patience."""
    best, lowest, bad = None, math.inf, 0
    for epoch, loss in enumerate(losses, 1):
        if math.isnan(loss):
            continue
        bad += 1
        if loss < lowest:
            best, lowest, bad = epoch, loss, 0
        if bad == patience:
            break
    return best, epoch


def early_stop__nan_ends_it(losses, patience):
    """Stops at the first NaN, whatever the patience."""
    best, lowest = None, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        if math.isnan(loss) or epoch - (best or 0) == patience:
            break
    return best, epoch


def early_stop__never_forgives(losses, patience):
    """Bad epochs add up over the run, though a new best came between."""
    best, lowest, bad = None, math.inf, 0
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        else:
            bad += 1
        if bad == patience:
            break
    return best, epoch


def early_stop__better_than_the_one_before(losses, patience):
    """Patience begins anew with each epoch that is better than its neighbour."""
    best, lowest, before, bad = None, math.inf, math.inf, 0
    for epoch, loss in enumerate(losses, 1):
        bad = 0 if loss < before else bad + 1
        before = loss
        if loss < lowest:
            best, lowest = epoch, loss
        if bad == patience:
            break
    return best, epoch


def early_stop__epoch_0(losses, patience):
    """0 where there is no best epoch."""
    best, lowest = 0, math.inf
    for epoch, loss in enumerate(losses, 1):
        if loss < lowest:
            best, lowest = epoch, loss
        if epoch - best == patience:
            break
    return best, epoch
