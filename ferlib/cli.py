"""`ferlib VERB`: a thin shell over the library. It parses, calls, prints; what it cannot do it says in one line."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SCHEMES = ("majority", "probability", "cross_entropy")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 1 where a check found something to mend, 2 for a user's mistake."""
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("default", module="ferlib")
            warnings.showwarning = lambda message, *_, **__: print(f"ferlib: note: {message}", file=sys.stderr)
            return args.run(args)
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"ferlib {args.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"ferlib {args.verb}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ferlib", description="Facial expression recognition, taught and measured honestly.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    def verb(name: str, run: Any, text: str, example: str) -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        made = verbs.add_parser(
            name, help=text.replace("%", "%%"), description=text, epilog=f"example:\n  {example}", formatter_class=form
        )
        made.set_defaults(run=run)
        return made

    verb("doctor", _doctor, "is this machine ready? what is not, and the command that mends it", "ferlib doctor")
    show = verb("data", _data, "load a source and say what is in it", "ferlib data --data data/fer2013.csv")
    audit = verb("audit", _audit, "count twins, leaks, conflicting labels and blanks", "ferlib audit --data sample")
    train = verb(
        "train", _train, "train a recipe, validating on PublicTest",
        "ferlib train --data data/fer2013.csv --recipe cpu --out runs/cpu",
    )  # fmt: skip
    listed = verb("recipes", _recipes, "list the recipes, or tell all about one", "ferlib recipes gray_resnet18")
    listed.add_argument("name", nargs="?", help="the recipe to describe (default: all, in a line each)")
    evaluate = verb(
        "evaluate", _evaluate, "measure a trained model, with 95% intervals, on all faces and on those without a twin",
        "ferlib evaluate --model runs/cpu --data data/fer2013.csv --split PublicTest --json out.json",
    )  # fmt: skip
    fetch = show.add_subparsers(metavar="fetch").add_parser("fetch", help="download FER2013: ferlib data fetch fer2013")
    fetch.add_argument("name", choices=("fer2013",), help="fer2013")
    fetch.add_argument("--to", type=Path, default=Path("data"), metavar="FOLDER", help="where to (default: data)")
    fetch.add_argument("--source", choices=("auto", "kaggle", "mirror"), default="auto", help="default: auto, in turn")
    fetch.set_defaults(run=_fetch)
    compare = verb(
        "compare", _compare, "two models on the same faces: the difference, its paired 95% interval, McNemar's test",
        "ferlib compare runs/plain_cnn runs/cpu --data data/fer2013.csv --split PublicTest --json compared.json",
    )  # fmt: skip
    for made in (show, audit, train, evaluate, compare):
        help_text = "sample, fer2013, or the path of a CSV, folder or archive (default: sample)"
        made.add_argument("--data", default="sample", metavar="SOURCE", help=help_text)
    train.add_argument("--recipe", default="cpu", help="the recipe's name (default: cpu); see ferlib recipes")
    train.add_argument("--model", metavar="NAME", help="another network, from scratch: fernet, or any of timm's names")
    train.add_argument("--size", type=int, metavar="PX", help="side of the network's input")
    train.add_argument(
        "--weights",
        metavar="NAME",
        help="weights to start from: imagenet, a run's folder, a shipped name, or none for random",
    )
    train.add_argument(
        "--teacher",
        type=Path,
        nargs="+",
        metavar="MODEL",
        help="distil from these: 0.7 of the loss, or what the recipe says",
    )
    train.add_argument("--out", type=Path, required=True, help="folder for the model, its history and its state")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    train.add_argument(
        "--limit", type=int, metavar="N", help="train on N faces, classes in proportion, for a quick look"
    )
    for name, kind in (("epochs", int), ("batch-size", int), ("lr", float), ("seed", int), ("workers", int)):
        train.add_argument(f"--{name}", type=kind, help="in place of the recipe's own")
    train.add_argument(
        "--val-share", type=float, metavar="SHARE", help="validate on a share of Training, not PublicTest"
    )
    train.add_argument(
        "--drop-leaked", action="store_true", help="leave out training faces with a twin in a test split"
    )
    train.add_argument("--votes", type=Path, metavar="FILE", help="train on FER+ labels: its table, fer2013new.csv")
    train.add_argument(
        "--votes-as",
        choices=SCHEMES,
        default="cross_entropy",
        help="what becomes of ten votes (default: cross_entropy)",
    )
    train.add_argument("--precision", choices=PRECISIONS, help="in place of the recipe's own")
    evaluate.add_argument(
        "--model",
        type=Path,
        nargs="+",
        required=True,
        help="a run's folder, a file, or a shipped name; of several, the mean",
    )
    evaluate.add_argument(
        "--split", default="PublicTest", help="Training, PublicTest or PrivateTest (default: PublicTest)"
    )
    evaluate.add_argument(
        "--tta",
        action="store_true",
        help="average 18 views of a face, too, flipped and shifted: 18 more passes over the faces",
    )
    evaluate.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures here, and the confusion matrix as FILE's .png"
    )
    evaluate.add_argument("--open-sealed-test", metavar="REASON", help="with --split PrivateTest: why it is opened now")
    for name in "ab":
        compare.add_argument(name, type=Path, metavar=name.upper(), help="folder of a run, or a model.safetensors")
    compare.add_argument("--split", default="PublicTest", help="Training or PublicTest (default: PublicTest)")
    compare.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    return parser


