"""The parts of one training run, and one epoch of it."""

import math
import os
import time
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast, set_seed
from torch import nn
from tqdm.auto import tqdm

from ferlib.data import loader
from ferlib.models.face_model import FaceModel, check_outputs, unwrap
from ferlib.models.feed import Feed
from ferlib.models.networks import memory_format
from ferlib.training.config import TrainConfig, require
from ferlib.training.loop import train_one_epoch, validate
from ferlib.training.optim import balance_weights, build_optimizer, choose_precision, lr_factor

HISTORY = ("epoch", "images_seen", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


class Run:
    """Hold the parts of one `fit`, which are saved and resumed together.

    Args:
        model: a `FaceModel` or a network.
        train: the training data as the network receives it.
        val: the validation data as the network receives it.
        config: the settings.
        teacher: the model to learn from, or None.
    """

    def __init__(self, model: nn.Module, train: Feed, val: Feed, config: TrainConfig, teacher: nn.Module | None):
        self.config, self.train, self.val = config, train, val
        self.accelerator = _build_accelerator(config)
        device, network = self.accelerator.device, unwrap(model)
        self.classes = check_outputs(network, train.shape, train.classes)
        self.set_precision(choose_precision(network, device) if config.precision == "auto" else config.precision)
        self.network = network.to(device)
        if isinstance(model, FaceModel) and model.architecture is not None and device.type != "mps":
            # Not on "mps", where BatchNorm has crashed, and not for networks that ferlib does not know.
            self.network = self.network.to(memory_format=memory_format(self.network))
        self.teacher = None if teacher is None else teacher.to(device).eval()
        self.optimizer = build_optimizer(self.network, config)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=2)
        self.weights, draws = balance_weights(train.dataset, config, self.classes)
        batches = loader(train.dataset, config.batch_size, shuffle=True, workers=config.workers, weights=draws)
        self.sampling_generator = getattr(batches.sampler, "generator", None) if draws else None
        val_size = config.batch_size * math.ceil(256 / config.batch_size)
        val_batches = loader(val.dataset, val_size, workers=config.workers)
        self.model, self.train_batches, self.val_batches = self.accelerator.prepare(self.network, batches, val_batches)
        self.ema = None
        if config.ema:
            from timm.utils import ModelEmaV3

            self.ema = ModelEmaV3(self.network, decay=config.ema, use_warmup=True)
        self.eval_network = self.network if self.ema is None else self.ema.module
        self.stop_requested = False
        self.bar = tqdm(disable=True)  # of the steps; `fit` shows one
        self.step = 0  # steps of the optimizer so far
        self.history: list[dict[str, float]] = []
        self.kept_weights: dict[str, torch.Tensor] = {}

    def set_precision(self, precision: str) -> None:
        """Set the precision of the steps to come, and the scaler that "fp16" needs."""
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=precision == "fp16")

    def epochs_since_best(self) -> int:
        """Count the epochs after the first one with the highest validation accuracy."""
        accuracies = [row["val_accuracy"] for row in self.history]
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0

    def kept_epoch(self) -> int:
        """Return the epoch (from 1) whose weights are kept; 0 before the first."""
        return len(self.history) - (self.epochs_since_best() if self.config.keep == "best" else 0)

    def train_epoch(self) -> None:
        """Train and validate for one more epoch, and keep its weights if they are the ones to keep."""
        started, config, epoch, steps = time.perf_counter(), self.config, len(self.history) + 1, len(self.train_batches)
        set_seed(seed_of(config.seed, epoch, self.accelerator.process_index))
        self.train_batches.set_epoch(epoch)
        if self.sampling_generator is not None:
            self.sampling_generator.manual_seed(seed_of(config.seed, epoch))
        self.set_lr()
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        transform: Any = self.train.transform
        if config.progressive and epoch <= config.progressive[1] * config.epochs:
            transform = transform.at(config.progressive[0])
        trained = train_one_epoch(
            self.model, self.train_batches, transform, self.optimizer, self.accelerator, config,
            precision=self.precision, scaler=self.scaler, weights=self.weights, teacher=self.teacher,
            classes=self.classes, after_step=self.after_step,
        )  # fmt: skip
        model = self.model if self.ema is None else self.eval_network
        if self.ema is not None:
            broadcast([*model.buffers()])  # BatchNorm's statistics differ between processes
        val_loss, val_accuracy = validate(
            model, self.val_batches, self.val.transform, self.accelerator, precision=self.precision
        )
        if not math.isfinite(val_loss):  # the last step spoiled the weights, and no training loss shows it
            raise FloatingPointError(f"the validation loss is {val_loss} after batch {steps}")
        if config.schedule == "plateau":
            self.plateau.step(val_loss)
        seconds = time.perf_counter() - started
        figures = (epoch, epoch * steps * config.batch_size, lr, *trained, val_loss, val_accuracy, seconds)
        kept = self.kept_weights
        better = all(val_accuracy > past["val_accuracy"] for past in self.history) or config.keep == "last"
        if better:
            kept = {name: value.detach().cpu().clone() for name, value in self.eval_network.state_dict().items()}
        row = dict(zip(HISTORY, figures, strict=True))
        self.history, self.kept_weights = [*self.history, row], kept  # together: Ctrl-C may come at any moment

    def after_step(self) -> None:
        """Count a step; update the averaged weights and the learning rates; stop if Ctrl-C was pressed."""
        self.step += 1
        self.bar.update()
        if self.ema is not None:
            self.ema.update(self.network, step=self.step)
        self.set_lr()
        if self.stop_requested:
            raise KeyboardInterrupt

    def set_lr(self) -> None:
        """Set each group's learning rate for the next step; the plateau schedule sets it after an epoch."""
        if self.config.schedule != "plateau":
            factor = lr_factor(self.step, len(self.train_batches) * self.config.epochs, self.config)
            for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
                group["lr"] = base_lr * factor


def _build_accelerator(config: TrainConfig) -> Accelerator:
    """Build the accelerator; the user's Accelerate settings change neither precision nor gradients."""
    data_seed = seed_of(config.seed) // 2
    loading = DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=data_seed)
    launched = int(os.environ.get("WORLD_SIZE") or 1)
    if launched == 1:
        os.environ.pop("LOCAL_RANK", None)  # left over from another run, it would make Accelerate look for others
    accelerator = Accelerator(mixed_precision="no", gradient_accumulation_steps=1, dataloader_config=loading)
    joined = launched <= accelerator.num_processes
    require(joined, "the launched processes do not know each other; without GPUs set ACCELERATE_USE_CPU=true")
    step = 2 * accelerator.num_processes if config.mixup or config.cutmix else 1  # timm blends the faces in pairs
    fits = config.batch_size % step == 0
    require(fits, f"batch_size is {config.batch_size}; mixup and cutmix need a multiple of {step}, two a process")
    return accelerator


def seed_of(*parts: int) -> int:
    """Mix numbers such as seed, epoch and process into one 32-bit seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
