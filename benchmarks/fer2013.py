"""FER2013 from scratch: the runs behind the figures, their evidence, the ablation, and the weights that ship.

    python benchmarks/fer2013.py train long --seeds 0 1 2 --data data/fer2013.csv      # runs/fer2013/long-0, ...
    python benchmarks/fer2013.py train "small, refined labels" --teacher runs/fer2013/long-0 runs/fer2013/long-1
    python benchmarks/fer2013.py average long_continued-with-votes-0 long_continued-with-votes-1      # ...-mean-0
    python benchmarks/fer2013.py measure --data data/fer2013.csv --votes fer2013new.csv      # into benchmarks/fer2013/
    python benchmarks/fer2013.py table                                # from these alone: the tables, and ablation.png
    python benchmarks/fer2013.py ship long small_refined-labels          # the median seed of each, into ferlib/weights/

`train` goes on with runs that were stopped. A run is named after its entry in BASES and, if something is changed in
it, in CHANGES: `train "third, no mixup"`. Everything is chosen on PublicTest. `measure` wants the challenge's CSV:
folder copies are JPEG.
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
from model_card import card
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ferlib import data, evaluation, models, protocol, recipes
from ferlib.data import ferplus
from ferlib.training import fit
from ferlib.utils import write_whole

EVIDENCE = Path(__file__).parent / "fer2013"
RUNS = Path("runs/fer2013")
# What a run starts from: a recipe, changes of its model and of its settings, and of how many training faces it sees.
BASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], int | None]] = {
    "long": ("long", {}, {}, None),
    "small": ("small", {}, {}, None),
    "lite0": ("fine_tune", {}, {}, None),
    "resnet": ("resnet", {}, {}, None),
    "third": ("long", {"widths": (32, 48, 96, 144)}, {"epochs": 40}, 9570),  # for two cores: a third of the faces
}
# What may be changed in a base, one at a time: its model, its settings, its augmentation.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "no mixup": ({}, {"mixup": 0.0}, {}),
    "cutmix too": ({}, {"cutmix": 1.0}, {}),
    "no erasing": ({}, {}, {"erase": 0.0}),
    "more erasing": ({}, {}, {"erase": 0.5}),
    "default augmentation": ({}, {}, {"rotate": 10, "scale": 0.12, "shift": 0.08}),
    "flips alone": ({}, {}, {"rotate": 0, "scale": 0, "shift": 0, "brightness": 0, "contrast": 0, "erase": 0}),
    "no averaged weights": ({}, {"ema": None}, {}),
    "no label smoothing": ({}, {"label_smoothing": 0.0}, {}),
    "no dropout": ({"drop_rate": 0.0}, {}, {}),
    "SGD": ({}, {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4}, {}),
    "cosine": ({}, {"schedule": "cosine"}, {}),
    "48 px throughout": ({}, {"progressive": None}, {}),
    "half the epochs": ({}, {"epochs": 20}, {}),
    "40 epochs at 48 px": ({}, {"epochs": 40, "progressive": None}, {}),
    "wider": ({"widths": (64, 128, 256, 256)}, {}, {}),
    "taught": ({}, {"distill": 0.7, "label_smoothing": 0.0}, {}),  # needs --teacher
    "refined labels": (
        {},
        {"mixup": 0.0, "label_smoothing": 0.0, "distill": 0.0, "epochs": 40, "progressive": None},
        {},
    ),
    "born again": ({}, {"mixup": 0.0, "label_smoothing": 0.0, "epochs": 40}, {}),  # needs --teacher
    "born again with votes": ({}, {"mixup": 0.0, "label_smoothing": 0.0, "epochs": 40}, {}),  # and --votes
    "born again with votes and mixup": ({}, {"label_smoothing": 0.0}, {}),
    "continued with votes": (  # from the weights that ship
        {"weights": "fer2013"},
        {"label_smoothing": 0.0, "lr": 0.001, "epochs": 30, "progressive": None},
        {},
    ),
    "from scratch": ({"weights": None}, {}, {}),
    "no teacher": ({}, {"distill": 0.0, "label_smoothing": 0.1}, {}),
    "no leaked faces": ({}, {}, {}),  # the 703 with a twin in a test split
    "FER+ votes": ({}, {"mixup": 0.0}, {}),  # two changes: a label is drawn from the votes each time; needs --votes
}
BASE_SEEDS = {"long_continued-with-votes": 2, "long_continued-with-votes-mean": 2}  # they go on from a run of this seed
SHIPS = {
    "long": "fer2013",
    "small_refined-labels": "fer2013-small",
    "resnet": "fer2013-resnet",
}  # runs, and the names their median seed ships under


def train(name: str, seed: int, args: argparse.Namespace) -> None:
    base, _, change = name.partition(", ")
    if base not in BASES or (change and change not in CHANGES):
        raise SystemExit(f"no run is called {name!r}: {', '.join(BASES)}, alone or before one of {'; '.join(CHANGES)}")
    recipe_name, model_changes, config_changes, limit = BASES[base]
    changed_model, changed_config, changed_augment = CHANGES.get(change, ({}, {}, {}))
    recipe = recipes.altered(recipes.get_recipe(recipe_name), seed=seed, **(config_changes | changed_config))
    if args.epochs is not None:
        recipe = recipes.altered(recipe, epochs=args.epochs)
    recipe = dataclasses.replace(
        recipe, model=recipe.model | model_changes | changed_model, augment=(recipe.augment or {}) | changed_augment
    )
    dataset = data.load(args.data)
    train_set = dataset.subset("Training")
    if change == "no leaked faces":
        train_set = protocol.drop_leaked(train_set, protocol.audit(args.data))
    if change == "FER+ votes":
        train_set = ferplus.join(train_set, args.votes, how="probability")
    if limit is not None:
        train_set = protocol.take(train_set, limit)
    if change.startswith(("refined labels", "born again", "continued")):
        votes = args.votes if "votes" in change else None
        if not args.teacher or ("votes" in change and not votes):
            raise SystemExit(f"{name!r} needs --teacher" + " and --votes" * ("votes" in change))
        train_set = refined(train_set, models.load_ensemble(args.teacher), votes)
    model, augment, _ = recipe.build()
    folder = RUNS / f"{name.replace(', ', '_').replace(' ', '-')}-{seed}"
    result = fit(
        model, train_set, dataset.subset("PublicTest"), recipe.config, train_transform=augment, out=folder, resume=True,
        progress=False, teacher=models.load_ensemble(args.teacher) if recipe.config.distill else None,
    )  # fmt: skip
    print(f"{folder}: {result.stopped}, validation {result.history['val_accuracy'].iloc[-1]:.2%}", flush=True)


def refined(train_set: data.FaceDataset, teacher: models.FaceModel, votes: Path | None = None) -> data.FaceDataset:
    """Soft labels: 0.7 of what the teacher sees in each face and its mirror image, 0.3 of the label itself.

    (H. Bagherinezhad et al., Label Refinery, 2018, arXiv 1805.02641; with a student of the teacher's size also T.
    Furlanello et al., Born-Again Neural Networks, 2018, arXiv 1805.04770.) No teacher runs while the student learns.
    """
    found = evaluation.predict(teacher, train_set, views=evaluation.VIEWS["flip_averaged"])
    print(f"the teacher agrees with {found.correct.mean():.1%} of the labels", flush=True)
    seen = found.probabilities if votes is None else with_votes(train_set, found.probabilities, votes)
    targets = (0.7 * seen + 0.3 * np.eye(7)[train_set.labels]).astype(np.float32)
    name = f"{train_set.name}, labels refined" + ", with votes" * (votes is not None)
    return dataclasses.replace(train_set, name=name, targets=targets)


def with_votes(train_set: data.FaceDataset, seen: np.ndarray, votes: Path) -> np.ndarray:
    """Probabilities of FER2013's label, given the teacher's answer and FER+'s ten votes on the face.

    The student never sees the votes. They tell which labels are likely, and so take noise out of the targets
    (D. Lopez-Paz et al., Unifying distillation and privileged information, ICLR 2016). A logistic regression predicts
    FER2013's label from the votes. Its probabilities and the teacher's are multiplied, each to the power 0.7, because
    the two are not independent. Both contain the shares of the classes; one division makes them count once.
    """
    counts = np.log1p(ferplus.votes_by_row(train_set, votes)[0])
    judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(counts, train_set.labels)
    shares = np.bincount(train_set.labels, minlength=7) / len(train_set)
    both = (seen * judge.predict_proba(counts)) ** 0.7 / shares**0.4
    return both / both.sum(1, keepdims=True)


def average(names: list[str]) -> None:
    """Write the mean of the weights of runs that go on from one network, as a run of its own, without a history.

    (M. Wortsman et al., Model soups, ICML 2022.)
    """
    members = [models.load_model(RUNS / name) for name in names]
    states = [member.network.state_dict() for member in members]
    members[0].network.load_state_dict({key: sum(state[key] for state in states) / len(states) for key in states[0]})
    facts = {key: members[0].about[key] for key in ("training", "epoch")}
    print(models.save_model(members[0], RUNS / f"{names[0].rpartition('-')[0]}-mean-0", **facts))


def measure(source: str, names: list[str], votes: Path | None) -> None:
    """Logits of each run on PublicTest, one array for each kind of views; and its history.

    The weights are those that would ship, of half precision. Of each face's logits the largest is taken off: so float16
    tells which is the largest however close the next one comes.
    """
    faces = data.load(source).subset("PublicTest")
    for folder in sorted(path.parent for path in RUNS.glob("*/model.safetensors")):
        if names and folder.name not in names:
            continue
        model = models.load_model(folder)
        about = model.about
        if about.get("epoch") != about["training"]["epochs"]:
            print(f"{folder.name}: left out, at epoch {about.get('epoch')} of {about['training']['epochs']}")
            continue
        for parameter in model.parameters():
            parameter.data = parameter.data.half().float() if parameter.ndim > 1 else parameter.data
        found = {name: evaluation.predict(model, faces, views=views).logits for name, views in evaluation.VIEWS.items()}
        target = EVIDENCE / folder.name
        target.mkdir(parents=True, exist_ok=True)
        lowered = {name: logits - logits.max(1, keepdims=True) for name, logits in found.items()}
        kept = {name: logits.astype(np.float16) for name, logits in lowered.items()}
        if folder.name.startswith("third"):  # of the ablation's runs with fewer views, only which class they named
            kept |= {name: (kept[name] == 0).astype(np.int8) - 1 for name in ("single_view", "flip_averaged")}
        np.savez_compressed(target / "logits.npz", **kept)
        if (folder / "history.csv").exists():  # the mean of some runs has none
            pd.read_csv(folder / "history.csv").round(5).to_csv(target / "history.csv", index=False)
        facts = about["training"] | {"parameters": models.count_parameters(model)[0]}
        (target / "run.json").write_text(json.dumps(facts | {"model_sha256": models.model_hash(model)}, indent=1))
        print(folder.name, *(f"{name} {100 * (found[name].argmax(1) == faces.labels).mean():.2f}" for name in found))
    table = pd.DataFrame({"label": faces.labels, "clean": protocol.audit(source).clean("PublicTest").astype(int)})
    if votes is not None:
        judged = ferplus.join(faces, votes, how="majority")
        table["ferplus"] = -1  # no majority, or no face
        table.loc[faces.table["row"].isin(judged.table["row"]).to_numpy(), "ferplus"] = judged.labels
    else:
        table["ferplus"] = pd.read_csv(EVIDENCE / "publictest.csv").ferplus
    table.to_csv(EVIDENCE / "publictest.csv", index=False)


def read(folder: Path, views: str = "shift_flip_averaged") -> evaluation.Predictions:
    """A run's predictions from the committed evidence."""
    with np.load(folder / "logits.npz") as kept:
        return evaluation.Predictions(kept[views].astype(np.float32), pd.read_csv(EVIDENCE / "publictest.csv").label)


