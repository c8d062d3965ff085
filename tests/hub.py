"""A hub's cache with ImageNet weights that the test itself made up, so that nothing is fetched."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file


def make_cache(folder: Path, *names: str) -> dict[str, dict[str, torch.Tensor]]:
    """Write random weights for these timm names as the hub's cache keeps them; returns the weights."""
    made = {}
    for name in names:
        torch.manual_seed(len(name))
        made[name] = timm.create_model(name).state_dict()
        kept = folder / f"models--timm--{name}"
        (kept / "refs").mkdir(parents=True)
        (kept / "refs" / "main").write_text("0123abcd")
        (kept / "snapshots" / "0123abcd").mkdir(parents=True)
        save_file(made[name], kept / "snapshots" / "0123abcd" / "model.safetensors")
    return made


def use_cache(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the hub look in `folder` alone, and reach for no network."""
    patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
