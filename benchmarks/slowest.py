"""Two slow places, each as it was before and as it is now, in turn in one run (two minutes).

    python benchmarks/slowest.py

Before: BatchAugment clamped its grid into a new array; models kept torch's channels-first layout. Shown is time before
over time now: median, least and most.
"""

import argparse
from collections.abc import Callable

import torch
from bench import ratio, turns

from ferlib import data, evaluation, models
from ferlib.transforms import BatchAugment, InputSpec


class Before(BatchAugment):
    """As it was: `grid` gives a clamped copy, so that clamping it in place, which it still does, costs as little."""

    def grid(self, n: int, device: torch.device | str = "cpu") -> torch.Tensor:
        edge = 1 - 1 / torch.tensor([48, 48], device=device)
        return super().grid(n, device).clamp(-edge, edge)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds, after one that warms up (9)")
    rounds = parser.parse_args().rounds
    faces = data.load().subset("Training").subset(range(2800))
    batch = torch.from_numpy(faces.images[:128])[:, None]
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    for size in (224, 48):
        before, now = Before(InputSpec(size=size)), BatchAugment(InputSpec(size=size))
        assert torch.equal(*(torch.manual_seed(0) and way(batch) for way in (before, now)))
        calls[f"BatchAugment, 128 faces to {size} px"] = (lambda way=before: way(batch), lambda way=now: way(batch))
    for name in ("fer2013-small", "fer2013"):
        now = models.load_model(name)
        before = models.load_model(name).to(memory_format=torch.contiguous_format)
        some = faces.subset(range(512))

        def predict(way: torch.nn.Module, some: data.FaceDataset = some) -> None:
            evaluation.predict(way, some)

        calls[f"predict, {name}, 512 faces"] = (lambda way=before: predict(way), lambda way=now: predict(way))
    for threads in sorted({1, torch.get_num_threads()}):
        torch.set_num_threads(threads)
        each = turns({f"{name}{i}": call for name, pair in calls.items() for i, call in enumerate(pair)}, rounds)
        for name in calls:
            print(f"| {name}, torch threads: {threads} | {ratio(each[name + '0'], each[name + '1'])} |", flush=True)


if __name__ == "__main__":
    main()
