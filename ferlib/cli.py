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
    evaluate = verb(
        "evaluate", _evaluate, "measure a trained model, with 95% intervals, on all faces and on those without a twin",
        "ferlib evaluate --model runs/cpu --data data/fer2013.csv --split PublicTest --json out.json",
    )  # fmt: skip
    for made in (show, audit, train, evaluate):
        help_text = "sample, fer2013, or the path of a CSV, folder or archive (default: sample)"
        made.add_argument("--data", default="sample", metavar="SOURCE", help=help_text)
    train.add_argument("--recipe", default="cpu", help="the recipe's name (default: cpu)")
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
    train.add_argument("--precision", choices=PRECISIONS, help="in place of the recipe's own")
    evaluate.add_argument("--model", type=Path, required=True, help="folder of a run, or a model.safetensors")
    evaluate.add_argument(
        "--split", default="PublicTest", help="Training, PublicTest or PrivateTest (default: PublicTest)"
    )
    evaluate.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures here, and the confusion matrix as FILE's .png"
    )
    evaluate.add_argument("--open-sealed-test", metavar="REASON", help="with --split PrivateTest: why it is opened now")
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
    return 0


def _audit(args: argparse.Namespace) -> int:
    from ferlib import protocol

    print(protocol.audit(args.data))
    return 0


def _train(args: argparse.Namespace) -> int:
    import dataclasses

    from sklearn.model_selection import train_test_split

    from ferlib import data, models, protocol, recipes, training

    recipe = recipes.get_recipe(args.recipe)
    given = ("epochs", "batch_size", "lr", "seed", "workers", "precision")
    changes = {name: getattr(args, name) for name in given if getattr(args, name) is not None}
    recipe = dataclasses.replace(recipe, config=dataclasses.replace(recipe.config, **changes))
    if (args.out / models.WEIGHTS_FILE).exists() and not args.resume:
        raise ValueError(f"{args.out} already holds a model; add --resume to go on with it, or give another --out")
    dataset = data.load(args.data)
    if args.val_share is not None:
        train_set, val_set = protocol.split(dataset.subset("Training"), share=args.val_share, seed=recipe.config.seed)
    else:
        train_set, val_set = dataset.subset("Training"), dataset.subset("PublicTest")
    if args.limit is not None:
        most = len(train_set) - 7  # one of each emotion on either side
        if not 7 <= args.limit <= most:
            raise ValueError(f"--limit is {args.limit}; there are {len(train_set):,} faces, so give 7 to {most:,}")
        picks, _ = train_test_split(
            range(len(train_set)), train_size=args.limit, stratify=train_set.labels, random_state=0
        )
        train_set = train_set.subset(sorted(picks))
    if recipe.per_image is not None:
        train_set = dataclasses.replace(train_set, transform=recipe.per_image())
    model, augment = recipe.build()
    total, _ = models.count_parameters(model)
    size = f"{recipe.model['name']}, {total:,} parameters"
    print(f"{recipe.name}: {size}; {len(train_set):,} faces, {recipe.config.epochs} epochs")
    result = training.fit(
        model, train_set, val_set, recipe.config, train_transform=augment, out=args.out, resume=args.resume
    )
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
    import torch

    from ferlib import data, evaluation, models, protocol
    from ferlib.transforms import EvalTransform

    if args.json is not None and args.json.suffix != ".json":
        raise ValueError(f"--json is {args.json}; its name must end in .json, the picture beside it ends in .png")
    if args.json is not None and not args.json.resolve().parent.is_dir():
        raise FileNotFoundError(f"the folder of {args.json} does not exist; make it first")
    model = models.load_model(args.model)
    digest = models.model_hash(model)
    if args.open_sealed_test is not None:
        if args.split != "PrivateTest":
            raise ValueError(f"--open-sealed-test goes with --split PrivateTest; the split given is {args.split}")
        faces = protocol.open_sealed(args.data, args.open_sealed_test, digest)
        print(f"PrivateTest opened; {Path(protocol.LEDGER).resolve()} says when, why and for which model")
    else:
        faces = data.load(args.data).subset(args.split)
    if torch.cuda.is_available():
        model = model.cuda()
    clean = protocol.audit(args.data).clean(args.split)
    figures: dict[str, Any] = {
        "model": str(args.model),
        "model_sha256": digest,
        "data": faces.name,
        "split": args.split,
    }
    transform = EvalTransform(models.input_spec(model))
    for name, views in (("single_view", (None,)), ("flip_averaged", (None, evaluation.flip))):
        found = evaluation.predict(model, faces.images, faces.labels, transform, views=views)
        parts = {"all": found, "clean": found.subset(clean)} if args.split != "Training" else {"all": found}
        figures[name] = {part: evaluation.as_json(some) for part, some in parts.items() if len(some.labels)}
    print(f"{args.model} on {args.split} of {faces.name}; 95% bootstrap intervals, in percent")
    for name in ("single_view", "flip_averaged"):
        for part, numbers in figures[name].items():
            shown = (f"{metric} {100 * numbers[metric]['value']:.2f} [{100 * numbers[metric]['low']:.1f}, "
                     f"{100 * numbers[metric]['high']:.1f}]" for metric in evaluation.METRICS)  # fmt: skip
            print(f"  {name.replace('_', ' '):<13} {part:<8} n={numbers['n']:,}  {', '.join(shown)}")
    print("per emotion, flip averaged, all faces:")
    print(evaluation.report(found).to_string(float_format=lambda value: f"{value:.3f}"))
    if args.json is not None:
        _write_results(args.json, figures, found.confusion(), f"{args.split} of {faces.name}, flip averaged")
    return 0


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
