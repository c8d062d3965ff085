"""FER2013 from scratch: the runs behind the figures, their evidence, the ablation, and the weights that ship.

    python benchmarks/fer2013.py train long --seeds 0 1 2 --data data/fer2013.csv      # runs/fer2013/long-0, ...
    python benchmarks/fer2013.py train small --teacher runs/fer2013/long-0 runs/fer2013/long-1 --seeds 0 1 2
    python benchmarks/fer2013.py measure --data data/fer2013.csv      # logits and histories, into benchmarks/fer2013/
    python benchmarks/fer2013.py table                                # from these alone: the tables, and ablation.png
    python benchmarks/fer2013.py ship long small                      # the median seed of each, into ferlib/weights/

`train` goes on with runs that were stopped. A run is named after its entry in VARIANTS, which says in what it differs
from a recipe. Everything is chosen on PublicTest. `measure` wants the challenge's CSV: folder copies are JPEG.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ferlib import data, evaluation, models, protocol, recipes
from ferlib.files import write_whole
from ferlib.training import fit
from ferlib.transforms import EvalTransform

EVIDENCE = Path(__file__).parent / "fer2013"
RUNS = Path("runs/fer2013")
# name: the recipe, and what is changed in its model, its settings and its augmentation
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "long": ("long", {}, {}, {}),
    "small": ("small", {}, {}, {}),
    "long, no mixup": ("long", {}, {"mixup": 0.0}, {}),
    "long, no erasing": ("long", {}, {}, {"erase": 0.0}),
    "long, default augmentation": ("long", {}, {}, {"rotate": 10, "scale": 0.12, "shift": 0.08, "erase": 0.0}),
    "long, no averaged weights": ("long", {}, {"ema": None}, {}),
    "long, no label smoothing": ("long", {}, {"label_smoothing": 0.0}, {}),
    "long, cutmix too": ("long", {}, {"cutmix": 1.0}, {}),
    "long, SGD": ("long", {}, {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4}, {}),
    "long, cosine": ("long", {}, {"schedule": "cosine"}, {}),
    "long, 20 epochs": ("long", {}, {"epochs": 20}, {}),
    "long, 40 epochs at 48 px": ("long", {}, {"epochs": 40, "progressive": None}, {}),
    "long, no leaked faces": ("long", {}, {}, {}),
    "long, wider": ("long", {"widths": (64, 128, 256, 256)}, {}, {}),
    "long, taught": ("long", {}, {"distill": 0.7, "label_smoothing": 0.0}, {}),
    "small, no teacher": ("small", {}, {"distill": 0.0}, {}),
}


SHIPS = {"long": "fer2013", "small": "fer2013-small"}  # runs, and the names their median seed ships under


def train(name: str, seed: int, source: str, teacher: models.nn.Module | None, epochs: int | None) -> None:
    if name not in VARIANTS:
        raise SystemExit(f"no variant is called {name!r}; allowed are {'; '.join(VARIANTS)}")
    base, model_changes, config_changes, augment_changes = VARIANTS[name]
    recipe = recipes.altered(recipes.get_recipe(base), seed=seed, **config_changes)
    if epochs is not None:
        recipe = recipes.altered(recipe, epochs=epochs)
    recipe = dataclasses.replace(
        recipe, model=recipe.model | model_changes, augment=(recipe.augment or {}) | augment_changes
    )
    dataset = data.load(source)
    train_set = dataset.subset("Training")
    if name.endswith("no leaked faces"):
        train_set = protocol.drop_leaked(train_set, protocol.audit(source))
    model, augment, _ = recipe.build()
    folder = RUNS / f"{name.replace(', ', '_').replace(' ', '-')}-{seed}"
    result = fit(
        model, train_set, dataset.subset("PublicTest"), recipe.config, train_transform=augment, out=folder, resume=True,
        progress=False, teacher=teacher if recipe.config.distill else None,
    )  # fmt: skip
    print(f"{folder}: {result.stopped}, validation {result.history['val_accuracy'].iloc[-1]:.2%}", flush=True)


def measure(source: str) -> None:
    """Logits of each run on PublicTest, as float16, one array for each kind of views; and its history."""
    faces = data.load(source).subset("PublicTest")
    for folder in sorted(path.parent for path in RUNS.glob("*/model.safetensors")):
        model = models.load_model(folder)
        about = vars(model)["about"]
        if about.get("epoch") != about["training"]["epochs"]:
            print(f"{folder.name}: left out, at epoch {about.get('epoch')} of {about['training']['epochs']}")
            continue
        transform = EvalTransform(models.input_spec(model))
        found = {
            name: evaluation.predict(model, faces.images, faces.labels, transform, views=views).logits
            for name, views in evaluation.VIEWS.items()
        }
        target = EVIDENCE / folder.name
        target.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            target / "logits.npz", **{name: logits.astype(np.float16) for name, logits in found.items()}
        )
        pd.read_csv(folder / "history.csv").round(5).to_csv(target / "history.csv", index=False)
        facts = about["training"] | {"parameters": models.count_parameters(model)[0]}
        (target / "run.json").write_text(json.dumps(facts | {"model_sha256": models.model_hash(model)}, indent=1))
        print(folder.name, *(f"{name} {100 * (found[name].argmax(1) == faces.labels).mean():.2f}" for name in found))
    labels = EVIDENCE / "publictest.csv"
    clean = protocol.audit(source).clean("PublicTest")
    pd.DataFrame({"label": faces.labels, "clean": clean.astype(int)}).to_csv(labels, index=False)


def read(folder: Path, views: str = "shift_flip_averaged") -> evaluation.Predictions:
    """A run's predictions from the committed evidence."""
    with np.load(folder / "logits.npz") as kept:
        return evaluation.Predictions(kept[views].astype(np.float32), pd.read_csv(EVIDENCE / "publictest.csv").label)


