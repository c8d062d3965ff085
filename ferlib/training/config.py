"""The settings of a training run."""

from dataclasses import dataclass

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