def figures() -> pd.DataFrame:
    """One row a run: name, seed, epochs, parameters and accuracy (%) for each kind of views, all and clean faces."""
    table = pd.read_csv(EVIDENCE / "publictest.csv")
    clean, judged = table.clean.to_numpy(bool), table.ferplus.to_numpy()
    rows = []
    for folder in sorted(path.parent for path in EVIDENCE.glob("*/logits.npz")):
        facts = json.loads((folder / "run.json").read_text())
        name, seed = folder.name.rsplit("-", 1)
        row = {"run": name, "seed": int(seed), "epochs": facts["epochs"], "parameters": facts["parameters"]}
        for views in evaluation.VIEWS:
            found = read(folder, views)
            row |= {views: 100 * found.correct.mean(), f"{views}, clean": 100 * found.correct[clean].mean()}
        rows.append(row | {"ferplus": 100 * (found.predicted == judged)[judged >= 0].mean()})  # with the last views
    return pd.DataFrame(rows)


def table() -> None:
    """Write figures.csv, ablation.png and the tables of the page from the committed logits alone."""
    found = figures()
    found.round(3).to_csv(EVIDENCE / "figures.csv", index=False)
    lines = [
        "| run | seeds | epochs | parameters | one view | flip | 18 views | clean | FER+ labels | against its base |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|---|"]
    for name, rows in found.groupby("run"):
        columns = ("single_view", "flip_averaged", "shift_flip_averaged", "shift_flip_averaged, clean", "ferplus")
        cells = [told(rows[column]) for column in columns]
        facts = [shown(name), str(len(rows)), str(rows.epochs.iloc[0]), f"{rows.parameters.iloc[0] / 1e6:.1f} M"]
        lines.append("| " + " | ".join([*facts, *cells, gained(found, name)]) + " |")
    members = [read(EVIDENCE / f"long-{seed}") for seed in found[found.run == "long"].seed]
    if len(members) > 1:
        mean = np.mean([member.probabilities for member in members], 0)
        accuracy = 100 * (mean.argmax(1) == members[0].labels).mean()
        lines += [
            "",
            f"The mean of the {len(members)} `long` models' probabilities, 18 views each, gets {accuracy:.2f}.",
        ]
    page = EVIDENCE / "README.md"
    head, start, rest = page.read_text(encoding="utf-8").partition("<!-- table -->\n")
    _, end, tail = rest.partition("<!-- end of table -->\n")
    text = "\n".join(lines) + "\n"
    write_whole(page, lambda scratch: scratch.write_text(head + start + text + end + tail, encoding="utf-8"))
    print(text)
    if any(len(against_base(found, name)) for name in found.run.unique()):
        draw(found).savefig(EVIDENCE / "ablation.png", dpi=110)