def _doctor(args: argparse.Namespace) -> int:
    from ferlib import doctor

    checks = doctor.check()
    print(doctor.report(checks))
    return 0 if all(check.ok for check in checks) else 1


def _data(args: argparse.Namespace) -> int:
    from ferlib import data

    dataset = data.load(args.data)
    print(f"{dataset.name}: {len(dataset):,} faces, {dataset.images.shape[1]}x{dataset.images.shape[2]} px")
    print(dataset.counts().to_string())
    sealed = int(data.all_counts(args.data).to_numpy().sum()) - len(dataset)
    if sealed:
        print(f"PrivateTest: {sealed:,} more, sealed")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from ferlib import download

    print(download.NOTICE, flush=True)
    args.data = download.fetch(args.name, args.to, source=args.source, progress=sys.stderr.isatty())
    print(f"it lies in {args.data} and is whole")
    _data(args)
    print(f"next: ferlib audit --data {args.data}")
    return 0


def _audit(args: argparse.Namespace) -> int:
    from ferlib import protocol

    print(protocol.audit(args.data))
    return 0


def _recipes(args: argparse.Namespace) -> int:
    from ferlib import recipes

    if args.name is not None:
        print(recipes.describe(recipes.get_recipe(args.name)))
        return 0
    for recipe in recipes.RECIPES.values():
        print(f"{recipe.name:<20} {recipe.description}")
    print("all about one: ferlib recipes NAME; to train it: ferlib train --recipe NAME --out runs/NAME")
    return 0


