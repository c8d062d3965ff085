"""The settings of a training run."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from ferlib.utils import require

RULES = (  # settings, their type, the test that a value must pass, and that test in words
    (("epochs", "batch_size", "patience"), int, lambda value: value >= 1, "a whole number of at least 1"),
    (("workers", "seed"), int, lambda value: value >= 0, "a whole number of at least 0"),
    (("lr", "weight_decay", "mixup", "cutmix"), int | float, lambda value: value >= 0, "a number of at least 0"),
    (("clip_norm", "distill_temperature"), int | float, lambda value: value > 0, "a number above 0"),
    (("momentum", "warmup", "label_smoothing", "ema", "distill"), int | float, lambda value: 0 <= value < 1,
     "a number from 0 up to 1, without 1"),
)  # fmt: skip
OPTIONAL = ("clip_norm", "ema", "patience")  # these may be None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hold the settings of `fit`, all given by keyword.

    Args:
        epochs: passes over the training set.
        batch_size: faces in a step, over all processes.
        optimizer: `"adamw"`, `"adam"` or `"sgd"` (with Nesterov momentum).
        lr: the highest learning rate of the run.
        weight_decay: not applied to biases and normalisation layers.
        momentum: for `"sgd"` only.
        lr_scales: parts of the network and their share of `lr`, such as `(("conv1", 0.1),)`.
        schedule: how the rate falls after the warm-up: `"linear"`, `"onecycle"`, `"cosine"`, `"plateau"` (halved when
            the validation loss stands still) or `"constant"`.
        warmup: share of all steps in which the rate rises, for linear, onecycle and cosine.
        clip_norm: largest norm of the whole gradient; None does not clip.
        label_smoothing: share of each label that is spread over all classes.
        balance: more weight for rare classes, in the `"loss"` or by `"sampling"`.
        mixup: alpha of the Beta distribution that blends pairs of faces (Zhang et al. 2018); 0 for none. As `cutmix`,
            it needs an even `batch_size` in each process.
        cutmix: alpha of the Beta distribution that pastes a box of another face (Yun et al. 2019); 0 for none.
        distill: share of the loss that compares with a teacher's probabilities (Hinton et al. 2015).
        distill_temperature: divides the logits of both models in that loss.
        progressive: `(36, 0.5)` trains on faces of 36 px for the first half of the epochs; the share is from 0 to 1.
        freeze_bn: whether BatchNorm layers of frozen parts keep their statistics.
        ema: decay per step of averaged weights, which are then validated and kept (such as 0.998); None for none.
        patience: epochs without a better validation accuracy before the run stops; None never stops.
        keep: the epoch whose weights the model ends with: `"last"`, or `"best"` by validation accuracy.
        precision: `"fp32"`, `"bf16"`, `"fp16"`, or `"auto"` for what the device is fast at.
        workers: processes that load batches. They only speed up transforms of single faces.
        seed: of the order of faces, augmentation, dropout and mixing.

    Raises:
        ValueError: a setting is outside its range.

    >>> TrainConfig(epochs=5, lr=1e-3).schedule
    'linear'
    """

    epochs: int = 20
    batch_size: int = 128
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 0.003
    weight_decay: float = 0.05
    momentum: float = 0.9
    lr_scales: tuple[tuple[str, float], ...] = ()
    schedule: Literal["linear", "onecycle", "cosine", "plateau", "constant"] = "linear"
    warmup: float = 0.15
    clip_norm: float | None = 2.0
    label_smoothing: float = 0.1
    balance: Literal["none", "loss", "sampling"] = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    distill: float = 0.0
    distill_temperature: float = 2.0
    progressive: tuple[int, float] | None = None
    freeze_bn: bool = True
    ema: float | None = None
    patience: int | None = None
    keep: Literal["last", "best"] = "last"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(TrainConfig).items():
            object.__setattr__(self, name, plain(getattr(self, name)))
            if get_origin(hint) is Literal:
                value, choices = getattr(self, name), get_args(hint)
                require(value in choices, f"{name} is {value!r}; allowed are {', '.join(choices)}")
        for names, kind, is_valid, words in RULES:
            for name in names:
                value = getattr(self, name)
                if value is not None or name not in OPTIONAL:
                    require(isinstance(value, kind) and is_valid(value), f"{name} is {value!r}; it must be {words}")
        if self.progressive is not None:
            given = self.progressive if isinstance(self.progressive, tuple) else ()
            fits = len(given) == 2 and isinstance(given[0], int) and given[0] >= 1 and isinstance(given[1], int | float)
            fits = fits and 0 <= given[1] <= 1
            require(fits, f"progressive is {self.progressive!r}; it must be a size in px and a share of the epochs, "
                    "0 to 1, such as (36, 0.5)")  # fmt: skip
        even = self.batch_size % 2 == 0 or not (self.mixup or self.cutmix)
        require(even, f"batch_size is {self.batch_size}; mixup and cutmix need an even one")


def plain(value: Any) -> Any:
    """Return a setting without NumPy's numbers, which a state file could not give back, and lists as tuples."""
    if isinstance(value, tuple | list):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value
