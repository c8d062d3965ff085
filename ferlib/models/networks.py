"""Two networks for small gray faces, the textbook's and one shaped for 48 px; and several networks as one."""

import math
from collections.abc import Sequence

import torch
from torch import nn


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


class Ensemble(nn.Module):
    """Several networks of the same input as one: the logarithm of their mean probabilities, (n, num_classes)."""

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        each = torch.stack([member(x).float().log_softmax(1) for member in self.members])
        return each.logsumexp(0) - math.log(len(self.members))
