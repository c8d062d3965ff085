"""The speed run: seconds from the start of a process to 66.9%, 70% and 72% on PublicTest, the mean of five runs each.

    python benchmarks/speed.py --data data/fer2013.csv                              # on a GPU: minutes
    python benchmarks/speed.py --data sample --runs 1 --epochs 1 --targets 66.9     # a dry run, on anything

A target has a budget of its own, fixed beforehand; it counts as reached if the mean accuracy of its runs is at or above
it. The clock runs from the moment a fresh Python is started to the accuracy in hand: imports, the reading of the data
(the CSV's cache is made once before), training, and an evaluation averaged over 18 views. `fit` validates after each
epoch, too. Seeds differ by run.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

# target (%): recipe, what is changed in its settings, and in its model
BUDGETS: dict[float, tuple[str, dict, dict]] = {
    66.9: (
        "long",
        {"epochs": 14, "batch_size": 512, "lr": 0.006, "mixup": 0.0, "ema": 0.99, "progressive": (36, 0.4)},
        {},
    ),
    70.0: ("long", {"epochs": 40, "batch_size": 512, "lr": 0.006, "ema": 0.995, "progressive": (36, 0.4)}, {}),
    72.0: ("gpu", {"epochs": 100, "batch_size": 512, "lr": 0.006, "ema": 0.998, "progressive": (36, 0.4)}, {}),
}


def child(target: float, seed: int, args: argparse.Namespace) -> None:
    """One run in this process; prints its accuracy (%), device and precision as JSON."""
    import dataclasses

    import torch

    from ferlib import data, evaluation, recipes
    from ferlib.training import fit

    torch.set_float32_matmul_precision("high")
    name, settings, changes = BUDGETS[target]
    recipe = recipes.altered(recipes.get_recipe(name), seed=seed, **settings)
    if args.epochs is not None:
        recipe = recipes.altered(recipe, epochs=args.epochs)
    recipe = dataclasses.replace(recipe, model=recipe.model | changes)
    faces = data.load(args.data)
    train, test = faces.subset("Training"), faces.subset("PublicTest")
    model, augment, _ = recipe.build()
    result = fit(model, train, test, recipe.config, train_transform=augment, progress=False)
    views = evaluation.VIEWS["shift_flip_averaged"]
    found = evaluation.predict(result.model, test, views=views)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(json.dumps({"accuracy": 100 * float(found.correct.mean()), "device": device, "precision": result.precision}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    parser.add_argument("--targets", type=float, nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="in place of the budget's own, for a dry run")
    parser.add_argument("--json", type=Path, help="write every run here")
    parser.add_argument("--child", type=float, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], int(args.child[1]), args)
        return
    from ferlib import data

    data.load(args.data)  # makes the cache
    rows = []
    print("| target % | runs | seconds, mean +- sd | accuracy %, mean +- sd | reached |\n|---|---|---|---|---|")
    for target in args.targets:
        for seed in range(args.runs):
            command = [sys.executable, __file__, "--child", str(target), str(seed), "--data", args.data]
            command += ["--epochs", str(args.epochs)] if args.epochs is not None else []
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - began
            if done.returncode:
                raise SystemExit(done.stderr)
            rows.append(
                {"target": target, "seed": seed, "seconds": seconds, **json.loads(done.stdout.splitlines()[-1])}
            )
        mine = [row for row in rows if row["target"] == target]
        times, scores = ([row[key] for row in mine] for key in ("seconds", "accuracy"))
        reached = "yes" if sum(scores) / len(scores) >= target else "no"
        print(f"| {target} | {len(mine)} | {told(times)} | {told(scores)} | {reached} |", flush=True)
    print(f"\n{rows[0]['device']}, {rows[0]['precision']}")
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1))


def told(values: list[float]) -> str:
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)) ** 0.5
    return f"{mean:.2f} +- {spread:.2f}"


if __name__ == "__main__":
    main()