def shown(name: object) -> str:
    return str(name).replace("_", ", ").replace("-", " ")


def told(values: pd.Series, sign: str = "") -> str:
    """Mean +- sd, or what there is of it."""
    spread = f" +- {values.std():.2f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.2f}{spread}" if len(values) else ""


def against_base(found: pd.DataFrame, name: object) -> pd.Series:
    """Accuracy with 18 views less that of the base with the same seed (or that of BASE_SEEDS), in points."""
    scores = found.set_index(["run", "seed"])["shift_flip_averaged"]
    base = str(name).partition("_")[0]
    if base == name or base not in scores:
        return pd.Series(dtype=float)
    before = scores[base]
    if name in BASE_SEEDS:
        before = before[BASE_SEEDS[name]]
    return (scores[name] - before).dropna()


def gained(found: pd.DataFrame, name: object) -> str:
    """The gain over the base: mean +- sd over seeds; of a single seed, with its paired interval over the faces."""
    gains = against_base(found, name)
    if len(gains) != 1:
        return told(gains, "+")
    value, low, high = paired(name, gains.index[0])
    return f"{value:+.2f} [{low:+.1f}, {high:+.1f}]"


def paired(name: object, seed: int) -> list[float]:
    """A run's gain over its base, paired by the faces, in points: value, low, high."""
    before = read(EVIDENCE / f"{str(name).partition('_')[0]}-{BASE_SEEDS.get(str(name), seed)}")
    after = read(EVIDENCE / f"{name}-{seed}")
    return [*100 * evaluation.compare(before, after).difference.loc["accuracy"]]


