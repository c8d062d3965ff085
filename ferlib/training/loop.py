"""One epoch of training and one of validation, in the open."""

import contextlib
import itertools
import math
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from timm.data import Mixup
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from ferlib.models.feed import (
    BatchTransform,
)  # fmt: skip
from ferlib.training.config import TrainConfig


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