def figures() -> pd.DataFrame:
    """One row a run: name, seed, epochs, parameters and accuracy (%) for each kind of views, all and clean faces."""
    clean = pd.read_csv(EVIDENCE / "publictest.csv").clean.to_numpy(bool)
    rows = []
    for folder in sorted(path.parent for path in EVIDENCE.glob("*/logits.npz")):
        facts = json.loads((folder / "run.json").read_text())
        name, seed = folder.name.rsplit("-", 1)
        row = {"run": name, "seed": int(seed), "epochs": facts["epochs"], "parameters": facts["parameters"]}
        for views in evaluation.VIEWS:
            found = read(folder, views)
            row |= {views: 100 * found.correct.mean(), f"{views}, clean": 100 * found.correct[clean].mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def table() -> None:
    found = figures()
    found.round(3).to_csv(EVIDENCE / "figures.csv", index=False)
    grouped = found.groupby("run")
    print(
        "| run | seeds | epochs | one view | flip | shift and flip | the same, clean |\n|---|---|---|---|---|---|---|"
    )
    for name, rows in grouped:
        columns = ("single_view", "flip_averaged", "shift_flip_averaged", "shift_flip_averaged, clean")
        cells = " | ".join(
            f"{rows[c].mean():.2f}" + (f" +- {rows[c].std():.2f}" if len(rows) > 1 else "") for c in columns
        )
        print(f"| {str(name).replace('_', ', ').replace('-', ' ')} | {len(rows)} | {rows.epochs.iloc[0]} | {cells} |")
    members = [read(EVIDENCE / f"{row.run}-{row.seed}") for row in found[found.run == "long"].itertuples()]
    if len(members) > 1:
        mean = np.mean([member.probabilities for member in members], 0)
        print(f"\nensemble of the {len(members)} long runs: {100 * (mean.argmax(1) == members[0].labels).mean():.2f}")
    draw(found).savefig(EVIDENCE / "ablation.png", dpi=120)


def draw(found: pd.DataFrame) -> Any:
    from matplotlib.figure import Figure

    order = found.groupby("run")["shift_flip_averaged"].mean().sort_values().index
    figure = Figure(figsize=(8, 0.45 * len(order) + 1.2), layout="constrained")
    ax = figure.subplots()
    for place, name in enumerate(order):
        rows = found[found.run == name]
        ax.plot(rows["shift_flip_averaged"], [place] * len(rows), "o", color="#0072B2", alpha=0.6)
        ax.plot(rows["shift_flip_averaged"].mean(), place, "|", color="black", markersize=16)
    ax.set_yticks(range(len(order)), [str(name).replace("_", ", ").replace("-", " ") for name in order])
    ax.set_xlabel("PublicTest accuracy (%), 18 views averaged; a dot a seed, a bar their mean")
    ax.set_title("What each piece is worth on FER2013", fontsize=11)
    ax.grid(axis="x", alpha=0.3)
    return figure


def ship(run: str) -> None:
    """Copy the median seed of a run into the package, in half precision."""
    if run not in SHIPS:
        raise SystemExit(f"{run} does not ship; {', '.join(SHIPS)} do")
    found = figures()
    rows = found[found.run == run].sort_values("shift_flip_averaged").reset_index(drop=True)
    if len(rows) % 2 == 0:
        raise SystemExit(f"{run} has {len(rows)} seeds; a median is one of an odd number")
    row = rows.iloc[len(rows) // 2]
    model = models.load_model(RUNS / f"{run}-{row.seed}")
    facts = {key: value for key, value in vars(model)["about"].items() if key in ("training", "epoch")}
    facts |= {"name": SHIPS[run], "run": f"{run}-{row.seed}", "seed": int(row.seed), "seeds_tried": rows.seed.tolist()}
    facts |= {"publictest_percent_by_seed": rows.shift_flip_averaged.round(2).tolist()}
    path = models.save_model(model, RUNS / "shipped", half=True, **facts)
    models.SHIPPED.mkdir(exist_ok=True)
    target = write_whole(models.SHIPPED / f"{SHIPS[run]}.safetensors", lambda scratch: shutil.copy(path, scratch))
    print(f"{target}: seed {row.seed} of {rows.seed.tolist()}, {target.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "measure", "table", "ship"))
    parser.add_argument("names", nargs="*", help=f"for train and ship; of {', '.join(VARIANTS)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    parser.add_argument("--teacher", nargs="+", help="for small: models to distil from")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's own, for a dry run")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    if args.verb == "train":
        teacher = models.load_ensemble(args.teacher) if args.teacher else None
        for seed in args.seeds:
            for name in args.names:
                train(name, seed, args.data, teacher, args.epochs)
    elif args.verb == "measure":
        measure(args.data)
    elif args.verb == "table":
        table()
    else:
        for name in args.names:
            ship(name)


if __name__ == "__main__":
    main()
