"""The settings of a training run."""

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

RULES = (  # settings, their type, the test that a value must pass, and that test in words
    (("epochs", "batch_size", "patience"), int, lambda value: value >= 1, "a whole number of at least 1"),
    (("workers", "seed"), int, lambda value: value >= 0, "a whole number of at least 0"),
    (("lr", "weight_decay", "mixup", "cutmix"), int | float, lambda value: value >= 0, "a number of at least 0"),
    (("clip_norm", "distill_temperature"), int | float, lambda value: value > 0, "a number above 0"),
    (("momentum", "warmup", "label_smoothing", "ema", "distill"), int | float, lambda value: 0 <= value < 1,
     "a number from 0 up to 1, without 1"),
)  # fmt: skip
OPTIONAL = ("clip_norm", "ema", "patience")  # these may be None


def require(condition: object, message: str) -> None:
    """Raise `ValueError` unless a condition holds.

    Args:
        condition: what must be true.
        message: what was given, what is allowed, and the next step.
    """
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hold the settings of `fit`.

    An epoch is one pass over the training set. The comments beside the fields give units and sources.

    Raises:
        ValueError: a setting is outside its range.

    >>> TrainConfig(epochs=5, lr=1e-3).schedule
    'linear'
    """

    epochs: int = 20
    batch_size: int = 128  # faces, over all processes
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 0.003  # highest learning rate of the run
    weight_decay: float = 0.05  # not applied to biases and normalisation layers
    momentum: float = 0.9  # Nesterov momentum, for sgd only
    lr_scales: tuple[tuple[str, float], ...] = ()  # parts of the model and their share of lr: (("conv1", 0.1),)
    schedule: Literal["linear", "onecycle", "cosine", "plateau", "constant"] = "linear"
    warmup: float = 0.15  # share of the steps, for linear, onecycle and cosine
    clip_norm: float | None = 2.0  # largest norm of the whole gradient; None does not clip
    label_smoothing: float = 0.1
    balance: Literal["none", "loss", "sampling"] = "none"  # more weight for rare classes
    mixup: float = 0.0  # alpha of the Beta that blends pairs of faces (Zhang et al. 2018); 0 for none
    cutmix: float = 0.0  # alpha of the Beta that pastes a box of another face (Yun et al. 2019); 0 for none
    distill: float = 0.0  # share of the loss that compares with a teacher's probabilities (Hinton et al. 2015)
    distill_temperature: float = 2.0  # divides the logits of both models in that loss
    progressive: tuple[int, float] | None = None  # (36, 0.5): faces of 36 px for the first half of the epochs
    freeze_bn: bool = True  # BatchNorm of frozen parts keeps its statistics
    ema: float | None = None  # decay a step of the averaged weights, which are validated and kept
    patience: int | None = None  # epochs without a better validation accuracy before the run stops
    keep: Literal["last", "best"] = "last"  # epoch whose weights the model keeps; best by validation accuracy
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    workers: int = 0  # processes that load batches; they only speed up transforms of single faces
    compile: bool = False  # torch.compile: slow to start, then faster on a GPU
    seed: int = 0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(TrainConfig).items():
            if get_origin(hint) is Literal:
                value, choices = getattr(self, name), get_args(hint)
                require(value in choices, f"{name} is {value!r}; allowed are {', '.join(choices)}")
        for names, kind, is_valid, words in RULES:
            for name in names:
                value = getattr(self, name)
                if value is not None or name not in OPTIONAL:
                    require(isinstance(value, kind) and is_valid(value), f"{name} is {value!r}; it must be {words}")
        if self.progressive is not None:
            size, share = self.progressive
            require(size >= 1 and 0 < share < 1, f"progressive is {self.progressive}; give (pixels, share of epochs)")
        even = self.batch_size % 2 == 0 or not (self.mixup or self.cutmix)
        require(even, f"batch_size is {self.batch_size}; mixup and cutmix need an even one")
