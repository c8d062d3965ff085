"""Is bf16 faster here? Training steps in fp32 and bf16 in turn, for networks with and without depthwise convolutions.

Run: python benchmarks/precision.py [--rounds 5]. Prints the median ratio (above 1: bf16 is faster) and what
`ferlib.training.choose_precision` would choose, which should agree.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from ferlib.models import build_model
from ferlib.recipes import get_recipe
from ferlib.training import choose_precision

BATCH, STEPS = 64, 8


def seconds(model: torch.nn.Module, device: torch.device, precision: str) -> float:
    """Time of STEPS training steps on random faces."""
    images = torch.randn(BATCH, 1, 48, 48, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(7, (BATCH,), device=device)
    began = time.perf_counter()
    for _ in range(STEPS):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {BATCH} at 48 px\n")
    print("| network | fp32 time / bf16 time, median (min-max) | ferlib chooses |\n|---|---|---|")
    names = {"cpu recipe": get_recipe("cpu").build()[0], "plain_cnn": build_model("plain_cnn")}
    names |= {name: build_model(name) for name in ("resnet18", "efficientnet_b0", "mobilenetv3_small_100")}
    for name, made in names.items():
        model = made.to(device, memory_format=torch.channels_last).train()
        ratios = []
        for _ in range(rounds + 1):  # the first one warms up
            full, half = (seconds(model, device, precision) for precision in ("fp32", "bf16"))
            ratios.append(full / half)
        ratios = ratios[1:]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {name} | {spread} | {choose_precision(model, device)} |", flush=True)


if __name__ == "__main__":
    main()
