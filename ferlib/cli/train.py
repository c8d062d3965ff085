"""The verbs `recipes` and `train`."""

import argparse
from pathlib import Path
from typing import Any

from ferlib.cli.options import FACES, add_verb, path_given, source_given
from ferlib.cli.output import note
from ferlib.utils import require

SETTINGS = {"epochs": int, "batch_size": int, "lr": float, "seed": int, "workers": int}
TEACHER_SHARE = 0.7  # of the loss, for a recipe that does not distil by itself


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file."""
    add = add_verb(verbs, "recipes", run_recipes).add_argument
    add("name", nargs="?", help="the recipe to describe (default: list all)")
    add = add_verb(verbs, "train", run_train, *FACES).add_argument
    add("--recipe", default="cpu", help="the recipe's name (default: cpu); see ferlib recipes")
    add("--model", metavar="NAME", help="another network, from scratch: fernet, or any of timm's names")
    add("--size", type=int, metavar="PX", help="side of the network's input")
    add("--weights", type=source_given, metavar="NAME", help="imagenet, none, a run's folder or a shipped name")
    add("--teacher", type=path_given, nargs="+", metavar="MODEL", help=f"learn from these: {TEACHER_SHARE} of the loss")
    add("--out", type=path_given, required=True, help="folder for the model, its history and its state")
    add("--resume", action="store_true", help="continue the run in --out")
    add("--limit", type=int, metavar="N", help="train on N faces, classes in proportion")
    for name, kind in SETTINGS.items():
        add(f"--{name.replace('_', '-')}", type=kind, help="instead of the recipe's value")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="instead of the recipe's value")
    add("--val-share", type=float, metavar="SHARE", help="validate on a share of Training, not on PublicTest")
    add("--drop-leaked", action="store_true", help="leave out Training faces with a twin in a test split")
    add("--votes", type=path_given, metavar="FILE", help="train on FER+ labels: its table, fer2013new.csv")
    uses = ("majority", "probability", "cross_entropy")
    add("--votes-as", choices=uses, help="use of the ten votes of --votes (default: cross_entropy)")


def run_recipes(args: argparse.Namespace) -> None:
    """List the recipes, or describe one.

    Example:
        ferlib recipes gray_resnet18
    """
    from ferlib import recipes

    if args.name is not None:
        print(recipes.describe(recipes.get_recipe(args.name)))
        return
    for recipe in recipes.RECIPES.values():
        print(f"{recipe.name:<20} {recipe.description}")
    print("details of one: ferlib recipes NAME; to train it: ferlib train --recipe NAME --out runs/NAME")


def run_train(args: argparse.Namespace) -> int:
    """Train a recipe, and validate it on PublicTest.

    Example:
        ferlib train --data data/fer2013.csv --recipe cpu --out runs/cpu
    """
    from accelerate import PartialState

    from ferlib import data, models, training

    _check_out(args.out, Path(args.data), args.resume)
    recipe, dataset = _changed_recipe(args), data.load(args.data, size=args.face_size, classes=args.classes)
    train_set, val_set = _choose_faces(args, dataset, recipe.config.seed)
    model, augment, per_image = recipe.build(dataset.classes)
    start = f"from {recipe.model['weights']} weights" if recipe.model.get("weights") else "from scratch"
    print(f"{recipe.name}: {recipe.model['name']}, {models.count_parameters(model)[0]:,} parameters, {start}; ", end="")
    stored = "" if model.input_spec.size <= args.face_size else f" (read at {args.face_size} px: --face-size)"
    print(f"{len(train_set):,} faces at {model.input_spec.size} px{stored}, {recipe.config.epochs} epochs")
    teacher = models.load_ensemble(args.teacher) if args.teacher else None
    options = {"train_transform": augment, "teacher": teacher, "out": args.out, "resume": args.resume}
    result = training.fit(model, train_set.with_transform(per_image), val_set, recipe.config, **options)
    if result.stopped == "interrupted":
        print("interrupted; to continue: the same command with --resume")
        return 130
    epoch = result.best_epoch if recipe.config.keep == "best" else len(result.history)
    accuracy = result.history["val_accuracy"].iloc[epoch - 1]
    processes = PartialState().num_processes
    where = f", on {processes} processes" if processes > 1 else ""
    print(f"{result.stopped}, in {result.precision}{where}; kept epoch {epoch}: validation accuracy {accuracy:.2%}")
    if recipe.config.keep == "best":
        print("this epoch was chosen on the validation faces, so this accuracy is a little too high")
    print(f"next: ferlib predict YOUR-PICTURE --model {args.out}")
    print(f"or:   ferlib evaluate --model {args.out}, with the same --data and --classes")
    return 0


def _check_out(out: Path, source: Path, resume: bool) -> None:
    """Check that a run's files replace none of the user's, and note that there is no run to resume."""
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"--out and --data are both {out}; give the run a folder of its own, such as runs/{out.name}")
    has_run = (out / "state.pt").exists()
    require(resume or not has_run, f"{out} holds a run; add --resume to continue it, or give another --out")
    for name in ("model.safetensors", "history.csv"):
        stray = not has_run and (out / name).exists()
        require(not stray, f"{out} holds a {name} without the state of a run; give another --out")
    if resume and not has_run:
        note(f"{out} holds no run to resume; this one begins with epoch 1")


def _changed_recipe(args: argparse.Namespace) -> Any:
    """Return the recipe with the changes that the options ask for."""
    from ferlib import recipes

    recipe = recipes.get_recipe(args.recipe)
    changes = {name: getattr(args, name) for name in (*SETTINGS, "precision") if getattr(args, name) is not None}
    if args.teacher and not recipe.config.distill:
        changes["distill"] = TEACHER_SHARE
    if recipe.config.distill and not args.teacher:
        raise ValueError(f"{recipe.name} learns from another model; name it, as in --teacher runs/long")
    return recipes.altered(recipe, args.model, args.size, args.weights, **changes)


def _choose_faces(args: argparse.Namespace, dataset: Any, seed: int) -> tuple[Any, Any]:
    """Choose the faces to train and to validate on, and the labels to train on."""
    from ferlib import protocol
    from ferlib.data import ferplus

    require(args.votes is not None or args.votes_as is None, "--votes-as goes with --votes FILE; add it")
    train_set = dataset.subset("Training")
    if args.val_share is not None:
        train_set, val_set = protocol.split(train_set, share=args.val_share, seed=seed)
    elif "PublicTest" in dataset.counts().index:
        val_set = dataset.subset("PublicTest")
    else:
        raise ValueError(f"{dataset.name} has no PublicTest to validate on; add --val-share 0.1")
    if args.drop_leaked:
        train_set = protocol.drop_leaked(
            train_set, protocol.audit(args.data, size=args.face_size, classes=args.classes)
        )
    if args.votes is not None:
        train_set = ferplus.join(train_set, args.votes, how=args.votes_as or "cross_entropy")
        print(train_set.notes[-1])
    return train_set if args.limit is None else protocol.take(train_set, args.limit), val_set
