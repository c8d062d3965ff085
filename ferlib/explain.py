"""Filters, activations, Grad-CAM and occlusion maps of a network, and how well a map covers known regions.

A `batch` is what the model takes, float (n, channels, h, w), as `transforms.EvalTransform` makes it. Maps are NumPy
arrays, one a face. The model runs in evaluation mode; its modes and gradients then are as before.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam, LayerGradientXActivation, Occlusion
from torch import nn

from ferlib.evaluation import bootstrap, percentile_interval, select_columns
from ferlib.models.face_model import device_of, evaluating, unwrap
from ferlib.utils import require

MIN_CELLS = 6  # cells on a side of a map; in a coarser one the parts of a face cannot be told apart
PARTS = ("brows", "eyes", "mouth")
REGIONS = {  # where on the face an action unit shows (Ekman and Friesen 1978, Facial Action Coding System)
    "brows": ("au1", "au2", "au4"),
    "eyes": ("au5", "au6", "au7"),
    "nose": ("au9", "au10"),
    "mouth": ("au10", "au12", "au15", "au16", "au17", "au20", "au23", "au24", "au25", "au26"),
}
Targets = int | Sequence[int] | np.ndarray | torch.Tensor | None


def first_filters(model: nn.Module) -> np.ndarray:
    """Return the weights of the first convolution, averaged over its input channels: float (n, k, k).

    Raises:
        ValueError: the model has no convolution.
    """
    convolutions = [module for module in unwrap(model).modules() if isinstance(module, nn.Conv2d)]
    require(convolutions, f"{type(unwrap(model)).__name__} has no convolution; give a network with one")
    return convolutions[0].weight.detach().mean(1).cpu().numpy()


def activations(model: nn.Module, batch: torch.Tensor, layer: str | None = None) -> np.ndarray:
    """Return the activation maps of a layer.

    Args:
        model: a `FaceModel` or any network.
        batch: faces, float (n, channels, h, w).
        layer: the layer's name; None takes that of `find_layer`.

    Returns:
        Float (n, channels, h, w).

    Raises:
        ValueError: there is no such layer.
        ValueError: the layer's output is no map.
    """
    name, network = find_layer(model, batch) if layer is None else layer, unwrap(model)
    layers, parts = dict(network.named_modules()), ", ".join(part for part, _ in network.named_children())
    require(name in layers, f"{type(network).__name__} has no layer {name!r}; its parts are {parts}")
    maps = _activation_maps(model, batch, {name: layers[name]})
    require(name in maps, f"the layer {name!r} gives no map (n, channels, h, w); `find_layer(model, batch)` names one")
    return maps[name].cpu().numpy()


def find_layer(model: nn.Module, batch: torch.Tensor, min_cells: int = MIN_CELLS) -> str:
    """Find the deepest layer whose map is fine enough to explain a face.

    Args:
        model: a `FaceModel` or any network.
        batch: faces, float (n, channels, h, w).
        min_cells: the smallest number of cells on a side of the map.

    Returns:
        The layer's name. Of layers that end together, the outermost.

    Raises:
        ValueError: no layer has such a map.
    """
    network, (height, width) = unwrap(model), _faces(model, batch).shape[2:]
    maps = _activation_maps(model, batch[:1], dict(list(network.named_modules())[1:]))  # the first is the network
    sizes = {name: tuple(each.shape[2:]) for name, each in maps.items()}
    # Tokens have four axes too, but not the shape of the face.
    fine = [name for name, (h, w) in sizes.items() if min(h, w) >= min_cells and h * width == w * height]
    require(fine, f"no layer of {type(network).__name__} has a map of {min_cells}x{min_cells} for faces of {height} "
            "px; feed larger faces, or build the model with small_stem=True")  # fmt: skip
    return fine[-1]


def grad_cam(
    model: nn.Module, batch: torch.Tensor, targets: Targets = None, layer: str | None = None, *, average: bool = True
) -> np.ndarray:
    """Compute Grad-CAM maps: where a layer's map speaks for a class.

    Each channel is weighted by the mean gradient of the target's logit, and the positive part of the sum is enlarged
    (R. Selvaraju et al., Grad-CAM, 2017, arXiv 1610.02391; computed by captum). The mean ignores where in the map the
    later layers look.

    Args:
        model: a `FaceModel` or any network.
        batch: faces, float (n, channels, h, w).
        targets: the class to explain, one for all or one a face; None takes the predicted ones.
        layer: the layer's name; None takes that of `find_layer`.
        average: whether to average the gradient over the map. False keeps each cell's own gradient (R. Draelos and
            L. Carin, HiResCAM, 2020, arXiv 2011.08891).

    Returns:
        Float (n, h, w) of the batch's size, 0 to 1; the highest value of a face is 1. A face with nothing positive
        gets zeros.

    Raises:
        ValueError: there is no such layer.
        ValueError: the layer's map is coarser than 6x6 cells.
        ValueError: a target is no class.
    """
    name = find_layer(model, batch) if layer is None else layer
    h, w = activations(model, batch[:1], name).shape[2:]
    if min(h, w) < MIN_CELLS:
        raise ValueError(f"the map of {name!r} is {h}x{w}, too coarse for a face; take {find_layer(model, batch)!r}")
    method = (LayerGradCam if average else LayerGradientXActivation)(model, unwrap(model).get_submodule(name))
    with evaluating(model), torch.enable_grad():
        faces = _faces(model, batch)
        cam = method.attribute(faces, _target_classes(model, faces, targets)).detach().sum(1, keepdim=True).relu()
    cam = LayerAttribution.interpolate(cam, tuple(batch.shape[2:]), "bilinear")[:, 0]
    highest = cam.amax((1, 2), keepdim=True)
    return (cam / torch.where(highest > 0, highest, 1)).cpu().numpy()


def occlusion(
    model: nn.Module, batch: torch.Tensor, targets: Targets = None, window: int | None = None, stride: int | None = None
) -> np.ndarray:
    """Compute occlusion maps: how far the target's probability falls when a window is covered.

    The window is filled with the batch's 0, the mean gray that the model normalises by. Each pixel gets the mean over
    the windows that cover it (M. Zeiler and R. Fergus, 2014, arXiv 1311.2901; computed by captum).

    Args:
        model: a `FaceModel` or any network.
        batch: faces, float (n, channels, h, w).
        targets: the class to explain, one for all or one a face; None takes the predicted ones.
        window: side of the square in pixels; None takes an eighth of the face (6 px of 48).
        stride: pixels from one window to the next, at most `window`; None takes half of that.

    Returns:
        Float (n, h, w), -1 to 1. Below 0 the target gains when the pixel is covered.

    Raises:
        ValueError: window or stride do not fit the face.
        ValueError: a target is no class.
    """
    channels, side = batch.shape[1], min(batch.shape[2:])
    window = max(1, side // 8) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    require(1 <= stride <= window <= side, f"window {window} and stride {stride} were given for faces of {side} px; "
            f"a window has 1 to {side} px, a stride 1 px to the window's")  # fmt: skip
    sizes = {"sliding_window_shapes": (channels, window, window), "strides": (channels, stride, stride)}
    with evaluating(model), torch.no_grad():
        faces, method = _faces(model, batch), Occlusion(lambda covered: model(covered).softmax(1))
        maps = method.attribute(faces, baselines=0, target=_target_classes(model, faces, targets), **sizes)
    return maps[:, 0].cpu().numpy()


def edge_map(images: np.ndarray) -> np.ndarray:
    """Compute the strength of edges by Sobel: a map that needs no model.

    Args:
        images: uint8 (n, h, w).

    Returns:
        Float (n, h, w).
    """
    pictures = images.astype(np.float32)
    return np.stack([np.hypot(cv2.Sobel(p, -1, 1, 0), cv2.Sobel(p, -1, 0, 1)) for p in pictures])


def overlay(images: np.ndarray, maps: np.ndarray, strength: float = 0.7) -> np.ndarray:
    """Lay maps over faces in colour; yellow is high, violet is low.

    Each map is enlarged to its face. Its positive part is shown relative to its highest value.

    Args:
        images: uint8 (n, h, w).
        maps: float (n, h', w').
        strength: the colour's share of the highest pixel, 0 to 1; the lowest pixel has half that share.

    Returns:
        RGB pictures, uint8 (n, h, w, 3).
    """
    overlays = []
    for picture, heights in zip(images, maps, strict=True):
        level = cv2.resize(heights.astype(np.float32), picture.shape[::-1], interpolation=cv2.INTER_LINEAR).clip(0)
        level = level[..., None] / (level.max() or 1)
        color = cv2.applyColorMap(np.round(255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
        share = strength * (1 + level) / 2
        overlays.append(np.round(share * color + (1 - share) * picture[..., None]).astype(np.uint8))
    return np.stack(overlays)


def region_masks(boxes: pd.DataFrame, size: int = 48, *, threshold: float = 0.15) -> np.ndarray:
    """Mask the regions of drawn faces that show the emotion.

    A mask joins the boxes of those `REGIONS` in which an action unit shows. The nose lies between eyes and mouth, as
    wide as the mouth. A face without such a unit is neutral in brows, eyes and mouth.

    Args:
        boxes: a row a face, as `sample.draw` gives it: the strengths of the units (0 to 1), and the boxes of brows,
            eyes and mouth in pixels.
        size: height and width of a face in pixels.
        threshold: a unit shows above this strength.

    Returns:
        Bool (n, size, size); a pixel belongs to the box that holds its middle.

    Raises:
        ValueError: `boxes` lacks a column.
    """
    edges = {part: [f"{part}_{edge}" for edge in ("x0", "y0", "x1", "y1")] for part in PARTS}
    boxes = select_columns(boxes, [*chain(*edges.values(), *REGIONS.values())], "sample.draw")
    places = {part: boxes[columns].to_numpy(float) for part, columns in edges.items()}
    eyes, mouth = places["eyes"], places["mouth"]
    places["nose"] = np.stack([mouth[:, 0], eyes[:, 3], mouth[:, 2], mouth[:, 1]], 1)
    shows = {region: (boxes[[*units]] > threshold).any(axis=1).to_numpy() for region, units in REGIONS.items()}
    neutral = ~np.any([*shows.values()], axis=0)
    middle, masks = np.arange(size) + 0.5, np.zeros((len(boxes), size, size), bool)
    for region, place in places.items():
        x0, y0, x1, y1 = place.T[:, :, None]
        inside = ((middle >= y0) & (middle < y1))[:, :, None] & ((middle >= x0) & (middle < x1))[:, None, :]
        masks |= inside & (shows[region] | (neutral & (region in PARTS)))[:, None, None]
    return masks


def score_each(maps: np.ndarray, masks: np.ndarray) -> pd.DataFrame:
    """Score how well each map points at its mask.

    Args:
        maps: float (n, h, w).
        masks: bool (n, h, w).

    Returns:
        A row a face, all fractions. pointing: whether the highest pixel lies inside (J. Zhang et al., 2016, arXiv
        1608.00507), or the share inside of several highest ones. energy: the share of the map's positive sum that lies
        inside. area: the mask's share of the face, which energy reaches by chance. A map with nothing positive gets
        pointing 0 and the energy of chance.

    Raises:
        ValueError: the shapes differ.
    """
    require(maps.shape == masks.shape, f"maps {maps.shape} and masks {masks.shape} differ; give a mask of each map")
    positive, axes = maps.clip(0), (1, 2)
    total, area, highest = positive.sum(axes), masks.mean(axes), maps == maps.max(axes, keepdims=True)
    energy = np.divide((positive * masks).sum(axes), total, out=area.copy(), where=total > 0)
    pointing = np.where(total > 0, (highest & masks).sum(axes) / highest.sum(axes), 0.0)
    return pd.DataFrame({"pointing": pointing, "energy": energy, "area": area})


def mean_intervals(each: pd.DataFrame, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Compute the mean of each column with its bootstrap interval.

    To compare two maps, give the differences of each face:
    `mean_intervals(score_each(a, masks) - score_each(b, masks))`.

    Args:
        each: a row a face.
        level: the coverage of the intervals.
        resamples: how many times to draw the faces again.
        seed: of the random numbers.

    Returns:
        A row a column of `each`; columns value, low and high.
    """
    n = len(each)
    means = bootstrap(np.ones(n), resamples, seed) @ each.to_numpy() / n
    low, high = percentile_interval(means, level)
    return pd.DataFrame({"value": each.mean(), "low": low, "high": high})