def draw(found: pd.DataFrame) -> Any:
    """For each change of a base, what it costs or gains: a dot a seed, a bar their mean; of one seed, its interval."""
    from matplotlib.figure import Figure

    names = [name for name in found.run.unique() if len(against_base(found, name))]
    order = sorted(names, key=lambda name: against_base(found, name).mean())
    figure = Figure(figsize=(8, 0.4 * len(order) + 1.4), layout="constrained")
    ax = figure.subplots()
    for place, name in enumerate(order):
        gains = against_base(found, name)
        ax.plot(gains, [place] * len(gains), "o", color="#0072B2", alpha=0.6)
        ax.plot(gains.mean(), place, "|", color="black", markersize=18)
        if len(gains) == 1:
            ax.plot(paired(name, gains.index[0])[1:], [place] * 2, color="#0072B2", linewidth=1)
    ax.axvline(0, color="#666666", linewidth=1)
    ax.set_yticks(range(len(order)), [shown(name) for name in order])
    told_below = "less that of the unchanged recipe\nwith the same seed, or with the one continued (points)"
    ax.set_xlabel(f"PublicTest accuracy, 18 views, {told_below}")
    words = "a dot a seed, a bar their mean, a line one seed's paired interval (95%)"
    figure.suptitle(f"What each piece is worth on FER2013\n{words}", fontsize=11)
    ax.grid(axis="x", alpha=0.3)
    return figure


