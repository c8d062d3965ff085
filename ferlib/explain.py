"""What a network looks at: filters, activations, Grad-CAM and occlusion maps, and how much of a map falls on the truth.

A `batch` is what the model is fed, float (n, channels, h, w), as `transforms.EvalTransform` makes it; maps come back as
NumPy arrays, one a face. The model is used in evaluation mode and left as it was: each layer's mode, each gradient.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam, LayerGradientXActivation, Occlusion
from torch import nn

from ferlib.models.face_model import evaluating, unwrap

LEAST = 6  # cells a side of a map: of a coarser one, no face's part is told from the next
REGIONS = {  # where on the face an action unit shows (Ekman and Friesen 1978, Facial Action Coding System)
    "brows": ("au1", "au2", "au4"),
    "eyes": ("au5", "au6", "au7"),
    "nose": ("au9", "au10"),
    "mouth": ("au10", "au12", "au15", "au16", "au17", "au20", "au23", "au24", "au25", "au26"),
}
Targets = int | Sequence[int] | np.ndarray | torch.Tensor | None


def first_filters(model: nn.Module) -> np.ndarray:
    """The weights of the first convolution, averaged over its input channels: float (n, k, k)."""
    for module in unwrap(model).modules():
        if isinstance(module, nn.Conv2d):
            return module.weight.detach().mean(1).cpu().numpy()
    raise ValueError(f"{type(unwrap(model)).__name__} has no convolution, and so no filters to look at")


def activations(model: nn.Module, batch: torch.Tensor, layer: str | None = None) -> np.ndarray:
    """What a layer answers to each face: float (n, channels, h, w); by default the layer of `find_layer`.

    Raises `ValueError` for a layer that is not there, or whose output is no map.
    """
    name = find_layer(model, batch) if layer is None else layer
    found = _maps_of(model, batch, {name: _layer(model, name)})
    if name not in found:
        raise ValueError(f"the layer {name!r} gives no map (n, channels, h, w); `find_layer(model, batch)` names one")
    return found[name].cpu().numpy()


def find_layer(model: nn.Module, batch: torch.Tensor, least: int = LEAST) -> str:
    """The name of the deepest layer whose map has at least `least` cells a side, the outermost of those that end there.

    Raises `ValueError` when there is none: feed larger faces, or a network that shrinks them less.
    """
    maps = _maps_of(model, batch[:1], dict(list(unwrap(model).named_modules())[1:]))
    high, wide = batch.shape[2:]
    sizes = {name: tuple(found.shape[2:]) for name, found in maps.items()}
    sizes = {name: (h, w) for name, (h, w) in sizes.items() if h * wide == w * high}  # tokens have another form
    fine = [name for name, size in sizes.items() if min(size) >= least]
    if not fine:
        there = ", ".join(sorted({f"{h}x{w}" for h, w in sizes.values()})) or "no map at all"
        raise ValueError(
            f"no layer of {type(unwrap(model)).__name__} has a map of {least}x{least} for faces of {high} px (it has "
            f"{there}); feed larger faces, or build the model with small_stem=True"
        )
    return fine[-1]


def grad_cam(
    model: nn.Module, batch: torch.Tensor, targets: Targets = None, layer: str | None = None, *, average: bool = True
) -> np.ndarray:
    """Where a layer's map speaks for a class: float (n, h, w) of the batch's size, 0 to 1, each face's highest being 1.

    Each channel is weighted by the mean gradient of the target's logit, and what their sum has above 0 is enlarged
    (R. Selvaraju et al., Grad-CAM, 2017, arXiv 1610.02391; by captum). That mean does not know where in the map the
    later layers look: with `average=False` each cell keeps its own gradient (R. Draelos and L. Carin, HiResCAM, 2020,
    arXiv 2011.08891). A face with nothing above 0 gets zeros. `targets` are classes, one for all or one a face; by
    default those predicted. Raises `ValueError` for a `layer` (default: `find_layer`'s) with a map coarser than 6x6.
    """
    name = find_layer(model, batch) if layer is None else layer
    size = activations(model, batch[:1], name).shape[2:]
    if min(size) < LEAST:
        given, other = f"{size[0]}x{size[1]}", find_layer(model, batch)
        raise ValueError(
            f"the map of {name!r} is {given}; {LEAST}x{LEAST} is the least to tell a face by: take {other!r}"
        )
    method = LayerGradCam if average else LayerGradientXActivation
    with _evaluating(model, batch) as fed, torch.enable_grad():
        classes = _classes(model, fed, targets)
        cam = method(model, _layer(model, name)).attribute(fed, classes).detach().sum(1, keepdim=True).relu()
    cam = LayerAttribution.interpolate(cam, tuple(batch.shape[2:]), "bilinear")[:, 0]
    highest = cam.amax((1, 2), keepdim=True)
    return (cam / torch.where(highest > 0, highest, 1)).cpu().numpy()


def occlusion(
    model: nn.Module, batch: torch.Tensor, targets: Targets = None, window: int | None = None, stride: int | None = None
) -> np.ndarray:
    """How far the target's probability falls when a gray window covers a pixel: float (n, h, w), -1 to 1.

    A square of `window` px (default: an eighth of the side, 6 px of 48) slides by `stride` px (half of that); a pixel
    gets the mean over the windows that cover it (M. Zeiler and R. Fergus, 2014, arXiv 1311.2901; computed by captum).
    Below 0, the target gains when the pixel is hidden. Gray is the batch's 0: the mean of the faces that the model is
    normalised by. `targets` as for `grad_cam`.
    """
    channels, side = batch.shape[1], min(batch.shape[2:])
    window = max(1, side // 8) if window is None else window
    stride = max(1, side // 16) if stride is None else stride
    if not 1 <= stride <= window <= side:
        raise ValueError(f"window {window}, stride {stride} given; allowed is 1 <= stride <= window <= {side} px")
    with _evaluating(model, batch) as fed, torch.no_grad():
        classes = _classes(model, fed, targets)
        falls = Occlusion(lambda faces: model(faces).softmax(1)).attribute(
            fed, (channels, window, window), (channels, stride, stride), baselines=0, target=classes
        )
    return falls[:, 0].cpu().numpy()


def edge_map(images: np.ndarray) -> np.ndarray:
    """How strong the edges of faces are, uint8 (n, h, w) -> float (n, h, w), by Sobel: a map that asks no model."""
    pictures = _pictures(images).astype(np.float32)
    return np.stack([np.hypot(cv2.Sobel(p, -1, 1, 0), cv2.Sobel(p, -1, 0, 1)) for p in pictures])


def overlay(images: np.ndarray, maps: np.ndarray, strength: float = 0.7) -> np.ndarray:
    """Maps over faces, uint8 (n, h, w) and float (n, h', w') -> uint8 RGB (n, h, w, 3); yellow is high, violet low.

    Each map is enlarged to its face; what it has above 0 is shown in shares of its highest value, by a colour map that
    rises evenly in lightness. `strength`, 0 to 1, is the colour's share of the highest pixel; the lowest has half that.
    """
    pictures, heights = _pictures(images), _maps(maps)
    if len(pictures) != len(heights):
        raise ValueError(f"{len(pictures)} images and {len(heights)} maps given; give one map an image")
    shown = []
    for picture, height in zip(pictures, heights, strict=True):
        height = cv2.resize(height.astype(np.float32), picture.shape[::-1], interpolation=cv2.INTER_LINEAR).clip(0)
        level = height[..., None] / (height.max() or 1)
        color = cv2.applyColorMap(np.round(255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
        share = strength * (1 + level) / 2
        shown.append(np.round(share * color + (1 - share) * picture[..., None]).astype(np.uint8))
    return np.stack(shown)


def region_masks(boxes: pd.DataFrame, size: int = 48, *, threshold: float = 0.15) -> np.ndarray:
    """Where on drawn faces the emotion is to be seen, by the action units that take part: bool (n, size, size).

    `boxes`: a row a face, as `sample.draw` gives it: the units' strengths (0 to 1) and the boxes of brows, eyes and
    mouth in pixels. A mask joins the boxes of those `REGIONS` in which a unit of more than `threshold` shows; the nose
    is what lies between eyes and mouth, as wide as the mouth. Without such a unit a face is neutral in brows, eyes and
    mouth. A pixel belongs to a box that holds its middle.
    """
    parts, edges = ("brows", "eyes", "mouth"), ("x0", "y0", "x1", "y1")
    units = [*dict.fromkeys(unit for region in REGIONS.values() for unit in region)]
    missing = [name for name in [f"{p}_{e}" for p in parts for e in edges] + units if name not in boxes]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}; give the one that `sample.draw` returns")
    places = {part: boxes[[f"{part}_{edge}" for edge in edges]].to_numpy(float) for part in parts}
    eyes, mouth = places["eyes"], places["mouth"]
    places["nose"] = np.stack([mouth[:, 0], eyes[:, 3], mouth[:, 2], mouth[:, 1]], 1)
    shows = {region: (boxes[[*REGIONS[region]]] > threshold).any(axis=1).to_numpy() for region in REGIONS}
    neutral = ~np.any([*shows.values()], axis=0)
    middle, masks = np.arange(size) + 0.5, np.zeros((len(boxes), size, size), bool)
    for region, place in places.items():
        x0, y0, x1, y1 = place.T[:, :, None]
        inside = ((middle >= y0) & (middle < y1))[:, :, None] & ((middle >= x0) & (middle < x1))[:, None, :]
        masks |= inside & (shows[region] | (neutral & (region in parts)))[:, None, None]
    return masks


def score_each(maps: np.ndarray, masks: np.ndarray) -> pd.DataFrame:
    """How well each map (n, h, w) points at its mask, bool (n, h, w): a row a face of fractions.

    `pointing`: whether the highest pixel lies inside (J. Zhang et al., 2016, arXiv 1608.00507), or the share that does
    of several as high. `energy`: the share inside of all that the map has above 0. `area`: the mask's share of the
    face, which energy reaches by chance. A map with nothing above 0 points nowhere: a miss, and the energy of chance.
    """
    heights = _maps(maps)
    if masks.dtype != bool or masks.shape != heights.shape or not len(heights):
        raise ValueError(f"maps {heights.shape} and masks {masks.dtype} {masks.shape} given; bool ones of one shape go")
    above, axes = heights.clip(0), (1, 2)
    total, area, highest = above.sum(axes), masks.mean(axes), heights == heights.max(axes, keepdims=True)
    share = np.divide((above * masks).sum(axes), total, out=area.copy(), where=total > 0)
    pointing = np.where(total > 0, (highest & masks).sum(axes) / highest.sum(axes), 0.0)
    return pd.DataFrame({"pointing": pointing, "energy": share, "area": area})


def score(maps: np.ndarray, masks: np.ndarray) -> pd.DataFrame:
    """`mean_intervals` of `score_each`: rows pointing, energy, area; columns value, low, high."""
    return mean_intervals(score_each(maps, masks))


def mean_intervals(each: pd.DataFrame, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Each column's mean over the faces (rows of `each`): value and bootstrap percentile interval low, high.

    Whether one map is better than another is in the differences, face by face: `mean_intervals(score_each(a, masks) -
    score_each(b, masks))`.
    """
    n = len(each)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)  # of each face, redrawn n times
    low, high = np.quantile(counts @ each.to_numpy() / n, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return pd.DataFrame({"value": each.mean(), "low": low, "high": high})


@contextmanager
def _evaluating(model: nn.Module, batch: torch.Tensor) -> Iterator[torch.Tensor]:
    """The batch where the model is, which is in evaluation mode meanwhile and then again in the modes it was in."""
    given = f"{batch.dtype} {tuple(batch.shape)}"
    if batch.ndim != 4 or not batch.is_floating_point() or not len(batch):
        raise ValueError(f"a batch is float (n, channels, h, w), as `EvalTransform` makes it; {given} was given")
    with evaluating(model):
        yield batch.to(next(model.parameters(), batch).device)


def _maps_of(model: nn.Module, batch: torch.Tensor, layers: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Those layers' outputs that are maps (n, channels, h, w), in the order in which the layers end."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            found.pop(name, None)
            found[name] = output.clone()  # the next layer may change it in place

    with _evaluating(model, batch) as fed, torch.no_grad(), ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(keep, name)))
        model(fed)
    return found


