"""Learning-rate finder: train a copy of the network while the rate grows, and watch the loss."""

import copy
import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from ferlib.data import loader
from ferlib.models.face_model import check_outputs, unwrap
from ferlib.models.feed import BatchTransform
from ferlib.training.config import TrainConfig, require
from ferlib.training.loop import train_one_epoch
from ferlib.training.optim import balance_weights, build_optimizer
from ferlib.training.run import seed_of
from ferlib.training.trainer import check_run


def find_lr(
    model: nn.Module, train_set: Any, config: TrainConfig, *, train_transform: BatchTransform | None = None,
    low: float = 1e-5, high: float = 1.0, steps: int = 100,
) -> pd.DataFrame:  # fmt: skip
    """Find how the loss depends on the learning rate.

    A copy of the model is trained in fp32, without a teacher, while its learning rate grows from step to step. The
    search ends early when the smoothed loss is three times its lowest value. Seeds the global random numbers.

    Args:
        model: a `FaceModel` or a network; it stays as it is.
        train_set: as for `fit`.
        config: the settings of the planned run.
        train_transform: as for `fit`.
        low: the first learning rate.
        high: the last learning rate.
        steps: number of steps.

    Returns:
        One row a step: lr, loss, and smoothed (a running mean of the loss).

    Raises:
        ValueError: the limits are not 0 < low < high, or model, data and settings do not fit each other.

    Source: Smith 2017, https://arxiv.org/abs/1506.01186.

    >>> from ferlib import data, models
    >>> faces = data.load("sample").subset("Training").subset(range(128))
    >>> table = find_lr(models.build_model("plain_cnn"), faces, TrainConfig(batch_size=16), steps=3)
    >>> list(table)
    ['lr', 'loss', 'smoothed']
    """
    limits = f"low {low}, high {high}, steps {steps}"
    require(0 < low < high and steps >= 2, f"{limits}: give 0 < low < high and at least 2 steps")
    config = dataclasses.replace(config, lr=1.0, distill=0.0)
    train = check_run(model, train_set, config, train_transform, None)
    accelerator = Accelerator(mixed_precision="no")
    set_seed(seed_of(config.seed))
    network = copy.deepcopy(unwrap(model)).to(accelerator.device)
    classes = check_outputs(network, train.shape, train.classes)
    optimizer = build_optimizer(network, config)
    shares = [group["lr"] for group in optimizer.param_groups]
    weights, draws = balance_weights(train.dataset, config, classes)
    batches = loader(train.dataset, config.batch_size, shuffle=True, weights=draws)
    repeated = itertools.chain.from_iterable(itertools.repeat(batches))
    rows: list[dict[str, float]] = []
    mean = 0.0
    for lr, batch in zip(np.geomspace(low, high, steps).tolist(), repeated, strict=False):
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = lr * share
        batch = [part.to(accelerator.device) for part in batch]
        try:
            loss, _ = train_one_epoch(
                network, [batch], train.transform, optimizer, accelerator, config, weights=weights, classes=classes
            )
        except FloatingPointError:
            loss = math.inf
        mean = 0.9 * mean + 0.1 * loss
        rows.append({"lr": lr, "loss": loss, "smoothed": mean / (1 - 0.9 ** (len(rows) + 1))})
        if not rows[-1]["smoothed"] < 3 * min(row["smoothed"] for row in rows):
            break
    return pd.DataFrame(rows)


def suggest_lr(found: pd.DataFrame) -> float:
    """Suggest a learning rate from the table of `find_lr`.

    It is a third of the rate at which the smoothed loss has risen 5% above its lowest value. The curve of small batches
    is flat and noisy, so that its steepest and its lowest point say little.

    Args:
        found: the table of `find_lr`.

    Returns:
        A learning rate.

    Raises:
        ValueError: the loss never fell by 2%, or never rose again.

    >>> suggest_lr(pd.DataFrame({"lr": [0.1, 0.5, 1.5], "smoothed": [3.0, 2.5, 2.7]}))
    0.5
    """
    smoothed = found["smoothed"].to_numpy()
    lowest = int(np.nanargmin(smoothed))
    risen = np.flatnonzero(~(smoothed[lowest:] <= 1.05 * smoothed[lowest]))
    require(len(risen), "the loss never rose again; look at the plot, and try a greater high")
    require(smoothed[lowest] <= 0.98 * smoothed[0], "the loss never fell by 2%; look at the plot, and try a lower low")
    return float(found["lr"].iloc[lowest + risen[0]]) / 3
