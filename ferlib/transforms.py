"""From a stored face to what a network is fed, and back to a picture.

A *dataset's* transform (an `A.Compose`, such as `preset` gives, torchvision's, any callable) prepares one face at a
time, in the loader's workers. A *batch* transform (`EvalTransform`, `BatchAugment`) maps a whole uint8 batch to
normalised floats on the model's device; it needs no Albumentations, and augments a batch in one stroke.
"""

import math
import os
import random
import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


@dataclass(frozen=True)
class InputSpec:
    """What a network expects to be fed: side in pixels, channels, and mean and sd of a channel on the 0-1 scale."""

    size: int = 48
    channels: int = 1
    mean: tuple[float, ...] = (0.5077,)  # of FER2013's Training pixels
    std: tuple[float, ...] = (0.2550,)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if isinstance(getattr(self, name), int | float):
                object.__setattr__(self, name, (float(getattr(self, name)),) * self.channels)
        if not isinstance(self.size, int) or self.size < 1 or self.channels not in (1, 3):
            raise ValueError(
                f"size {self.size} and channels {self.channels} given; size is at least 1, channels 1 or 3"
            )
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ValueError(f"{self.channels} channels need as many means and positive sds: {self.mean}, {self.std}")


class EvalTransform:
    """Resize and normalise a uint8 batch to float32 (n, channels, size, size); nothing in it is random.

    A batch is gray (n, 1, h, w), or of the spec's own channels.
    """

    def __init__(self, spec: InputSpec):
        self.spec = spec

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        faces = _checked(batch, (1, spec.channels)).float()
        if faces.shape[-2:] != (spec.size, spec.size):
            shrinks = faces.shape[-1] > spec.size
            faces = F.interpolate(faces, (spec.size, spec.size), mode="bilinear", antialias=shrinks)
        return _normalise(faces, spec)