def _layer(model: nn.Module, name: str) -> nn.Module:
    network = unwrap(model)
    layers = dict(list(network.named_modules())[1:])  # the first is the network
    if name not in layers:
        near = difflib.get_close_matches(name, layers, 5, 0.4) or [known for known, _ in network.named_children()]
        raise ValueError(f"{type(network).__name__} has no layer {name!r}; it has {', '.join(near)}, among others")
    return layers[name]


def _classes(model: nn.Module, batch: torch.Tensor, targets: Targets) -> torch.Tensor:
    """The class to explain for each face, (n,): what was asked, or what the model predicts."""
    with torch.no_grad():
        logits = model(batch)
    if targets is None:
        return logits.argmax(1)
    asked, (n, count) = torch.as_tensor(targets, device=logits.device), logits.shape
    whole = not asked.is_floating_point() and asked.dtype != torch.bool
    if not whole or asked.shape not in ((), (n,)) or not ((asked >= 0) & (asked < count)).all():
        raise ValueError(f"targets {targets} given; allowed are a class, 0 to {count - 1}, or {n} of them, one a face")
    return asked.long().expand(n)


def _pictures(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim != 3 or not images.size:
        raise ValueError(f"images must be uint8 (n, h, w); {images.dtype} {images.shape} was given")
    return images


def _maps(maps: np.ndarray) -> np.ndarray:
    if maps.ndim != 3 or not np.isfinite(maps).all():
        raise ValueError(f"maps must be finite floats (n, h, w), one a face; {maps.dtype} {maps.shape} was given")
    return maps
