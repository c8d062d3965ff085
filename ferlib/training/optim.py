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
from ferlib.training.config import TrainConfig, require


def choose_precision(model: nn.Module, device: torch.device) -> str:
    """Choose the fastest precision that is safe for a network on a device.

    On a GPU this is bf16 where the GPU has it, else fp16. On a CPU it is bf16 only with AVX512-BF16 and without
    depthwise convolutions, which bf16 slows down (`benchmarks/precision.py`).

    Args:
        model: the network.
        device: where it runs.

    Returns:
        "fp32", "bf16" or "fp16".

    >>> choose_precision(nn.Linear(4, 2), torch.device("mps"))
    'fp32'
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu":
        return "fp32"
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in model.modules())
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native and not depthwise else "fp32"


def supports(device: torch.device, precision: str) -> bool:
    """Return whether a device can compute in a precision.

    Args:
        device: where a network runs; a CPU may be slow in bf16, and a GPU must not emulate it.
        precision: "fp32", "bf16" or "fp16".
    """
    if device.type == "cuda":
        return precision != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "fp32" or (precision == "bf16" and device.type == "cpu")


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer of a network's trainable parameters.

    Vectors (biases, normalisation layers) get no weight decay. Each part in `config.lr_scales` has parameter groups
    with its name; all other parameters are in the groups "rest". A frozen part keeps its groups, with a warning.

    Args:
        model: a network or a `FaceModel`.
        config: gives optimizer, lr, weight_decay, momentum and lr_scales.

    Returns:
        A torch optimizer.

    Raises:
        ValueError: the network lacks a part of `lr_scales`, or no parameter is trainable.

    >>> optimizer = build_optimizer(nn.Linear(4, 2), TrainConfig(lr=0.1))
    >>> [(group["name"], group["weight_decay"]) for group in optimizer.param_groups]
    [('rest', 0.05), ('rest', 0.0)]
    """
    network, scales = unwrap(model), dict(config.lr_scales)
    trainable = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    for part in scales:
        inside = [value for name, value in trainable.items() if is_within(name, part)]
        require(inside, f"lr_scales names {part!r}, which the model does not have")
        if not any(inside):
            warnings.warn(f"{part} has a learning rate but is frozen: its weights will not change", stacklevel=3)
    require(any(trainable.values()), "no parameter is trainable; train a part: ferlib.models.freeze(model, [part])")
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        part = max((part for part in scales if is_within(name, part)), key=len, default="rest")
        if part == "rest" and not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1
        decay = config.weight_decay if decays else 0.0
        group = {"name": part, "params": [], "lr": config.lr * scales.get(part, 1.0), "weight_decay": decay}
        groups.setdefault((part, decays), group)["params"].append(parameter)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups.values(), config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    adam = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    # One pass over all weights: on a CPU a network of many small layers trains faster. Not tried on a GPU.
    return adam(groups.values(), config.lr, fused=next(network.parameters()).device.type == "cpu")


def lr_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Compute the share of the highest learning rate at a step.

    `linear` and `cosine` rise linearly during `warmup`, then fall to zero. `onecycle` equals torch's `OneCycleLR`
    (Smith 2018, https://arxiv.org/abs/1803.09820): cosines from 1/25 up and then down to 4e-6, with constant momentum.

    Args:
        step: number of the step, from 0.
        steps: number of steps in the run.
        config: gives schedule and warmup.

    Returns:
        A number from 0 to 1.

    >>> [lr_factor(step, 4, TrainConfig(schedule="linear", warmup=0.0)) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
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
    """Compute class weights n / (k n_c), which give all classes the same weight.

    Args:
        dataset: a `FaceDataset`, or a map-style dataset of (tensor, label). Soft labels count as hard ones.

    Returns:
        float32 (k,); 0 for a class without a face.

    >>> from ferlib import data
    >>> faces = data.FaceDataset.from_arrays(np.zeros((4, 8, 8), np.uint8), [0, 0, 0, 1], classes=("open", "shut"))
    >>> class_weights(faces)
    tensor([0.6667, 2.0000])
    """
    counts = np.bincount(_hard_labels(dataset), minlength=len(classes_of(dataset) or ()))
    present = counts > 0
    weights = np.divide(counts.sum(), present.sum() * counts, out=np.zeros(len(counts)), where=present)
    return torch.tensor(weights, dtype=torch.float32)


def _hard_labels(dataset: Any) -> np.ndarray:
    """Return the class indices of a dataset; if it has no list of them, take each sample once."""
    labels = labels_of(dataset)
    if labels is None:
        labels = np.array([np.asarray(dataset[i][1]) for i in range(len(dataset))])
    require(labels.ndim == 1, "balance needs class indices, and these labels are soft; give balance='none'")
    return labels.astype(np.int64)


def balance_weights(dataset: Any, config: TrainConfig, classes: int) -> tuple[torch.Tensor | None, list[float] | None]:
    """Compute the weights that `config.balance` asks for.

    Args:
        dataset: as for `class_weights`.
        config: gives balance.
        classes: number of the network's outputs.

    Returns:
        Weights of the classes in the loss, (classes,), and weights of the faces when they are drawn; None for those
        that are not asked for.
    """
    if config.balance == "none":
        return None, None
    weights = class_weights(dataset)
    if config.balance == "sampling":
        return None, weights[torch.from_numpy(_hard_labels(dataset))].tolist()
    return torch.cat([weights, weights.new_zeros(classes - len(weights))]), None