def _train(args: argparse.Namespace) -> int:
    import dataclasses

    from sklearn.model_selection import train_test_split

    from ferlib import data, ferplus, models, protocol, recipes, training

    recipe = recipes.get_recipe(args.recipe)
    given = ("epochs", "batch_size", "lr", "seed", "workers", "precision")
    changes = {name: getattr(args, name) for name in given if getattr(args, name) is not None}
    if args.teacher and not recipe.config.distill:
        changes["distill"] = 0.7
    recipe = recipes.altered(recipe, args.model, args.size, args.weights, **changes)
    if recipe.config.distill and not args.teacher:
        raise ValueError(f"{recipe.name} learns from another model: name it, as in --teacher runs/long")
    if (args.out / models.WEIGHTS_FILE).exists() and not args.resume:
        raise ValueError(f"{args.out} already holds a model; add --resume to go on with it, or give another --out")
    dataset = data.load(args.data)
    if args.val_share is not None:
        train_set, val_set = protocol.split(dataset.subset("Training"), share=args.val_share, seed=recipe.config.seed)
    else:
        train_set, val_set = dataset.subset("Training"), dataset.subset("PublicTest")
    if args.drop_leaked:
        train_set = protocol.drop_leaked(train_set, protocol.audit(args.data))
    if args.votes is not None:
        train_set = ferplus.join(train_set, args.votes, how=args.votes_as)
        print(train_set.notes[-1])
    if args.limit is not None:
        most = len(train_set) - 7  # one of each emotion on either side
        if not 7 <= args.limit <= most:
            raise ValueError(
                f"--limit is {args.limit}; there are {len(train_set):,} faces, so give 7 to {most:,}, or leave it out"
            )
        picks, _ = train_test_split(
            range(len(train_set)), train_size=args.limit, stratify=train_set.labels, random_state=0
        )
        train_set = train_set.subset(sorted(picks))
    model, augment, per_image = recipe.build()
    train_set = dataclasses.replace(train_set, transform=per_image)
    total, trainable = models.count_parameters(model)
    spec = models.input_spec(model)
    size = f"{recipe.model['name']}, {total:,} parameters" + (f", {trainable:,} trainable" if trainable < total else "")
    start = f"from {recipe.model['weights']} weights" if recipe.model.get("weights") else "from scratch"
    faces = f"{len(train_set):,} faces at {spec.size} px" + (" in 3 channels" if spec.channels == 3 else "")
    print(f"{recipe.name}: {size}, {start}; {faces}, {recipe.config.epochs} epochs")
    result = training.fit(
        model, train_set, val_set, recipe.config, train_transform=augment, out=args.out, resume=args.resume,
        teacher=models.load_ensemble(args.teacher) if args.teacher else None,
    )  # fmt: skip
    if result.history.empty:
        raise KeyboardInterrupt
    epoch = result.best_epoch if recipe.config.keep == "best" else len(result.history)
    accuracy = result.history["val_accuracy"].iloc[epoch - 1]
    print(f"{result.stopped}, in {result.precision}; kept epoch {epoch}: validation accuracy {accuracy:.2%}, one view")
    if result.stopped == "interrupted":
        print("to go on: the same command with --resume")
        return 130
    if recipe.config.keep == "best":
        print("that is the best of its epochs by the very faces it is measured on, and so a little too good")
    print(f"next: ferlib evaluate --model {args.out} --data {args.data}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from ferlib import data, evaluation, models, protocol

    _check_json(args.json)
    model, named = models.load_ensemble(args.model), " + ".join(map(str, args.model))
    digest = models.model_hash(model)
    if args.open_sealed_test is not None:
        if args.split != "PrivateTest":
            raise ValueError(f"--open-sealed-test goes with --split PrivateTest; the split given is {args.split}")
        faces = protocol.open_sealed(args.data, args.open_sealed_test, digest)
        print(f"PrivateTest opened; {Path(protocol.LEDGER).resolve()} says when, why and for which model")
    else:
        faces = data.load(args.data).subset(args.split)
    parts, names = _parts(args), [*evaluation.VIEWS][: 3 if args.tta else 2]
    found = {name: _predicted(model, faces, name) for name in names}
    figures = {"model": named, "model_sha256": digest, "data": faces.name, "split": args.split} | {
        name: {part: evaluation.as_json(found[name].subset(mask)) for part, mask in parts.items()} for name in names
    }
    print(f"{named} on {args.split} of {faces.name}; 95% bootstrap intervals, in percent")
    for name in names:
        for part, numbers in figures[name].items():
            shown = ", ".join(f"{metric} {_shown(numbers[metric])}" for metric in evaluation.METRICS)
            print(f"  {name.replace('_', ' '):<{max(map(len, names))}} {part:<8} n={numbers['n']:,}  {shown}")
    flipped, numbers = found["flip_averaged"], figures["flip_averaged"]["all"]
    print(
        f"calibration, flip averaged, all faces: ECE {numbers['ece']:.1%} as it is, {numbers['calibrated_ece']:.1%} "
        f"with a temperature fitted on other folds ({numbers['temperature']:.2f} on all)"
    )
    print("per emotion, flip averaged, all faces:")
    print(evaluation.report(flipped).to_string(float_format=lambda value: f"{value:.3f}"))
    if args.json is not None:
        _write_results(args.json, figures, flipped.confusion(), f"{args.split} of {faces.name}, flip averaged")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from ferlib import data, evaluation, models
    from ferlib.files import write_whole

    _check_json(args.json)
    if args.split == "PrivateTest":
        command = "ferlib evaluate --split PrivateTest --open-sealed-test REASON"
        raise ValueError(f"PrivateTest is for one model, chosen by then; compare on PublicTest, and then: {command}")
    loaded = {name: models.load_model(getattr(args, name)) for name in "ab"}
    faces, parts = data.load(args.data).subset(args.split), _parts(args)
    figures: dict[str, Any] = {"data": faces.name, "split": args.split, "views": "flip_averaged"}
    for name, model in loaded.items():
        figures[name] = {"model": str(getattr(args, name)), "model_sha256": models.model_hash(model)}
    pair = [_predicted(model, faces, "flip_averaged") for model in loaded.values()]
    print(f"A: {args.a}, B: {args.b}; {args.split} of {faces.name}, flip averaged; 95% bootstrap intervals, in percent")
    for part, mask in parts.items():
        a, b = (predictions.subset(mask) for predictions in pair)
        found, alone = evaluation.compare(a, b), [evaluation.summarise(one).to_dict("index") for one in (a, b)]
        gain, n = found.difference.to_dict("index"), len(a.labels)
        (neither, only_b), (only_a, both) = found.right.to_numpy().tolist()
        right = {"both": both, "only_a": only_a, "only_b": only_b, "neither": neither}
        figures[part] = {"n": n, "a": alone[0], "b": alone[1], "b_minus_a": gain, "right": right}
        figures[part]["mcnemar_p"] = found.p_value
        print(f"  {part:<5}  n={n:,}  accuracy A {_shown(alone[0]['accuracy'])}, B {_shown(alone[1]['accuracy'])}")
        print("    B minus A:", ", ".join(f"{metric} {_shown(row, '+')}" for metric, row in gain.items()))
        print(f"    right: both {both:,}, only A {only_a:,}, only B {only_b:,}, neither {neither:,}", end="; ")
        print(f"McNemar's exact p {found.p_value:.2g}")
    if args.json is not None:
        print(f"wrote {write_whole(args.json, lambda scratch: scratch.write_text(json.dumps(figures, indent=1)))}")
    return 0


def _check_json(path: Path | None) -> None:
    if path is not None and path.suffix != ".json":
        raise ValueError(f"--json is {path}; its name must end in .json (a picture beside it would end in .png)")
    if path is not None and not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"the folder of {path} does not exist; make it first")


