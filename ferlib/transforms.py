"""Transforms of stored faces for a network: one face at a time, or a whole batch.

A dataset's transform (an `A.Compose` as `light` gives, torchvision's, or any function) prepares one face at a time, in
the loader's processes. A batch transform (`EvalTransform`, `BatchAugment`) turns a uint8 batch into normalised floats
on the model's device; it is faster and needs no Albumentations.
"""

import math
import numbers
import os
import random
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ferlib.utils import require


@dataclass(frozen=True)
class InputSpec:
    """Describe the input of a network.

    Args:
        size: side of a face in pixels.
        channels: 1 for gray, 3 for colour; gray faces are then shown three times.
        mean: mean of each channel on the scale 0 to 1, or one number for all; by default FER2013's training pixels'.
        std: standard deviation of each channel on the scale 0 to 1, or one number for all.

    Raises:
        ValueError: a value is out of range, or the lengths differ from `channels`.

    >>> InputSpec(96, mean=0.5, std=0.5).mean, InputSpec(96, channels=3).std
    ((0.5,), (0.255, 0.255, 0.255))
    """

    size: int = 48
    channels: int = 1
    mean: tuple[float, ...] = (0.5077,)
    std: tuple[float, ...] = (0.2550,)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = tuple(float(value) for value in np.atleast_1d(getattr(self, name)))
            object.__setattr__(self, name, values * self.channels if len(values) == 1 else values)
        for name in ("size", "channels"):
            if isinstance(value := getattr(self, name), numbers.Integral):  # NumPy's, too
                object.__setattr__(self, name, int(value))
        if not isinstance(self.size, int) or self.size < 1 or self.channels not in (1, 3):
            raise ValueError(f"{self}; size is at least 1, channels 1 or 3")
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ValueError(f"{self.channels} channels need as many means and positive sds: {self.mean}, {self.std}")
        scale = "they are on the scale 0 to 1; divide those of pixels by 255"
        require(max(*map(abs, self.mean), *self.std) <= 1, f"mean is {self.mean}, std is {self.std}; {scale}")


