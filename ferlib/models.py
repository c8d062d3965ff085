"""Networks for small gray faces: two of our own, any of timm's, and one safe file to keep them in.

A model that `build_model` made knows its own input (`model.input_spec`) and how it was built (`model.built_with`), so
that `save_model` needs no more than the model, and `load_model` no more than the file.
"""

import dataclasses
import difflib
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers import PatchEmbed
from torch import nn

from ferlib.emotions import EMOTIONS
from ferlib.files import write_whole
from ferlib.transforms import InputSpec

WEIGHTS_FILE = "model.safetensors"
# timm's options that fetch or read weights from elsewhere: a model's file neither keeps nor obeys them.
FOREIGN_WEIGHTS = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


class PlainCNN(nn.Module):
    """The textbook network: convolution, ReLU, max-pool three times over, then dropout and two dense layers.

    Takes (n, in_chans, 48, 48), gives logits (n, num_classes). 0.7 M parameters.
    """

    def __init__(self, num_classes: int = 7, in_chans: int = 1, drop_rate: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # 48 -> 24
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # -> 12
            nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # -> 6
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(drop_rate), nn.Linear(128 * 6 * 6, 128), nn.ReLU(), nn.Linear(128, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


class Residual(nn.Module):
    """x + GELU(BatchNorm(convolution(x))): (n, channels, h, w) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.GELU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class FerNet(nn.Module):
    """A small residual network shaped for 48-px faces: most of its work is done on 12x12 and 6x6 maps.

    Takes (n, in_chans, h, w), gives logits (n, num_classes). `widths` are the channels after the stem and each of the
    three stages, `depths` the residual blocks in each. 2.0 M parameters as it stands. The stage's form (pooling before
    the normalisation) follows Keller Jordan's airbench networks (arXiv 2404.00498).
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 1,
        drop_rate: float = 0.2,
        widths: tuple[int, ...] = (32, 64, 256, 256),
        depths: tuple[int, ...] = (1, 1, 1),
    ):
        super().__init__()
        if len(depths) != len(widths) - 1:
            raise ValueError(f"{len(widths)} widths go with {len(widths) - 1} depths; {len(depths)} were given")
        self.stem = nn.Conv2d(in_chans, widths[0], 4, stride=2, padding=1)  # 48 -> 24
        stages = zip(widths[:-1], widths[1:], depths, strict=True)
        self.stages = nn.Sequential(*(self._stage(*stage) for stage in stages))  # 24 -> 12 -> 6 -> 3
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(2 * widths[-1], num_classes)

    @staticmethod
    def _stage(width_in: int, width_out: int, depth: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(width_in, width_out, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(width_out),
            nn.GELU(), *(Residual(width_out) for _ in range(depth)),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stages(self.stem(x))
        pooled = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)  # (n, 2 * channels)
        return self.head(self.drop(pooled))


OWN_MODELS: dict[str, type[nn.Module]] = {"plain_cnn": PlainCNN, "fernet": FerNet}


def build_model(
    name: str, *, num_classes: int = 7, in_chans: int = 1, size: int = 48, small_stem: bool = True, **options: Any
) -> nn.Module:
    """Build `"fernet"`, `"plain_cnn"` or any model that timm knows, from scratch, for faces of `size` px.

    `small_stem` halves a timm model's first stride and drops a max-pool behind it, since a stem made for 224 px leaves
    a 2x2 map of a 48-px face; `options` go to the model (`drop_rate`, `widths`, timm's own). Ask `input_spec(model)`
    what it wants to be fed. Raises `ValueError` for an unknown name, with names that are near it.
    """
    if name in OWN_MODELS:
        if name == "plain_cnn" and size != 48:
            raise ValueError(f"plain_cnn takes faces of 48 px, {size} were asked; take fernet or a timm model")
        model: nn.Module = OWN_MODELS[name](num_classes=num_classes, in_chans=in_chans, **options)
    elif timm.is_model(name):
        model = timm.create_model(name, num_classes=num_classes, in_chans=in_chans, **options)
        if small_stem:
            _shrink_stem(model, name)
    else:
        near = difflib.get_close_matches(name.lower(), [*OWN_MODELS, *timm.list_models()], 5)
        raise ValueError(
            f"no model is called {name!r}; allowed are {', '.join(OWN_MODELS)} and timm's names"
            + (f", such as {', '.join(near)}" if near else " (`timm.list_models()` lists them)")
        )
    spec = InputSpec(size, in_chans, (0.5077,) * in_chans, (0.2550,) * in_chans)
    kept = {option: value for option, value in options.items() if option not in FOREIGN_WEIGHTS}
    own = {"name": name, "num_classes": num_classes, "in_chans": in_chans, "size": size, "small_stem": small_stem}
    return _attach(model, input_spec=spec, built_with=own | kept)


def input_spec(model: nn.Module) -> InputSpec:
    """What a model of `build_model` or `load_model` wants to be fed."""
    spec = getattr(model, "input_spec", None)
    if not isinstance(spec, InputSpec):
        raise ValueError("this model does not know its input: make it by ferlib.models.build_model or load_model")
    return spec


def built_with(model: nn.Module) -> dict[str, Any]:
    """The arguments that `build_model` made a model with."""
    input_spec(model)
    return dict(vars(model)["built_with"])


def _attach(model: nn.Module, **facts: Any) -> nn.Module:
    for name, fact in facts.items():
        setattr(model, name, fact)
    return model


def _shrink_stem(model: nn.Module, name: str) -> None:
    """Halve the first convolution's stride and drop the stem's max-pool, in place; every weight keeps its shape."""
    first: Any = getattr(model, "pretrained_cfg", {}).get("first_conv", "")
    first = first[0] if isinstance(first, tuple) else first
    layer = model.get_submodule(first) if first else None
    patches = isinstance(model.get_submodule(first.rpartition(".")[0]), PatchEmbed)  # its stride fixes the tokens' grid
    if not isinstance(layer, nn.Conv2d) or patches:
        raise ValueError(f"{name} has no first convolution to slow down; build it with small_stem=False")
    layer.stride = tuple(max(1, stride // 2) for stride in layer.stride)
    if isinstance(getattr(model, "maxpool", None), nn.MaxPool2d):
        _attach(model, maxpool=nn.Identity())


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model: (all, those that train)."""
    sizes = [(p.numel(), p.numel() if p.requires_grad else 0) for p in model.parameters()]
    return sum(size for size, _ in sizes), sum(trains for _, trains in sizes)


def save_model(model: nn.Module, folder: str | Path, **facts: Any) -> Path:
    """Write a model of `build_model` to `folder/model.safetensors`, whole or not at all; returns that path.

    The file's header holds `facts`, how to rebuild the model, its input, its classes, a hash of the weights
    (`model_hash`) and one of all this.
    """
    spec = input_spec(model)
    classes = built_with(model)["num_classes"]
    if classes != len(EMOTIONS):
        raise ValueError(f"the model has {classes} classes; a file is for the {len(EMOTIONS)} emotions")
    path = Path(folder) / WEIGHTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    about = facts | {
        "built_with": built_with(model), "input_spec": dataclasses.asdict(spec), "classes": EMOTIONS,
        "weights_sha256": _hash(tensors),
    }  # fmt: skip
    about = json.loads(json.dumps(about))  # as a reader will see it
    content = save(tensors, {"ferlib": json.dumps(about | {"about_sha256": _hash_about(about)})})
    return write_whole(path, lambda scratch: scratch.write_bytes(content))


def load_model(path: str | Path) -> nn.Module:
    """Rebuild a model from its file, or from a folder that holds `model.safetensors`, in evaluation mode.

    `model.about` holds the file's facts. No code in the file is run (safetensors and JSON). Raises `FileNotFoundError`,
    or `ValueError` for a file that is cut short, altered, not ours, or made for other classes; nothing is half-loaded.
    """
    path = Path(path).expanduser()
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; train a model first: ferlib train --recipe cpu --out {path}")
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ferlib", "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, json.JSONDecodeError, struct.error, OSError) as error:
        raise ValueError(f"{file} is no whole safetensors file ({error}); fetch or train it again") from error
    if not isinstance(about, dict) or not {"built_with", "input_spec", "classes", "weights_sha256"} <= set(about):
        raise ValueError(f"{file} was not written by ferlib.models.save_model: it does not say how to build its model")
    if tuple(about["classes"]) != EMOTIONS:
        raise ValueError(f"{file} is for the classes {', '.join(about['classes'])}; ferlib's are {', '.join(EMOTIONS)}")
    if _hash(tensors) != about["weights_sha256"] or _hash_about(about) != about.get("about_sha256"):
        raise ValueError(f"{file} was altered: it does not match the hashes it carries; fetch or train it again")
    try:
        spec = about["input_spec"]
        known = InputSpec(spec["size"], spec["channels"], tuple(spec["mean"]), tuple(spec["std"]))
        options = {name: value for name, value in about["built_with"].items() if name not in FOREIGN_WEIGHTS}
        model = build_model(**options)
        model.load_state_dict(tensors)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} does not fit the model that it names: {error}") from error
    return _attach(model, input_spec=known, about=about).eval()


def model_hash(model: nn.Module) -> str:
    """SHA-256 of a model's weights, names included: which model a figure belongs to."""
    return _hash({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})


def _hash_about(about: dict[str, Any]) -> str:
    facts = {name: fact for name, fact in about.items() if name != "about_sha256"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