def _parts(args: argparse.Namespace) -> dict[str, Any]:
    """All faces of the split, and, but for Training, those without a twin in a split before it: masks."""
    from ferlib import protocol

    clean = protocol.audit(args.data).clean(args.split)
    return {"all": slice(None)} | ({"clean": clean} if args.split != "Training" and clean.any() else {})


def _predicted(model: Any, faces: Any, views: str) -> Any:
    """The model's predictions, on the GPU if there is one."""
    import torch

    from ferlib import evaluation, models
    from ferlib.transforms import EvalTransform

    count = f"{len(faces):,} faces, {len(evaluation.VIEWS[views])} views each"
    print(f"ferlib: note: predicting {count}", file=sys.stderr, flush=True)
    model, transform = model.cuda() if torch.cuda.is_available() else model, EvalTransform(models.input_spec(model))
    return evaluation.predict(model, faces.images, faces.labels, transform, views=evaluation.VIEWS[views])


def _shown(row: Any, sign: str = "") -> str:
    return f"{100 * row['value']:{sign}.2f} [{100 * row['low']:{sign}.1f}, {100 * row['high']:{sign}.1f}]"


def _write_results(path: Path, figures: dict[str, Any], confusion: Any, title: str) -> None:
    """The figures as JSON and the confusion matrix as a picture beside them, each whole or not at all."""
    from matplotlib.figure import Figure

    from ferlib import plots
    from ferlib.files import write_whole

    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    plots.plot_confusion(confusion, ax=figure.subplots()).set_title(title)
    picture = write_whole(path.with_suffix(".png"), lambda scratch: figure.savefig(scratch, dpi=150, format="png"))
    write_whole(path, lambda scratch: scratch.write_text(json.dumps(figures, indent=1)))
    print(f"wrote {path} and {picture}")


if __name__ == "__main__":
    sys.exit(main())
