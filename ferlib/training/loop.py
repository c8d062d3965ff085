"""One epoch of training and one epoch of validation."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from ferlib.models.feed import BatchTransform
from ferlib.training.config import TrainConfig


def train_one_epoch(
    model: nn.Module, batches: Any, transform: BatchTransform, optimizer: torch.optim.Optimizer,
    accelerator: Accelerator, config: TrainConfig, *, precision: str = "fp32",
    scaler: torch.amp.GradScaler | None = None, weights: torch.Tensor | None = None,
    teacher: nn.Module | None = None, classes: int = 7, after_step: Callable[[], None] = lambda: None,
) -> tuple[float, float]:  # fmt: skip
    """Train a network for one pass over the training batches.

    Args:
        model: the network; its weights change in place.
        batches: pairs of images and labels, on the accelerator's device. Labels are class indices (b,) or
            shares of the classes (b, k).
        transform: prepares a batch of images for the network.
        optimizer: the optimizer of the network's weights.
        accelerator: names the device and gathers the sums of all processes.
        config: `clip_norm`, `label_smoothing`, `mixup`, `cutmix`, `distill` and `freeze_bn` are used.
        precision: "fp32", "bf16" or "fp16".
        scaler: scales the loss in fp16; by default none.
        weights: class weights (k,) of the loss; by default all 1.
        teacher: a network whose probabilities are `config.distill` of the loss.
        classes: number of classes k.
        after_step: is called after each step of the optimizer.

    Returns:
        Mean loss and accuracy (0 to 1) of the augmented faces while the weights change. Of soft or mixed labels the
        largest share counts as the label.

    Raises:
        FloatingPointError: the loss of a batch is not finite; all processes raise it together.
    """
    model.train()
    for module in model.modules():
        if config.freeze_bn and isinstance(module, BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()
    blend = _mixup(config, classes)
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    weights = None if weights is None else weights.to(accelerator.device)
    sums = torch.zeros(4, device=accelerator.device)  # loss, correct answers, faces, batches with a finite loss so far
    check_every = 1 if accelerator.device.type == "cpu" else 50  # batches; a GPU must wait for each check
    for number, (images, labels) in enumerate(batches, 1):
        with _autocast(accelerator, precision):
            inputs, targets = transform(images), labels
            if blend is not None:
                inputs, targets = blend(inputs, targets)
            logits = model(inputs)
            with torch.no_grad():
                teacher_logits = None if teacher is None else teacher(inputs)
        loss = compute_loss(logits, targets, config, accelerator, weights=weights, teacher_logits=teacher_logits)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if config.clip_norm is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        after_step()
        correct = (logits.argmax(1) == hard_labels(targets)).sum()
        sums[:3] += torch.stack([loss.detach() * len(labels), correct, torch.full_like(correct, len(labels))])
        sums[3] += sums[0].isfinite()
        if number % check_every == 0:
            _gather_sums(sums, accelerator)
    loss_sum, correct_sum, faces = _gather_sums(sums, accelerator)
    return loss_sum / faces, correct_sum / faces


def _mixup(config: TrainConfig, classes: int) -> Callable[..., tuple[torch.Tensor, torch.Tensor]] | None:
    """Return what blends a batch with timm's Mixup, or None where neither mixup nor cutmix is on."""
    if not (config.mixup or config.cutmix):
        return None
    from timm.data import Mixup

    mixup = Mixup(config.mixup, config.cutmix, label_smoothing=0, num_classes=classes)

    def blend(images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if targets.ndim == 1:
            return mixup(images, targets)
        # with the place of each face as its class, timm gives each face's share of its own blend
        mixup.num_classes = len(targets)
        blended, shares = mixup(images, torch.arange(len(targets), device=targets.device))
        own = shares.diagonal()[:, None]
        return blended, own * targets + (1 - own) * targets.flip(0)

    return blend


def compute_loss(
    logits: torch.Tensor, targets: torch.Tensor, config: TrainConfig, accelerator: Accelerator, *,
    weights: torch.Tensor | None = None, teacher_logits: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """Compute the training loss of a batch: cross-entropy, and distillation with a teacher.

    Args:
        logits: (b, k).
        targets: class indices (b,) or shares (b, k).
        config: gives the label smoothing and the share and temperature of distillation.
        accelerator: averages the class weights over all processes.
        weights: class weights (k,).
        teacher_logits: (b, k).

    Returns:
        The loss, a tensor without axes.
    """
    loss = F.cross_entropy(logits.float(), targets, weights, label_smoothing=config.label_smoothing)
    if weights is not None and targets.ndim == 1:  # PyTorch divides by the weights of this process, not of all
        batch_weight = weights[targets].sum()
        loss = loss * (batch_weight / accelerator.reduce(batch_weight, "mean"))
    if teacher_logits is None:
        return loss
    t = config.distill_temperature
    student, teacher = ((side.float() / t).log_softmax(1) for side in (logits, teacher_logits))
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - config.distill) * loss + config.distill * t**2 * divergence


def _gather_sums(sums: torch.Tensor, accelerator: Accelerator) -> list[float]:
    """Add loss, correct answers and faces over all processes; raise `FloatingPointError` if the loss is not finite."""
    by_process = accelerator.gather(sums[None])  # (processes, 4)
    loss, correct, faces, _ = by_process.sum(0).tolist()
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} in batch {int(by_process[:, 3].min()) + 1}")
    return [loss, correct, faces]


@torch.no_grad()
def validate(
    model: nn.Module, batches: Any, transform: BatchTransform, accelerator: Accelerator, *, precision: str = "fp32"
) -> tuple[float, float]:
    """Measure loss and accuracy on the validation faces.

    Args:
        model: the network; it is left in evaluation mode.
        batches: a loader that the accelerator prepared.
        transform: prepares a batch of images for the network.
        accelerator: gathers the answers of all processes.
        precision: "fp32", "bf16" or "fp16".

    Returns:
        Cross-entropy without label smoothing, and accuracy (0 to 1). Each face counts once.
    """
    model.eval()
    parts = []
    for images, labels in batches:
        with _autocast(accelerator, precision):
            logits = model(transform(images))
        parts.append(accelerator.gather_for_metrics((logits.float(), hard_labels(labels))))
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    if len(labels) != len(batches.dataset):
        raise RuntimeError(f"{len(labels)} of {len(batches.dataset)} faces were validated")
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).sum().item() / len(labels)


def hard_labels(targets: torch.Tensor) -> torch.Tensor:
    """Return class indices (b,); of shares (b, k), the class with the largest share."""
    return targets if targets.ndim == 1 else targets.argmax(1)


def _autocast(accelerator: Accelerator, precision: str) -> AbstractContextManager:
    """Return the context in which a network computes in 16 bits, if `precision` asks for it."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(accelerator.device.type, torch.float16 if precision == "fp16" else torch.bfloat16)
