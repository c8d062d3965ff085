"""Optimizer, learning-rate schedule, class weights and precision."""

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from ferlib.data import classes_of, labels_of
from ferlib.models.build import is_within
from ferlib.models.face_model import unwrap
from ferlib.training.config import TrainConfig


def choose_precision(model: nn.Module, device: torch.device) -> str:
    """`"bf16"`, `"fp16"` or `"fp32"`: the fastest that is safe for this model on this machine, by rule.

    On a GPU bf16 where it is native, else fp16. On a CPU bf16 only with AVX512-BF16 and without depthwise convolutions,
    which it slows down (`benchmarks/precision.py`).
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in model.modules())
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native and not depthwise else "fp32"


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser over a network's trainable parameters, without weight decay on vectors (biases, normalisation).

    Each part in `lr_scales` has groups of its own, named after it; all else is `"rest"`. A part that is frozen keeps
    its group, in which nothing moves, with a warning; one that the model lacks is a `ValueError`.
    """
    model, scales = unwrap(model), dict(config.lr_scales)
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        part = max((part for part in scales if is_within(name, part)), key=len, default="rest")
        if part == "rest" and not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1
        decay = config.weight_decay if decays else 0.0
        group = {"name": part, "params": [], "lr": config.lr * scales.get(part, 1.0), "weight_decay": decay}
        groups.setdefault((part, decays), group)["params"].append(parameter)
    parameters = dict(model.named_parameters())
    for part in scales:
        held = [parameter for name, parameter in parameters.items() if is_within(name, part)]
        if not held:
            raise ValueError(f"lr_scales names {part!r}, which the model does not have")
        if not any(parameter.requires_grad for parameter in held):
            warnings.warn(f"{part} has a learning rate but is frozen: nothing of it will move", stacklevel=3)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError(
            "nothing of the model is trainable; let a part of it train: ferlib.models.freeze(model, [part])"
        )
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups.values(), config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    return (torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam)(groups.values(), config.lr)


def lr_factor(step: int, steps: int, config: TrainConfig) -> float:
    """The share (0 to 1) of the highest learning rate that step `step` of `steps` uses.

    `linear` and `cosine` rise linearly over `warmup` of the steps, then fall to zero. `onecycle` is that of torch's
    `OneCycleLR` (after Smith, arXiv 1803.09820), cosines from 1/25 up and down to 4e-6, momentum left as it is.
    """
    if config.schedule in ("constant", "plateau"):
        return 1.0
    rise = config.warmup * steps
    if config.schedule == "onecycle":
        top, end = rise - 1, steps - 1
        low, share = (1 / 25, step / top if top > 0 else 1.0) if step <= top else (4e-6, (end - step) / (end - top))
        return low + (1 - low) * (1 - math.cos(math.pi * share)) / 2
    if step < rise:
        return (step + 1) / (rise + 1)
    rest = (step - rise) / max(1, steps - rise)  # from 0 to 1
    return 1 - rest if config.schedule == "linear" else (1 + math.cos(math.pi * rest)) / 2


def class_weights(dataset: Any) -> torch.Tensor:
    """Class weights n / (k n_c), float32 (k,), that give all classes the same weight; 0 for a class without a face.

    dataset: a `FaceDataset`, or any map-style dataset of (tensor, label); its soft labels count by their shares.
    """
    targets = getattr(dataset, "targets", None)
    if isinstance(targets, np.ndarray) and targets.ndim == 2:
        shares = targets.sum(0)
    else:
        shares = np.bincount(_labels(dataset), minlength=len(classes_of(dataset) or ()))
    present = shares > 0
    weights = np.divide(shares.sum(), present.sum() * shares, out=np.zeros(len(shares)), where=present)
    return torch.tensor(weights, dtype=torch.float32)


def _labels(dataset: Any) -> np.ndarray:
    """The labels of any data set; where it does not tell them, each sample is taken once."""
    labels = labels_of(dataset)
    if labels is not None:
        return labels
    taken = [dataset[i][1] for i in range(len(dataset))]
    if any(np.ndim(label) for label in taken):
        raise ValueError("balance needs class indices, and these labels are soft; give hard ones, or balance='none'")
    return np.array([int(label) for label in taken])


def balance_weights(dataset: Any, config: TrainConfig, classes: int) -> tuple[torch.Tensor | None, list[float] | None]:
    """What `config.balance` asks for: the weights of the classes in the loss, or of the faces in the drawing."""
    if config.balance == "none":
        return None, None
    weights = class_weights(dataset)
    if config.balance == "sampling":
        return None, weights[torch.from_numpy(_labels(dataset))].tolist()
    return torch.cat([weights, weights.new_zeros(classes - len(weights))]), None
