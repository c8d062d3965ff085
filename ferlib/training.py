"""The training loop, in the open: one epoch, many epochs, checkpoint and resume.

Runs on CPU, on a GPU, or under `accelerate launch` on several processes, unchanged. Every epoch begins by seeding all
random numbers from (seed, epoch), so that a run resumed at an epoch's end goes on exactly as it would have.
"""

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import broadcast, gather_object, set_seed
from timm.data import Mixup
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from tqdm.auto import tqdm

from ferlib import state
from ferlib.classes import match_classes
from ferlib.data import FaceDataset, labels_of, loader
from ferlib.feed import (
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
from ferlib.models import (
    WEIGHTS_FILE,
    FaceModel,
    check_outputs,
    check_training_outputs,
    model_hash,
    probabilities,
    rebuildable,
    unwrap,
)
from ferlib.optim import TrainConfig, balance_weights, build_optimizer, choose_precision, lr_factor
from ferlib.state import HISTORY
from ferlib.transforms import BatchAugment, InputSpec


@dataclass(frozen=True, eq=False)
class FitResult:
    """What `fit` gives: the model with the kept weights, one row of `history` an epoch, and why it stopped.

    History columns: epoch (from 1), images_seen, lr, train_loss, train_accuracy, val_loss, val_accuracy (fractions),
    seconds. Training figures are taken while the weights still move, on augmented faces.
    """

    model: nn.Module
    history: pd.DataFrame
    stopped: str  # "finished", "patience" or "interrupted"
    precision: str

    @property
    def best_epoch(self) -> int:
        """The epoch (from 1) with the highest validation accuracy, the first of equals; `ValueError` if none ended."""
        if self.history.empty:
            raise ValueError("no epoch was finished: the run was interrupted in its first")
        return int(self.history["epoch"].iloc[int(self.history["val_accuracy"].argmax())])


def train_one_epoch(
    model: nn.Module,
    batches: Any,
    transform: BatchTransform,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    config: TrainConfig,
    *,
    precision: str = "fp32",
    scaler: torch.amp.GradScaler | None = None,
    weights: torch.Tensor | None = None,
    teacher: nn.Module | None = None,
    classes: int = 7,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """One pass over the training batches; returns the mean loss and the accuracy (a fraction) along the way.

    Labels are class indices (b,) or soft (b, k), where k is `classes`. Of soft or mixed labels, the largest counts as
    the right one. A `teacher` sees what the model sees; `config.distill` of the loss is the divergence from its
    probabilities. Raises `FloatingPointError`, in all processes together, for a loss that is not finite.
    """
    model.train()
    if config.freeze_bn:
        for module in model.modules():
            if isinstance(module, BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    mixes = config.mixup > 0 or config.cutmix > 0
    mix = Mixup(config.mixup, config.cutmix, label_smoothing=0, num_classes=classes)  # draws from NumPy's numbers
    # Loss, hits, faces, and batches up to the first whose loss is not finite: summed on the device, without waiting.
    totals = torch.zeros(4, device=accelerator.device)
    every = 1 if accelerator.device.type == "cpu" else 50  # batches: a look at the sums makes a GPU wait
    with _ctrl_c_waits():
        given = iter(batches)
        first = [*itertools.islice(given, 1)]
    for number, (images, labels) in enumerate(itertools.chain(first, given), 1):
        with _autocast(accelerator, precision):
            inputs, targets = transform(images), labels
            if mixes:
                inputs, targets = mix(inputs, labels)
            logits = model(inputs)
            with torch.no_grad():
                teacher_logits = teacher(inputs) if teacher is not None else None
        loss = F.cross_entropy(logits.float(), targets, weights, label_smoothing=config.label_smoothing)
        if weights is not None and targets.ndim == 1:  # divided by this process's weights; the run's are meant
            share = weights[targets].sum()
            loss = loss * (share / accelerator.reduce(share, "mean"))
        if teacher_logits is not None:
            t = config.distill_temperature
            mine, theirs = ((side.float() / t).log_softmax(1) for side in (logits, teacher_logits))
            divergence = F.kl_div(mine, theirs, reduction="batchmean", log_target=True)
            loss = (1 - config.distill) * loss + config.distill * t**2 * divergence
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if config.clip_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        after_step()
        right = targets if targets.ndim == 1 else targets.argmax(1)
        hits = (logits.argmax(1) == right).sum()
        faces = torch.full_like(hits, len(labels))
        totals += torch.stack([loss.detach() * len(labels), hits, faces, totals[0].isfinite()])
        if number % every == 0:
            _summed(totals, accelerator)
    loss_sum, hit_sum, face_sum = _summed(totals, accelerator)
    return loss_sum / face_sum, hit_sum / face_sum


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Heed Ctrl-C after the block, for where a worker begins Python may swallow it; a second one at once.

    The worker itself never heeds it. Only where workers are copies of this process (fork).
    """
    before = signal.getsignal(signal.SIGINT)
    started = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    # In other threads it never comes; and a worker that is no copy dies of it, and must not be waited for.
    if threading.current_thread() is not threading.main_thread() or started != "fork" or not callable(before):
        yield
        return
    came: list[tuple[int, Any]] = []

    def heed(*how: Any) -> None:
        came.append(how)
        if len(came) > 1:  # the first batch takes long, or hangs
            before(*how)

    signal.signal(signal.SIGINT, heed)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])


def _summed(totals: torch.Tensor, accelerator: Accelerator) -> list[float]:
    """Loss, hits and faces over all processes; names the first batch whose loss is not finite, if there is one."""
    parts = accelerator.gather(totals[None])  # (processes, 4)
    *sums, _ = parts.sum(0).tolist()
    if not math.isfinite(sums[0]):
        raise FloatingPointError(f"the loss is {sums[0]} in batch {int(parts[:, 3].min())}")
    return sums


@torch.no_grad()
def validate(
    model: nn.Module, batches: Any, transform: BatchTransform, accelerator: Accelerator, *, precision: str = "fp32"
) -> tuple[float, float]:
    """Cross-entropy without smoothing and accuracy (a fraction) over all faces, each counted once."""
    model.eval()
    parts = []
    for images, labels in batches:
        with _autocast(accelerator, precision):
            logits = model(transform(images))
        hard = labels.argmax(1) if labels.ndim == 2 else labels
        parts.append(accelerator.gather_for_metrics((logits.float(), hard)))
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    if len(labels) != len(batches.dataset):
        raise RuntimeError(f"{len(labels)} of {len(batches.dataset)} faces were validated")
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).sum().item() / len(labels)


def _autocast(accelerator: Accelerator, precision: str) -> contextlib.AbstractContextManager:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(accelerator.device.type, torch.float16 if precision == "fp16" else torch.bfloat16)


def fit(
    model: nn.Module,
    train_set: Any,
    val_set: Any,
    config: TrainConfig | None = None,
    *,
    train_transform: BatchTransform | None = None,
    teacher: nn.Module | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a network in place, validating after each epoch.

    model: a `FaceModel`, or any `nn.Module` that gives logits (n, classes).
    train_set: a `FaceDataset`, or any map-style dataset of (tensor, label). Its own transform is used; uint8 faces are
        prepared by `train_transform`, else by the FaceModel's input_spec. Each epoch is shuffled anew, and leaves out
        its last, smaller batch.
    val_set: the same for validation; soft labels count as hard ones.
    config: the settings; by default `TrainConfig()`.
    train_transform: maps a uint8 batch to the network's input, as `BatchAugment` does.
    teacher: a model of the same input and classes, for `config.distill`.
    out: a folder that gets `model.safetensors` (the kept epoch), `history.csv` and `state.pt`, each whole at any time;
        a new one, unless `resume`.
    resume: go on with the run in `out`, or begin if there is none; more `epochs` than before lengthen it.
    progress: show a bar.

    On a CPU a resumed run's history and weights equal the uninterrupted run's bit for bit. An interrupt (Ctrl-C) ends
    the run with what there is. Seeds Python's, NumPy's and torch's global random numbers.

    Returns a `FitResult`. Raises `ValueError`, before training, for a model, data and settings that do not go together,
    a state of other settings, or a folder that cannot be written; `FloatingPointError`, naming the batch, when the loss
    is no longer finite; `OSError` when the disk is full or a worker or another process dies; the model then has the
    weights of the epoch that was kept, if there was one.
    """
    config = TrainConfig() if config is None else config
    fed = check_run(model, train_set, config, train_transform, teacher)
    if out is not None:
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=out).close()  # to fail now, not after the first epoch
        except OSError as error:
            raise ValueError(f"cannot write into {out} ({error.strerror}); give another out (`--out`)") from error
        if not resume and any((Path(out) / name).exists() for name in (WEIGHTS_FILE, "state.pt")):
            raise ValueError(f"{out} holds a run already; resume=True goes on with it, or give another out")
    run = _Run(model, fed, val_set, config, train_transform, teacher, None if out is None else Path(out))
    if resume:
        state.resume(run)
        begun = [len(each) for each in gather_object([run.history])]
        if len({*begun}) > 1:
            raise ValueError(f"the processes found other states in {out}, of {begun} epochs; give a folder they share")
    if out is not None and run.accelerator.is_main_process:
        for name in (WEIGHTS_FILE, "history.csv", "state.pt"):
            for left in Path(out).glob(f"{name}.*.part"):  # of a process that was killed
                left.unlink()
    if not run.history:
        state.save(run, model=False)  # so that no moment leaves a model without the state that goes with it
    quiet = not (progress and run.accelerator.is_main_process)
    stopped = "finished"
    with tqdm(total=config.epochs, initial=len(run.history), unit="epoch", disable=quiet) as bar:
        try:
            for epoch in range(len(run.history) + 1, config.epochs + 1):
                if config.patience is not None and run.epochs_since_best() >= config.patience:
                    stopped = "patience"
                    break
                row = run.epoch(epoch)
                bar.update()
                bar.set_postfix_str(
                    f"loss {row['train_loss']:.3f} train {row['val_loss']:.3f} val, "
                    f"accuracy {row['train_accuracy']:.1%} train {row['val_accuracy']:.1%} val"
                )
        except KeyboardInterrupt:
            stopped = "interrupted"
        except RuntimeError as error:
            if (lost := _process_lost(error)) is None:
                raise
            raise lost from error
        except ValueError as error:
            if not str(error).startswith("Caught ValueError in DataLoader worker"):
                raise
            last = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")  # the others are its traceback
            raise ValueError(last) from error
        finally:
            if run.kept:
                run.raw_model.load_state_dict(run.kept)
            model.eval()
    return FitResult(model, pd.DataFrame(run.history, columns=HISTORY), stopped, run.precision)


def _process_lost(error: RuntimeError) -> OSError | None:
    """What to say when torch means that a loader's worker, or another process of the run, has died."""
    go_on = "resume=True (`--resume`) goes on after the last whole epoch"
    if str(error).startswith("DataLoader worker"):
        fewer = "a new run with fewer workers (`--workers`) needs less memory and /dev/shm"
        return ChildProcessError(f"a loader's worker died ({error}); {go_on}, {fewer}")
    if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
        return ConnectionError(f"another process of this run was lost; {go_on}")
    return None


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
