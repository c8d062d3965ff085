"""The moving parts of one training run, checked before the first epoch."""

import math
import os
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast, set_seed
from timm.utils import ModelEmaV3
from torch import nn

from ferlib.data import FaceDataset, labels_of, loader
from ferlib.emotions import match_classes
from ferlib.models import FaceModel
from ferlib.models.face_model import check_outputs, check_training_outputs, probabilities, unwrap
from ferlib.models.feed import (
    BatchTransform,
    Feed,
    check_samples,
    check_spec,
    check_values,
    describe_data,
    feed,
    in_all,
    normalizations,
    without_targets,
)  # fmt: skip
from ferlib.models.files import model_hash, rebuildable
from ferlib.training import state
from ferlib.training.config import TrainConfig
from ferlib.training.loop import train_one_epoch, validate
from ferlib.training.optim import balance_weights, build_optimizer, choose_precision, lr_factor
from ferlib.transforms import BatchAugment, InputSpec


def check_run(
    model: nn.Module, train_set: Any, config: TrainConfig, transform: BatchTransform | None, teacher: nn.Module | None
) -> Feed:
    """What the network is trained on; raises `ValueError` for what would fail only in the middle of a run."""
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config is {config!r:.80}; give TrainConfig(epochs=5, lr=1e-3)")
    fed = feed(model, train_set, "train_set", transform=transform)
    check_samples(fed.dataset)
    check_training_outputs(unwrap(model), fed.shape)
    if len(train_set) < config.batch_size:
        few = f"{len(train_set)} training faces are fewer than one batch of {config.batch_size}"
        raise ValueError(f"{few}: lower batch_size (`--batch-size`)")
    if fed.soft and (config.mixup or config.cutmix):
        raise ValueError("mixup and cutmix blend hard labels; these are soft: set both to 0, or draw the labels")
    if probabilities(unwrap(model), fed.shape):
        warnings.warn("the network's outputs are probabilities that sum to 1, and the loss takes logits: it would "
                      "apply softmax twice; take the softmax away", stacklevel=3)  # fmt: skip
    labels = None if fed.soft or fed.classes is None else labels_of(fed.dataset)
    if labels is not None:
        missing = [name for number, name in enumerate(fed.classes or ()) if not (labels == number).any()]
        if missing:
            warnings.warn(f"train_set has no face of {', '.join(missing)}, which the model cannot learn so; add some, "
                          "or load the data with the classes that it has: classes=[...]", stacklevel=3)  # fmt: skip
    if (teacher is None) != (config.distill == 0):
        raise ValueError(
            f"distill is {config.distill}, {'without a' if teacher is None else 'with a'} teacher: give both"
        )
    if isinstance(teacher, FaceModel) and fed.spec is not None and teacher.input_spec != fed.spec:
        raise ValueError(f"the teacher's input is {teacher.input_spec}, the model's {fed.spec}: give equal ones")
    if isinstance(teacher, FaceModel) and not fed.raw:
        check_spec(fed.dataset, fed.shape, teacher.input_spec, "the teacher is given train_set, and train_set")
    if teacher is not None:
        check_outputs(unwrap(teacher), fed.shape, fed.classes)
        if isinstance(teacher, FaceModel) and fed.classes and match_classes(fed.classes, teacher.classes) is not None:
            raise ValueError("the teacher's classes stand in another order than the model's: give equal ones")
    return fed


def kept_as(model: nn.Module, fed: Feed, val: Feed, transform: BatchTransform | None) -> FaceModel:
    """The model as its file will hold it; raises `ValueError` where a bare network's input cannot be told."""
    if isinstance(model, FaceModel):
        return FaceModel(model.network, model.input_spec, model.classes, architecture=model.architecture)
    spec = getattr(transform, "spec", None)
    told = {*normalizations(val.dataset)}
    channels, high, wide = val.shape
    if spec is None and len(told) == 1 and high == wide:
        mean, std = (values[:channels] for values in told.pop())
        spec = InputSpec(high, channels, mean, std) if len(mean) == len(std) == channels else None
    if spec is None or fed.classes is None:
        lacks = "how its faces are normalised" if spec is None else "the names of its classes"
        raise ValueError(
            f"out= keeps the model, and nothing tells {lacks}; wrap the network: FaceModel(network, InputSpec({high}, "
            "mean=(0.5,), std=(0.5,)), classes)"
        )
    for each, role in ((fed, "train_set"), (val, "val_set")):
        if not each.raw:
            check_values(each.dataset, each.values, spec, role)
    return FaceModel(model, spec, fed.classes)