def _activation_maps(model: nn.Module, batch: torch.Tensor, layers: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Return the outputs of those layers that are maps (n, channels, h, w), in the order in which the layers end."""
    maps: dict[str, torch.Tensor] = {}

    def keep(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            maps.pop(name, None)
            maps[name] = output.clone()  # the next layer may change it in place

    with evaluating(model), torch.no_grad(), ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(keep, name)))
        model(_faces(model, batch))
    return maps


def _faces(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Return a batch on the model's device; raise `ValueError` if it holds no prepared faces."""
    prepared = isinstance(batch, torch.Tensor) and batch.ndim == 4 and batch.is_floating_point()
    kind = f"{batch.dtype} {tuple(batch.shape)}" if isinstance(batch, torch.Tensor) else type(batch).__name__
    require(prepared, f"the batch is {kind}; give float (n, channels, h, w), as EvalTransform(model.input_spec) gives")
    return batch.to(device_of(model))


def _target_classes(model: nn.Module, batch: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Return the class to explain for each face, (n,): the one asked for, or the predicted one."""
    with torch.no_grad():
        logits = model(batch)
    if targets is None:
        return logits.argmax(1)
    n, k = logits.shape
    classes = np.asarray(targets.cpu() if isinstance(targets, torch.Tensor) else targets)
    fits = classes.dtype.kind in "iu" and classes.shape in ((), (n,)) and ((classes >= 0) & (classes < k)).all()
    require(fits, f"targets are {targets!r:.80}; give a class index from 0 to {k - 1}, or one for each of {n} faces")
    return torch.from_numpy(classes.astype(np.int64)).to(batch.device).expand(n)