def ship(run: str) -> None:
    """Copy the median seed of a run into the package, in half precision."""
    if run not in SHIPS:
        raise SystemExit(f"{run} does not ship; {', '.join(SHIPS)} do")
    found = figures()
    rows = found[found.run == run].sort_values("shift_flip_averaged").reset_index(drop=True)
    row = rows.iloc[(len(rows) - 1) // 2]  # the lower one of an even number's two
    model = models.load_model(RUNS / f"{run}-{row.seed}")
    found = {views: read(EVIDENCE / f"{run}-{row.seed}", views) for views in evaluation.VIEWS}
    facts = {key: value for key, value in model.about.items() if key in ("training", "epoch")}
    facts |= {"name": SHIPS[run], "run": f"{run}-{row.seed}", "seed": int(row.seed), "seeds_tried": rows.seed.tolist()}
    facts |= {"publictest_percent_by_seed": rows.shift_flip_averaged.round(2).tolist()}
    facts |= {"temperature": round(evaluation.fit_temperature(found["single_view"]), 3)}  # as the recognizer uses it
    path = models.save_model(model, RUNS / "shipped", half=True, **facts)
    models.SHIPPED.mkdir(exist_ok=True)
    target = write_whole(models.SHIPPED / f"{SHIPS[run]}.safetensors", lambda scratch: shutil.copy(path, scratch))
    clean = pd.read_csv(EVIDENCE / "publictest.csv").clean.to_numpy(bool)
    text = card(SHIPS[run], run, rows.sort_values("seed"), found, clean)
    write_whole(target.with_suffix(".md"), lambda scratch: scratch.write_text(text, encoding="utf-8"))
    print(f"{target}: seed {row.seed} of {rows.seed.tolist()}, {target.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "average", "measure", "table", "ship"))
    parser.add_argument(
        "names",
        nargs="*",
        help="a base, as in long, or a base and a change, as in 'third, no mixup'; for measure, folders of runs",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", default="fer2013", help="whatever ferlib.data.load takes")
    parser.add_argument("--teacher", nargs="+", help="models to learn from: folders, or shipped names")
    parser.add_argument(
        "--votes", type=Path, help="FER+'s table, fer2013new.csv: to train on, refine labels with, or measure by"
    )
    parser.add_argument("--epochs", type=int, help="in place of the recipe's own, for a dry run")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    if args.verb == "train":
        for seed in args.seeds:
            for name in args.names:
                train(name, seed, args)
    elif args.verb == "average":
        average(args.names)
    elif args.verb == "measure":
        measure(args.data, args.names, args.votes)
    elif args.verb == "table":
        table()
    else:
        for name in args.names:
            ship(name)


if __name__ == "__main__":
    main()