@dataclass(frozen=True)
class BatchAugment:
    """Flip, turn, scale, shift, brighten and erase a uint8 batch (n, 1, h, w) -> float32 (n, channels, size, size).

    One affine grid does the geometry and the resizing together, so that a face is interpolated once. The random numbers
    are drawn on the CPU, so that a seed gives the same faces on every device. `BatchAugment(spec, flip=0, rotate=0,
    scale=0, shift=0, brightness=0, contrast=0)` gives what `EvalTransform(spec)` gives, when it need not shrink.
    """

    spec: InputSpec
    _: KW_ONLY
    flip: float = 0.5  # probability
    rotate: float = 10.0  # degrees, at most, to either side
    scale: float = 0.12  # share of the size, at most, up or down
    shift: float = 0.08  # share of the width and of the height, at most
    brightness: float = 0.2  # share of the full range, at most, up or down
    contrast: float = 0.2  # share of the contrast about mid gray, at most, up or down
    erase: float = 0.0  # probability of one gray rectangle (random erasing, Zhong et al. 2020)

    def __post_init__(self) -> None:
        for name in ("flip", "rotate", "scale", "shift", "brightness", "contrast", "erase"):
            value, most = getattr(self, name), {"rotate": 180, "scale": 0.9}.get(name, 1)
            if not 0 <= value <= most:
                raise ValueError(f"{name} is {value}; allowed are 0 to {most}")

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        faces = _checked(batch, (1, self.spec.channels))
        grid = self.grid(len(faces), faces.device)
        for axis, side in enumerate((faces.shape[3], faces.shape[2])):
            grid[..., axis].clamp_(1 / side - 1, 1 - 1 / side)  # what lies outside repeats the border
        faces = F.grid_sample(faces.float(), grid, align_corners=False)
        gain = _uniform(len(faces), 1 - self.contrast, 1 + self.contrast)
        lift = 255 * _uniform(len(faces), -self.brightness, self.brightness) + 127.5 * (1 - gain)
        gain, lift = (number.view(-1, 1, 1, 1).to(faces.device) for number in (gain, lift))
        faces = _normalise(faces.mul_(gain).add_(lift).clamp_(0, 255), self.spec)
        return self._erased(faces) if self.erase else faces

    def at(self, size: int) -> "BatchAugment":
        """The same augmentation into faces of another size, in pixels."""
        return replace(self, spec=replace(self.spec, size=size))

    def grid(self, n: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """Where each pixel of `n` output faces is taken from in the input: (n, size, size, 2), x and y from -1 to 1.

        It is what `F.affine_grid` gives for `n` random affine maps, in a third of the time on a CPU.
        """
        angle = _uniform(n, -self.rotate, self.rotate) * math.pi / 180
        inverse = 1 / _uniform(n, 1 - self.scale, 1 + self.scale)
        mirror = torch.where(torch.rand(n) < self.flip, -1.0, 1.0)
        x, y = (2 * _uniform(n, -self.shift, self.shift) for _ in range(2))  # a width is 2 in these coordinates
        cos, sin = torch.cos(angle) * inverse, torch.sin(angle) * inverse
        maps = torch.stack([cos * mirror, -sin, x, sin * mirror, cos, y], 1).view(n, 2, 3, 1, 1).to(device)
        across = (2 * torch.arange(self.spec.size, device=device) + 1) / self.spec.size - 1  # the pixels' middles
        return (maps[:, :, 0] * across + (maps[:, :, 1] * across[:, None] + maps[:, :, 2])).permute(0, 2, 3, 1)

    def _erased(self, faces: torch.Tensor) -> torch.Tensor:
        """Some faces with a rectangle of 12 to 42% of the side set to 0, which is the mean gray."""
        n, size = len(faces), faces.shape[-1]
        inside = []
        for _ in range(2):
            centre, half = _uniform(n, 0, size), _uniform(n, 0.06, 0.21) * size
            inside.append((torch.arange(size) - centre[:, None]).abs() < half[:, None])
        hit = inside[0][:, :, None] & inside[1][:, None, :] & (torch.rand(n) < self.erase)[:, None, None]
        return faces.masked_fill_(hit[:, None].to(faces.device), 0.0)


def _checked(batch: torch.Tensor, channels: tuple[int, ...] = (1,)) -> torch.Tensor:
    if batch.dtype != torch.uint8 or batch.ndim != 4 or batch.shape[1] not in channels:
        raise ValueError(
            f"a batch must be uint8 (n, {channels[-1]}, h, w); {batch.dtype} {tuple(batch.shape)} was given"
        )
    return batch


def _normalise(faces: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Float faces (n, 1, h, w) of 0-255 -> (n, channels, h, w) with mean and sd taken out; may overwrite its input."""
    mean = torch.tensor(spec.mean, device=faces.device).view(-1, 1, 1) * 255
    scale = 1 / (torch.tensor(spec.std, device=faces.device).view(-1, 1, 1) * 255)
    return (faces.sub_(mean) if spec.channels == 1 else faces - mean).mul_(scale)


def _uniform(n: int, low: float, high: float) -> torch.Tensor:
    return torch.rand(n) * (high - low) + low


def to_picture(tensor: torch.Tensor, spec: InputSpec) -> np.ndarray:
    """Undo `EvalTransform`'s normalisation: float (n, channels, h, w) -> uint8 (n, h, w), the channels averaged."""
    if tensor.ndim != 4 or tensor.shape[1] != spec.channels:
        raise ValueError(f"expected (n, {spec.channels}, h, w), got {tuple(tensor.shape)}")
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (spec.mean, spec.std))
    gray = (tensor.detach().float().cpu() * std + mean).mean(1)
    return (gray * 255).round().clamp(0, 255).to(torch.uint8).numpy()


# ---- a dataset's own transform: one face at a time


def check_transform(transform: Any) -> None:
    """Raise `ValueError` for what cannot be a dataset's transform, naming what can."""
    if isinstance(transform, list | tuple):
        raise ValueError(f"the transform is a {type(transform).__name__} of {len(transform)}; give A.Compose([...])")
    if isinstance(transform, EvalTransform | BatchAugment):
        raise ValueError(
            f"{type(transform).__name__} works on whole batches; give it to fit(..., train_transform=...), and a "
            "dataset an A.Compose"
        )
    if transform is not None and (isinstance(transform, type) or not callable(transform)):
        raise ValueError(
            f"the transform is {transform!r:.80}; give an A.Compose([...]), a v2.Compose([...]) or a function of an "
            "array (h, w)"
        )


def apply_transform(transform: Callable[..., Any] | None, image: np.ndarray) -> torch.Tensor:
    """Put one uint8 face (h, w) through a dataset's transform: a tensor (channels, h, w), uint8 or float32.

    An Albumentations pipeline is seeded from torch's generator each time. Raises `ValueError` for a result that is no
    image.
    """
    if transform is None:
        return torch.from_numpy(image.copy())[None]
    if is_albumentations(transform):
        seed_pipeline(transform)
        return as_tensor(transform(image=image)["image"])
    if type(transform).__module__.startswith("torchvision.transforms"):
        return as_tensor(transform(Image.fromarray(image)))
    if isinstance(transform, torch.nn.Module):
        return as_tensor(transform(torch.from_numpy(image.copy())[None]))
    return as_tensor(transform(image))


def seed_pipeline(pipeline: Any) -> None:
    """Seed an Albumentations pipeline from torch's generator.

    By itself it heeds neither torch's seed nor the worker's, so that workers repeat each other. One pair of generators
    serves all its steps: `set_random_seed` would give each step the same numbers, and a face that happens not to be
    flipped would happen not to be turned either.
    """
    seed = int(torch.randint(2**31, ()))
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


def is_albumentations(transform: object) -> bool:
    """Return whether a transform is Albumentations' (without importing it)."""
    return any(kind.__module__.startswith("albumentations.") for kind in type(transform).__mro__)


def as_tensor(picture: Any) -> torch.Tensor:
    """Turn a tensor, array or PIL image into a tensor (channels, h, w); fractions become float32."""
    if isinstance(picture, torch.Tensor):
        tensor = picture.as_subclass(torch.Tensor)
    elif isinstance(picture, np.ndarray | Image.Image):
        array = np.asarray(picture)
        last = array.ndim == 3 and array.shape[2] in (1, 3)  # channels last, as arrays have them
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, 2, 0) if last else array).copy())
    else:
        raise ValueError(f"the transform gave {type(picture).__name__}; a tensor, an array or a PIL image is due")
    tensor = tensor[None] if tensor.ndim == 2 else tensor
    if tensor.ndim != 3:
        raise ValueError(f"the transform gave the shape {tuple(tensor.shape)}; (channels, h, w) is due")
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def normalization_of(transform: object) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and sd of the last `Normalize` in a pipeline of Albumentations or torchvision; None if unknown."""
    found = None
    for step in getattr(transform, "transforms", (transform,)):
        if step is not transform and hasattr(step, "transforms"):
            found = normalization_of(step) or found
        elif type(step).__name__ == "Normalize" and getattr(step, "normalization", "standard") == "standard":
            mean, std = (np.ravel(getattr(step, name)).tolist() for name in ("mean", "std"))
            found = tuple(map(float, mean)), tuple(map(float, std))
    return found


# Albumentations pipelines by name: the library's two, then those of five published student recipes (`ferlib.recipes`).
# Each is given the `albumentations` module and the side in pixels that the network wants.
PRESETS: dict[str, Callable[[Any, int], list[Any]]] = {
    # What a face survives without any doubt: flip, a small turn, shift and scale, a little light.
    "light": lambda A, size: [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), scale=(0.95, 1.05), translate_percent=(-0.05, 0.05), border_mode=1, p=0.8),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.5),
    ],
    # For long training: wider geometry and light, blur, noise and holes, still with the emotion to be seen.
    "strong": lambda A, size: [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-20, 20), scale=(0.8, 1.2), translate_percent=(-0.1, 0.1), shear=(-8, 8), border_mode=1),
        A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.7),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 3)), A.GaussNoise(std_range=(0.02, 0.08))], p=0.3),
        A.CoarseDropout(num_holes_range=(1, 2), hole_height_range=(0.1, 0.3), hole_width_range=(0.1, 0.3), p=0.5),
    ],
    "scratch_jitter": lambda A, size: [
        A.Rotate(limit=(-20, 20), border_mode=0, p=1),
        A.ColorJitter(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=(0, 0), p=1),
    ],
    "onecycle_resnet18": lambda A, size: [
        A.Pad(padding=4, border_mode=4),
        A.RandomCrop(48, 48),
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(0, 0), p=1),
    ],
    "albumentations_timm": lambda A, size: [
        A.Resize(size, size),
        A.Rotate(limit=(-15, 15), border_mode=4, p=0.5),
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=0.5),
    ],
    "gray_resnet18": lambda A, size: [
        A.Resize(size, size),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), scale=(0.95, 1.05), translate_percent=(-0.05, 0.05), p=1),
        A.Sharpen(alpha=(0.1, 0.1), lightness=(1, 1), p=0.3),
        A.AutoContrast(p=0.3),
    ],
    "plain_cnn": lambda A, size: [
        A.Affine(rotate=(-10, 10), scale=(0.9, 1.1), border_mode=1, p=1),
        A.HorizontalFlip(p=0.5),
    ],
}  # fmt: skip


def preset(name: str, size: int = 48) -> Any:
    """Build one of the `PRESETS` as an `A.Compose`, for a network that takes `size` px; a dataset's transform.

    Raises `ValueError` for an unknown name, and for an argument that the installed Albumentations would ignore.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r}; allowed are {', '.join(PRESETS)}")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network for a newer version
    import albumentations as A

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # arguments of another version are only warned about, then ignored
        try:
            return A.Compose(PRESETS[name](A, size))
        except UserWarning as warning:
            raise ValueError(f"albumentations {A.__version__} would ignore this: {warning}") from None