@dataclass(frozen=True)
class EvalTransform:
    """Resize and normalise a uint8 batch for evaluation; nothing is random.

    Args:
        spec: the network's input.

    >>> EvalTransform(InputSpec(96))(torch.zeros(2, 1, 48, 48, dtype=torch.uint8)).shape
    torch.Size([2, 1, 96, 96])
    """

    spec: InputSpec

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return float32 (n, channels, size, size) of uint8 faces (n, 1 or channels, h, w)."""
        _check_batch(batch, self.spec)
        faces, size = batch.float(), (self.spec.size, self.spec.size)
        if faces.shape[-2:] != size:
            faces = F.interpolate(faces, size, mode="bilinear", antialias=faces.shape[-1] > self.spec.size)
        return _normalise(faces, self.spec)


@dataclass(frozen=True)
class BatchAugment:
    """Augment and normalise a uint8 batch for training.

    One affine map does the geometry and the resizing together, so that a face is interpolated once. Faces of twice the
    size or more are shrunk first. Random numbers are drawn on the CPU, so that a seed gives the same faces on every
    device.

    Args:
        spec: the network's input.
        flip: probability of a mirrored face.
        rotate: largest rotation to either side, in degrees.
        scale: largest change of the size, as a share of it.
        shift: largest shift, as a share of width and of height.
        brightness: largest change of brightness, as a share of the full range.
        contrast: largest change of contrast about mid gray, as a share of it.
        erase: probability of one gray rectangle (random erasing, Zhong et al. 2020, https://arxiv.org/abs/1708.04896).

    Raises:
        ValueError: a strength is out of range.

    >>> BatchAugment(InputSpec(96), rotate=15)(torch.zeros(2, 1, 48, 48, dtype=torch.uint8)).shape
    torch.Size([2, 1, 96, 96])
    """

    spec: InputSpec
    _: KW_ONLY
    flip: float = 0.5
    rotate: float = 10.0
    scale: float = 0.12
    shift: float = 0.08
    brightness: float = 0.2
    contrast: float = 0.2
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "rotate", "scale", "shift", "brightness", "contrast", "erase"):
            value, most = getattr(self, name), {"rotate": 180, "scale": 0.9}.get(name, 1)
            require(0 <= value <= most, f"{name} is {value}; allowed are 0 to {most}")

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return float32 (n, channels, size, size) of uint8 faces (n, 1 or channels, h, w)."""
        _check_batch(batch, self.spec)
        if min(batch.shape[2:]) >= 2 * self.spec.size:  # one point for each output pixel would skip most pixels
            sides = (self.spec.size, self.spec.size)
            batch = F.interpolate(batch.float(), sides, mode="bilinear", antialias=True)
        n, grid = len(batch), self.grid(len(batch), batch.device)
        for axis, side in enumerate((batch.shape[3], batch.shape[2])):
            grid[..., axis].clamp_(1 / side - 1, 1 - 1 / side)  # outside the face its border is repeated
        faces = F.grid_sample(batch.float(), grid, align_corners=False)
        gain = _uniform(n, 1 - self.contrast, 1 + self.contrast)
        lift = 255 * _uniform(n, -self.brightness, self.brightness) + 127.5 * (1 - gain)
        gain, lift = (values.view(-1, 1, 1, 1).to(faces.device) for values in (gain, lift))
        faces = _normalise(faces.mul_(gain).add_(lift).clamp_(0, 255), self.spec)
        return self._erase(faces) if self.erase else faces

    def at(self, size: int) -> "BatchAugment":
        """Return the same augmentation for faces of another size in pixels."""
        return replace(self, spec=replace(self.spec, size=size))

    def grid(self, n: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """Draw where each output pixel is taken from in the input.

        The result equals `F.affine_grid` of random affine maps, in a third of the time on a CPU.

        Args:
            n: number of faces.
            device: where the grid is needed.

        Returns:
            (n, size, size, 2), x and y from -1 to 1.
        """
        angle = _uniform(n, -self.rotate, self.rotate) * math.pi / 180
        inverse = 1 / _uniform(n, 1 - self.scale, 1 + self.scale)
        mirror = torch.where(torch.rand(n) < self.flip, -1.0, 1.0)
        x, y = (2 * _uniform(n, -self.shift, self.shift) for _ in range(2))  # in these coordinates a width is 2
        cos, sin = torch.cos(angle) * inverse, torch.sin(angle) * inverse
        maps = torch.stack([cos * mirror, -sin, x, sin * mirror, cos, y], 1).view(n, 2, 3, 1, 1).to(device)
        across = (2 * torch.arange(self.spec.size, device=device) + 1) / self.spec.size - 1  # centres of the pixels
        return (maps[:, :, 0] * across + (maps[:, :, 1] * across[:, None] + maps[:, :, 2])).permute(0, 2, 3, 1)

    def _erase(self, faces: torch.Tensor) -> torch.Tensor:
        """Set a rectangle of some faces, 12 to 42% of the side, to 0, which is the mean gray."""
        n, size = len(faces), faces.shape[-1]
        inside = []
        for _ in range(2):
            centre, half = _uniform(n, 0, size), _uniform(n, 0.06, 0.21) * size
            inside.append((torch.arange(size) - centre[:, None]).abs() < half[:, None])
        erased = inside[0][:, :, None] & inside[1][:, None, :] & (torch.rand(n) < self.erase)[:, None, None]
        return faces.masked_fill_(erased[:, None].to(faces.device), 0.0)


def _check_batch(batch: torch.Tensor, spec: InputSpec) -> None:
    """Raise `ValueError` unless a batch is uint8, and gray or of the spec's channels."""
    if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[1] not in (1, spec.channels):
        shape = tuple(batch.shape)
        raise ValueError(f"a batch must be uint8 (n, {spec.channels}, h, w); {batch.dtype} {shape} was given")


def _normalise(faces: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Subtract the mean of float faces of 0 to 255, and divide by the sd; may overwrite its input."""
    mean = torch.tensor(spec.mean, device=faces.device).view(-1, 1, 1) * 255
    scale = 1 / (torch.tensor(spec.std, device=faces.device).view(-1, 1, 1) * 255)
    return (faces.sub_(mean) if spec.channels == 1 else faces - mean).mul_(scale)


def _uniform(n: int, low: float, high: float) -> torch.Tensor:
    """Draw n numbers from low to high."""
    return torch.rand(n) * (high - low) + low


# ---- a dataset's own transform: one face at a time


def check_transform(transform: Any) -> None:
    """Raise `ValueError` if an object cannot be a dataset's transform.

    Args:
        transform: what `with_transform` is given; None is allowed.
    """
    if isinstance(transform, EvalTransform | BatchAugment):
        raise ValueError(f"{type(transform).__name__} works on whole batches; give it to fit(..., train_transform=...)")
    if transform is not None and (isinstance(transform, type) or not callable(transform)):
        raise ValueError(f"the transform is {transform!r:.80}; give an A.Compose([...]) or a function of one face")


def apply_transform(transform: Callable[..., Any] | None, image: np.ndarray) -> torch.Tensor:
    """Apply a dataset's transform to one face.

    Args:
        transform: an Albumentations pipeline, which is seeded from torch's generator each time; a transform of
            torchvision, which gets a PIL image; a module, which gets a tensor; a function of an array; or None.
        image: uint8 (h, w).

    Returns:
        uint8 or float32 (channels, h, w).

    Raises:
        ValueError: the transform gives no image.

    >>> apply_transform(lambda face: face / 255, np.zeros((48, 48), np.uint8)).dtype
    torch.float32
    """
    image = image.copy()  # a function may write into it, and the dataset's own must stay
    if transform is None:
        return torch.from_numpy(image)[None]
    if is_albumentations(transform):
        seed_pipeline(transform)
        return _as_tensor(transform(image=image)["image"])
    if type(transform).__module__.startswith("torchvision.transforms"):
        return _as_tensor(transform(Image.fromarray(image)))
    if isinstance(transform, torch.nn.Module):
        return _as_tensor(transform(torch.from_numpy(image)[None]))
    return _as_tensor(transform(image))


def seed_pipeline(pipeline: Any) -> None:
    """Seed an Albumentations pipeline from torch's generator.

    Albumentations itself follows neither torch's seed nor the worker's, so that workers repeat each other. All steps
    share one pair of generators: `set_random_seed` would give each step the same numbers, so that a face that is not
    flipped would never be turned either.

    Args:
        pipeline: an `A.Compose` or one of its steps.
    """
    seed = int(torch.randint(2**31, ()))
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


def is_albumentations(transform: object) -> bool:
    """Return whether a transform is Albumentations' (without importing it)."""
    return any(kind.__module__.startswith("albumentations.") for kind in type(transform).__mro__)


def _as_tensor(picture: Any) -> torch.Tensor:
    """Turn a tensor, array or PIL image into a tensor (channels, h, w), uint8 or float32."""
    if isinstance(picture, np.ndarray | Image.Image):
        picture = torch.from_numpy(np.array(picture))
        if picture.ndim == 3 and picture.shape[2] in (1, 3):  # channels last
            picture = picture.permute(2, 0, 1).contiguous()
    if not isinstance(picture, torch.Tensor) or picture.ndim not in (2, 3):
        size = f" {tuple(picture.shape)}" if isinstance(picture, torch.Tensor) else ""
        raise ValueError(f"the transform gave a {type(picture).__name__}{size}; give an image (channels, h, w)")
    picture = picture.as_subclass(torch.Tensor).reshape(-1, *picture.shape[-2:])
    return picture.float() if picture.dtype == torch.float64 else picture


def normalization_of(transform: object) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Find mean and sd of the last `Normalize` in a pipeline.

    Args:
        transform: a pipeline of Albumentations or torchvision, or any other transform.

    Returns:
        Mean and sd, a number a channel; None if there is no `Normalize`.
    """
    normalization = None
    inner = transform.children() if isinstance(transform, torch.nn.Module) else ()  # of an nn.Sequential
    for step in getattr(transform, "transforms", None) or [*inner] or (transform,):
        if step is not transform:
            normalization = normalization_of(step) or normalization
        elif type(step).__name__ == "Normalize" and getattr(step, "normalization", "standard") == "standard":
            mean, std = (tuple(np.ravel(getattr(step, name)).astype(float).tolist()) for name in ("mean", "std"))
            normalization = mean, std
    return normalization


# ---- Albumentations pipelines


def light(size: int | InputSpec = 48) -> Any:
    """Build a pipeline of changes that a face survives without doubt: flip, a small turn, shift and scale, some light.

    Args:
        size: side of the result in pixels: the pipeline gives uint8 faces, which a `FaceModel` normalises itself. An
            `InputSpec`, such as `model.input_spec`: the pipeline ends in `Normalize` and `ToTensorV2`.

    Returns:
        An `A.Compose`, a dataset's transform.

    >>> [type(step).__name__ for step in light(InputSpec(96)).transforms[-3:]]
    ['Resize', 'Normalize', 'ToTensorV2']
    """
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), scale=(0.95, 1.05), translate_percent=(-0.05, 0.05), border_mode=1, p=0.8),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.5),
        A.Resize(side, side), *last])  # fmt: skip


def strong(size: int | InputSpec = 48) -> Any:
    """Build a pipeline for long training: wider geometry and light, blur, noise and holes.

    Args:
        size: as in `light`.

    Returns:
        An `A.Compose`, a dataset's transform.

    >>> strong(96)(image=np.zeros((48, 48), np.uint8))["image"].shape
    (96, 96)
    """
    A, side, last = pipeline_parts(size)
    return A.Compose([
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-20, 20), scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), shear=(-8, 8), border_mode=1),
        A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.7),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 3)), A.GaussNoise(std_range=(0.02, 0.08))], p=0.3),
        A.CoarseDropout(num_holes_range=(1, 2), hole_height_range=(0.1, 0.3), hole_width_range=(0.1, 0.3), p=0.5),
        A.Resize(side, side), *last])  # fmt: skip


def like_batch_augment(augment: BatchAugment) -> Any:
    """Build a pipeline that makes the changes of a `BatchAugment`, one face at a time.

    What differs is small: a shift is a whole number of pixels, contrast changes about the face's mean gray in place of
    mid gray, and the gray rectangle never reaches over the edge.

    Args:
        augment: the changes, and the network's input.

    Returns:
        An `A.Compose` that ends in `Normalize` and `ToTensorV2`.

    >>> like_batch_augment(BatchAugment(InputSpec(96), rotate=15)).transforms[2].rotate
    (-15.0, 15.0)
    """
    A, side, (*normalise, to_tensor) = pipeline_parts(augment.spec)
    # Affine cuts a shift to whole pixels, towards 0: two thirds of a pixel more keep the spread of the shifts.
    shift = augment.shift and augment.shift + 2 / 3 / side
    gain, holes = (1 - augment.contrast, 1 + augment.contrast), (0.12, 0.42)
    return A.Compose([
        A.Resize(side, side),
        A.HorizontalFlip(p=augment.flip),
        A.Affine(rotate=(-augment.rotate, augment.rotate), scale=(1 - augment.scale, 1 + augment.scale),
                 translate_percent=(-shift, shift), keep_ratio=True, border_mode=1, p=1),
        A.ColorJitter(brightness=(1, 1), contrast=gain, saturation=(1, 1), hue=(0, 0), p=1),
        A.RandomBrightnessContrast(brightness_limit=augment.brightness, contrast_limit=0, p=1),
        *normalise,
        A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=holes, hole_width_range=holes, fill=0,
                        p=augment.erase),
        to_tensor])  # fmt: skip


def pipeline_parts(size: int | InputSpec) -> tuple[Any, int, list[Any]]:
    """Import Albumentations without its question to the network, and give what each pipeline needs.

    Args:
        size: side in pixels, or the network's input.

    Returns:
        The module `albumentations`, the side in pixels, and the pipeline's last steps: none for a side, else
        `Normalize` and `ToTensorV2`, and before them `ToRGB` where the network takes colours.

    Raises:
        ValueError: `size` is neither.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for a newer version
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    known = isinstance(size, int | InputSpec)
    require(known, f"size is {size!r:.40}; give a side in pixels or an InputSpec, such as light(48)")
    if not isinstance(size, InputSpec):
        return A, size, []
    colours = [A.ToRGB()] if size.channels == 3 else []
    return A, size.size, [*colours, A.Normalize(size.mean, size.std), ToTensorV2()]
