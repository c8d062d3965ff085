"""How a model learns: the settings of a run, its optimiser, its learning rates, the weights of its classes."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ferlib.data import classes_of, labels_of
from ferlib.models import is_within, unwrap

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("linear", "onecycle", "cosine", "plateau", "constant")
BALANCES = ("none", "loss", "sampling")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that `fit` can be told, by keyword. An epoch is one pass over the training set.

    >>> TrainConfig(epochs=5, lr=1e-3).schedule
    'linear'
    """

    epochs: int = 20
    batch_size: int = 128  # faces, over all processes
    optimizer: str = "adamw"
    lr: float = 0.003  # the highest of the run
    weight_decay: float = 0.05  # not on biases and normalisation layers
    momentum: float = 0.9  # sgd only, Nesterov's
    lr_scales: tuple[tuple[str, float], ...] = ()  # parts of the model and their share of lr, as ("conv1", 0.1)
    schedule: str = "linear"
    warmup: float = 0.15  # share of the steps, for linear, onecycle and cosine
    clip_norm: float | None = 2.0  # of the whole gradient
    label_smoothing: float = 0.1
    balance: str = "none"  # against rare classes: "loss" weighs their faces up, "sampling" draws them more often
    mixup: float = 0.0  # alpha of the Beta that blends pairs of faces (Zhang et al. 2018); 0 for none
    cutmix: float = 0.0  # alpha of the Beta that pastes a box of another face (Yun et al. 2019); with mixup, either
    distill: float = 0.0  # share of the loss that asks for a teacher's probabilities (Hinton et al. 2015)
    distill_temperature: float = 2.0  # by which both sides' logits are divided for it
    progressive: tuple[int, float] | None = None  # (36, 0.5): faces of 36 px for the first half of the epochs
    freeze_bn: bool = True  # BatchNorm of frozen parts keeps its statistics; False lets them move
    ema: float | None = None  # decay a step of the averaged weights that are validated and kept
    patience: int | None = None  # epochs without a better validation accuracy before stopping
    keep: str = "last"  # which epoch's weights to give back: "last", or "best" by validation accuracy
    precision: str = "auto"
    workers: int = 0  # loader processes; they only help per-image transforms
    compile: bool = False  # torch.compile: slow to start, then faster on a GPU
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("balance", BALANCES),
            ("precision", PRECISIONS),
            ("keep", ("last", "best")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}")
        least_of = {"epochs": 1, "batch_size": 1, "patience": 1, "lr": 0, "weight_decay": 0, "workers": 0, "seed": 0,
                    "mixup": 0, "cutmix": 0}  # fmt: skip
        for name, value in vars(self).items():
            if isinstance(value, str) and name not in ("optimizer", "schedule", "balance", "precision", "keep"):
                raise ValueError(f"{name} is {value!r}; it must be a number")
            if value is None and name not in ("clip_norm", "progressive", "ema", "patience"):
                raise ValueError(f"{name} is None; it must be a number")
        for name, least in least_of.items():
            if getattr(self, name) is not None and not getattr(self, name) >= least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("warmup", "label_smoothing", "momentum", "ema", "distill"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed are 0 up to, not including, 1")
        whole = ("epochs", "batch_size", "patience", "workers", "seed")
        for name in (name for name in whole if not isinstance(getattr(self, name), int | None)):
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a whole number")
        if self.progressive and not (self.progressive[0] >= 1 and 0 < self.progressive[1] < 1):
            raise ValueError(f"progressive is {self.progressive}; it is a size in pixels and a share between 0 and 1")
        if not self.distill_temperature > 0:
            raise ValueError(f"distill_temperature is {self.distill_temperature}; it must be above 0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}; it must be above 0, or None not to clip")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise ValueError(f"batch_size is {self.batch_size}; mixup and cutmix need an even one")


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
