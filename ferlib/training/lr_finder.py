"""Which learning rate? Try all of them on a copy of the model, one a step, and watch the loss."""

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
from ferlib.training.config import TrainConfig
from ferlib.training.loop import train_one_epoch
from ferlib.training.optim import balance_weights, build_optimizer
from ferlib.training.run import check_run, seed_of


def find_lr(
    model: nn.Module,
    train_set: Any,
    config: TrainConfig,
    *,
    train_transform: BatchTransform | None = None,
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 100,
) -> pd.DataFrame:
    """The learning-rate finder: train a copy of a model while its rate grows from `low` to `high`, and watch the loss.

    Returns one row a step: lr, loss, and `smoothed` (a running mean of the loss). Ends early once that is thrice its
    least. In fp32 and without a teacher; reseeds the global random numbers, as `fit` does. `suggest_lr` reads it. After
    Smith 2017, arXiv 1506.01186.
    """
    if not 0 < low < high or steps < 2:
        raise ValueError(f"low {low}, high {high}, steps {steps}: give 0 < low < high and at least 2 steps")
    config = dataclasses.replace(config, lr=1.0, distill=0.0)
    fed = check_run(model, train_set, config, train_transform, None)
    accelerator = Accelerator(mixed_precision="no")
    set_seed(seed_of(config.seed))
    device = accelerator.device
    copied = copy.deepcopy(unwrap(model)).to(device)
    classes = check_outputs(copied, fed.shape, fed.classes)
    optimizer = build_optimizer(copied, config)
    shares = [group["lr"] for group in optimizer.param_groups]
    weights, draws = balance_weights(fed.dataset, config, classes)
    weights = None if weights is None else weights.to(device)
    batches = loader(fed.dataset, config.batch_size, shuffle=True, weights=draws)
    repeated = itertools.islice(itertools.chain.from_iterable(itertools.repeat(batches)), steps)
    rows: list[dict[str, float]] = []
    mean = 0.0
    for step, (images, labels) in enumerate(repeated):
        lr = low * (high / low) ** (step / (steps - 1))
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = lr * share
        batch = [(images.to(device), labels.to(device))]
        try:
            loss, _ = train_one_epoch(
                copied, batch, fed.transform, optimizer, accelerator, config, weights=weights, classes=classes
            )
        except FloatingPointError:
            loss = math.nan
        mean = 0.9 * mean + 0.1 * loss
        rows.append({"lr": lr, "loss": loss, "smoothed": mean / (1 - 0.9 ** (step + 1))})
        if not rows[-1]["smoothed"] < 3 * min(row["smoothed"] for row in rows):
            break
    return pd.DataFrame(rows)


def suggest_lr(found: pd.DataFrame) -> float:
    """A third of the rate at which `find_lr`'s smoothed loss has risen 5% above its least.

    The curve of a small batch is flat and noisy for decades, so that its steepest or lowest point says little; where
    the loss takes off says more. Raises `ValueError` if it never fell by 2%, or never took off.
    """
    smoothed = found["smoothed"].to_numpy()
    least = int(smoothed.argmin())
    above = np.flatnonzero(smoothed[least:] > 1.05 * smoothed[least])
    if not len(above) or smoothed[least] > 0.98 * smoothed[0]:
        what = "fell by 2%" if len(above) else "took off"
        raise ValueError(
            f"the loss never {what}, so no rate can be suggested: look at the plot, try other low and high"
        )
    return float(found["lr"].iloc[least + above[0]]) / 3