def _named(transform: Any) -> str | None:
    """What a resumed run compares of a transform: all of it where its text says all, else its name."""
    if transform is None:
        return None
    text = repr(transform)
    if not isinstance(transform, types.FunctionType) and " at 0x" not in text:
        return text
    named = transform if hasattr(transform, "__qualname__") else type(transform)
    return f"{named.__module__}.{named.__qualname__}"


class _Run:
    """The moving parts of one `fit`: they are made together, saved together and resumed together."""

    def __init__(
        self, model: nn.Module, fed: Feed, val_set: Any, config: TrainConfig,
        train_transform: BatchTransform | None, teacher: nn.Module | None, out: Path | None,
    ):  # fmt: skip
        self.config, self.out, self.classes = config, out, check_outputs(unwrap(model), fed.shape, fed.classes)
        val = feed(model, without_targets(val_set), "val_set", spec=fed.spec, classes=fed.classes)
        check_samples(val.dataset)
        if fed.shape != val.shape:
            raise ValueError(f"train_set gives faces {fed.shape}, val_set {val.shape}; put the same Resize into both")
        if not (fed.raw or val.raw) and len({*normalizations(fed.dataset), *normalizations(val.dataset)}) > 1:
            raise ValueError("train_set and val_set are normalised by another mean or sd; give both the same Normalize")
        far = abs(fed.values[0] - val.values[0]) > 0.75 * max(fed.values[1], val.values[1])
        if not (fed.raw or val.raw) and (far or not 0.4 <= (fed.values[1] or 1) / (val.values[1] or 1) <= 2.5):
            mine, theirs = (f"mean {mean:.2f} and sd {sd:.2f}" for mean, sd in (fed.values, val.values))
            raise ValueError(f"train_set's faces have {mine}, val_set's {theirs}; give both the same Normalize")
        self.kept_model = None if out is None else kept_as(model, fed, val, train_transform)
        if (kept := self.kept_model) is not None:
            built = rebuildable(kept)  # before the first epoch: what cannot be kept is told now
            if built is None and kept.architecture is not None:
                name = kept.architecture["name"]
                warnings.warn(f"the network is no longer the {name} that build_model made; to load its file give it: "
                              "load_model(path, network=...)", stacklevel=3)  # fmt: skip
            kept.architecture = built
        # Precision and accumulation are ours: the user's Accelerate settings must not change them unseen.
        self.accelerator = Accelerator(
            mixed_precision="no", gradient_accumulation_steps=1,
            dataloader_config=DataLoaderConfiguration(
                split_batches=True, use_seedable_sampler=True, data_seed=seed_of(config.seed) // 2
            ),
        )  # fmt: skip
        device, processes = self.accelerator.device, self.accelerator.num_processes
        if (launched := int(os.environ.get("WORLD_SIZE", 1))) > processes:
            strangers = f"{launched} processes were launched that do not know of each other"
            raise ValueError(f"{strangers}: on a machine without GPUs set ACCELERATE_USE_CPU=true before the launch")
        if config.batch_size % processes:
            uneven = f"batch_size is {config.batch_size}, which {processes} processes cannot share evenly"
            raise ValueError(f"{uneven}: give a multiple of {processes} (`--batch-size`)")
        network = unwrap(model)
        self.precision = choose_precision(network, device) if config.precision == "auto" else config.precision
        if (config.mixup or config.cutmix) and config.batch_size // processes % 2:
            raise ValueError(f"mixup needs an even batch on each of {processes} processes")
        architecture = model.architecture if isinstance(model, FaceModel) else None
        self.made_with = {
            "model": repr(architecture or network), "precision used": self.precision,
            "input": repr(model.input_spec if isinstance(model, FaceModel) else fed.shape),
            "classes": None if fed.classes is None else ", ".join(fed.classes),
            "augmentation": _named(train_transform),
            "per_image": "; ".join(str(_named(each)) for each in in_all(fed.dataset, "transform")) or None,
            "trainable": [name for name, value in network.named_parameters() if value.requires_grad],
            "faces": len(fed.dataset), "labels drawn": any(in_all(fed.dataset, "draw")),  # type: ignore[arg-type]
            "pixels and labels": describe_data(fed.dataset), "validation": describe_data(val.dataset),
            "teacher": None if teacher is None else model_hash(teacher),
        }  # fmt: skip
        self.data_name = getattr(fed.dataset, "name", type(fed.dataset).__name__)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.raw_model = network.to(device)
        # Faster for the networks that ferlib builds. On "mps" its BatchNorm has crashed; on a CPU, the backward pass of
        # some narrow convolutions in torch 2.14: so a stranger's network stays in the format that it came in.
        if device.type != "mps" and architecture is not None:
            self.raw_model = self.raw_model.to(memory_format=torch.channels_last)
        self.eval_transform, self.train_transform = val.transform, fed.transform
        if config.progressive and not isinstance(train_transform, BatchAugment):
            raise ValueError("progressive needs a BatchAugment as train_transform, to draw faces of another size with")
        if config.progressive:
            side = config.progressive[0]
            check_outputs(network, (fed.shape[0], side, side), fed.classes)
        self.teacher = None if teacher is None else teacher.to(device).eval()
        self.optimizer = build_optimizer(self.raw_model, config)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=2)
        weights, draws = balance_weights(fed.dataset, config, self.classes)
        self.weights = None if weights is None else weights.to(device)
        batches = loader(fed.dataset, config.batch_size, shuffle=True, workers=config.workers, weights=draws)
        self.sampling_generator = getattr(batches.sampler, "generator", None) if draws else None
        own = getattr(val.dataset, "transform", None) is not None or not isinstance(val.dataset, FaceDataset)
        self.model, self.train, self.val = self.accelerator.prepare(
            self.raw_model,
            batches,
            loader(
                val.dataset,
                config.batch_size * math.ceil(256 / config.batch_size),
                workers=config.workers if own else 0,
            ),
        )
        if config.compile:
            self.model = torch.compile(self.model)
        self.ema = ModelEmaV3(self.raw_model, decay=config.ema, use_warmup=True) if config.ema else None
        self.eval_model: nn.Module = self.raw_model if self.ema is None else self.ema.module
        if self.kept_model is not None:
            self.kept_model.network = self.eval_model
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.kept: dict[str, torch.Tensor] = {}

    def epochs_since_best(self) -> int:
        accuracies = [row["val_accuracy"] for row in self.history]
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) if accuracies else 0

    def epoch(self, number: int) -> dict[str, float]:
        """Train and validate once, then save; returns the history's new row."""
        began = time.perf_counter()
        set_seed(seed_of(self.config.seed, number, self.accelerator.process_index))
        self.train.set_epoch(number)
        if self.sampling_generator is not None:
            self.sampling_generator.manual_seed(seed_of(self.config.seed, number))
        self.set_lr()
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        transform = self.train_transform
        if self.config.progressive and isinstance(transform, BatchAugment):
            size, share = self.config.progressive
            transform = transform.at(size) if number <= share * self.config.epochs else transform
        try:
            train_loss, train_accuracy = train_one_epoch(
                self.model, self.train, transform, self.optimizer, self.accelerator, self.config,
                precision=self.precision, scaler=self.scaler, weights=self.weights, teacher=self.teacher,
                classes=self.classes, after_step=self.after_step,
            )  # fmt: skip
            eval_model = self.model
            if self.ema is not None:
                eval_model = self.eval_model
                broadcast([*eval_model.buffers()])  # averages of BatchNorm's statistics, which differ by process
            val_loss, val_accuracy = validate(
                eval_model, self.val, self.eval_transform, self.accelerator, precision=self.precision
            )
            if not math.isfinite(val_loss):  # the last step's doing, which no training loss has shown
                raise FloatingPointError(f"the validation loss is {val_loss} after batch {len(self.train)}")
        except FloatingPointError as error:
            advice = f"lower lr ({self.config.lr}) or set clip_norm"
            raise FloatingPointError(f"epoch {number}: {error} of {len(self.train)}; {advice}") from None
        if self.config.schedule == "plateau":
            self.plateau.step(val_loss)
        row = {
            "epoch": number, "images_seen": number * len(self.train) * self.config.batch_size, "lr": lr,
            "train_loss": train_loss, "train_accuracy": train_accuracy,
            "val_loss": val_loss, "val_accuracy": val_accuracy, "seconds": time.perf_counter() - began,
        }  # fmt: skip
        history, kept = [*self.history, row], self.kept
        better = all(val_accuracy > past["val_accuracy"] for past in self.history) or self.config.keep == "last"
        if better:
            kept = {name: value.detach().cpu().clone() for name, value in self.eval_model.state_dict().items()}
        self.history, self.kept = history, kept  # together, as an interrupt may come at any moment
        state.save(self, model=better)
        return row

    def after_step(self) -> None:
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.raw_model, step=self.step)
        self.set_lr()

    def set_lr(self) -> None:
        if self.config.schedule != "plateau":
            factor = lr_factor(self.step, len(self.train) * self.config.epochs, self.config)
            for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
                group["lr"] = base_lr * factor


def seed_of(*parts: int) -> int:
    """One 32-bit seed out of several numbers, such as seed, epoch and process, so that no two settings share one."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
