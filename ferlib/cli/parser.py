"""`ferlib VERB`: what may be typed. `verbs` does it; what cannot be done is said in one line."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 1 where a check found something to mend, 2 for a user's mistake."""
    args = _parser().parse_args(argv)
    try:
        first = os.environ.get("RANK", "0") == "0"  # of the processes of `accelerate launch`, the first one speaks
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stdout if first else None):
            warnings.filterwarnings("default" if first else "ignore", module="ferlib")
            warnings.showwarning = lambda message, *_, **__: print(f"ferlib: note: {message}", file=sys.stderr)
            if args.run == "doctor":  # it must run where torch does not
                from ferlib import doctor

                checks = doctor.check()
                print(doctor.report(checks))
                return 0 if all(check.ok for check in checks) else 1
            from ferlib.cli import verbs

            return getattr(verbs, f"run_{args.run}")(args)
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

    # fmt: off
    def verb(name: str, text: str, example: str) -> Any:
        made = verbs.add_parser(
            name, help=text.replace("%", "%%"), description=text, epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(run=name)
        return made

    verb("doctor", "is this machine ready? what is not, and the command that mends it", "ferlib doctor")
    show = verb("data", "load a source and say what is in it", "ferlib data --data data/fer2013.csv")
    audit = verb("audit", "count twins, leaks, conflicting labels and blanks", "ferlib audit --data sample")
    listed = verb("recipes", "list the recipes, or tell all about one", "ferlib recipes gray_resnet18")
    train = verb("train", "train a recipe, validating on PublicTest",
                 "ferlib train --data data/fer2013.csv --recipe cpu --out runs/cpu")
    evaluate = verb("evaluate", "measure a trained model, with 95% intervals, on all faces and on those without a twin",
                    "ferlib evaluate --model runs/cpu --data data/fer2013.csv --split PublicTest --json out.json")
    compare = verb("compare",
                   "two models on the same faces: the difference, its paired 95% interval, McNemar's test",
                   "ferlib compare runs/plain_cnn runs/cpu --data data/fer2013.csv --json compared.json")
    predict = verb("predict", "find the faces in photos, folders and videos, and name their expressions",
                   "ferlib predict holiday/ clip.mp4 --csv faces.csv --annotate seen/")
    explain = verb("explain", "draw where a model looks, on faces of a dataset or in photos",
                   "ferlib explain photo.jpg --out explained.png")
    export = verb("export", "write a model as ONNX, and say how closely that file answers like the model",
                  "ferlib export --model fer2013-small --data fer2013 --out small.onnx --int8")
    demo = verb("demo", "a page on this computer alone, to try a model with pictures or the camera",
                "ferlib demo --model fer2013")

    listed.add_argument("name", nargs="?", help="the recipe to describe (default: all, in a line each)")
    more = show.add_subparsers(metavar="fetch | export", parser_class=_Parser)
    fetch = more.add_parser("fetch", help="download FER2013: ferlib data fetch fer2013")
    fetch.add_argument("name", choices=("fer2013",), help="fer2013")
    fetch.add_argument("--to", type=Path, default=Path("data"), metavar="FOLDER", help="where to (default: data)")
    fetch.add_argument("--source", choices=("auto", "kaggle", "mirror"), default="auto", help="default: auto, in turn")
    fetch.set_defaults(run="fetch")
    saved = more.add_parser("export", help="write a dataset as class folders or CSV: ferlib data export sample faces/")
    saved.add_argument("source", help="sample, fer2013, or the path of a CSV, folder or archive")
    saved.add_argument("to", type=Path, metavar="OUT", help="a new folder, or for csv a new file")
    saved.add_argument("--as", dest="layout", choices=("folders", "csv"), default="folders", help="default: folders")
    saved.set_defaults(run="save_data")

    for made in (show, audit, train, evaluate, compare, explain, export):
        made.add_argument("--data", default="sample", metavar="SOURCE",
                          help="sample, fer2013, or the path of a CSV, folder or archive (default: sample)")
    for made in (show, audit, train, evaluate, compare, explain, export, saved):
        nothing = argparse.SUPPRESS if made is saved else None  # what stands before the word export counts too
        made.add_argument("--classes", metavar="NAMES", default=nothing,
                          help="what labels mean: rafdb, affectnet, affectnet7, fer2013, folders, 1=surprise,2=fear, "
                          "or happy,sad,contempt (default: FER2013's seven names)")
    for made in (predict, explain, export, demo):
        made.add_argument("--model", default="fer2013", help="a run's folder, a file, or a shipped name (%(default)s)")
    for made in (predict, explain, demo):
        made.add_argument("--detector", default="haar", metavar="NAME",
                          help="haar, whole (each picture is one face), or the path of YuNet's .onnx (default: haar)")

    option = train.add_argument
    option("--recipe", default="cpu", help="the recipe's name (default: cpu); see ferlib recipes")
    option("--model", metavar="NAME", help="another network, from scratch: fernet, or any of timm's names")
    option("--size", type=int, metavar="PX", help="side of the network's input")
    option("--weights", metavar="NAME", help="to start from: imagenet, a run's folder, a shipped name, none for random")
    option("--teacher", type=Path, nargs="+", metavar="MODEL", help="distil from these: 0.7 of the loss by default")
    option("--out", type=Path, required=True, help="folder for the model, its history and its state")
    option("--resume", action="store_true", help="go on with the run in --out")
    option("--limit", type=int, metavar="N", help="train on N faces, classes in proportion, for a quick look")
    for name, kind in (("epochs", int), ("batch-size", int), ("lr", float), ("seed", int), ("workers", int)):
        option(f"--{name}", type=kind, help="in place of the recipe's own")
    option("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="in place of the recipe's own")
    option("--val-share", type=float, metavar="SHARE", help="validate on a share of Training, not PublicTest")
    option("--drop-leaked", action="store_true", help="leave out training faces with a twin in a test split")
    option("--votes", type=Path, metavar="FILE", help="train on FER+ labels: its table, fer2013new.csv")
    option("--votes-as", choices=("majority", "probability", "cross_entropy"), default="cross_entropy",
           help="what becomes of ten votes (default: cross_entropy)")

    option = evaluate.add_argument
    option("--model", type=Path, nargs="+", required=True, help="folder, file or shipped name; of several, the mean")
    option("--split", default="PublicTest", help="Training, PublicTest or PrivateTest (default: PublicTest)")
    option("--tta", action="store_true", help="average 18 views of a face, too, flipped and shifted: 18 more passes")
    option("--json", type=Path, metavar="FILE", help="write all figures here, and the confusion matrix as FILE's .png")
    option("--open-sealed-test", metavar="REASON", help="with --split PrivateTest: why it is opened now")

    for name in "ab":
        compare.add_argument(name, type=Path, metavar=name.upper(), help="folder of a run, a file, or a shipped name")
    compare.add_argument("--split", default="PublicTest", help="Training or PublicTest (default: PublicTest)")
    compare.add_argument("--tta", action="store_true", help="average 18 views of a face in place of two")
    compare.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")

    option = predict.add_argument
    option("paths", type=Path, nargs="+", metavar="PATH", help="pictures, folders of pictures, videos")
    option("--csv", type=Path, metavar="FILE", help="write the table, a row a face, here")
    option("--annotate", type=Path, metavar="FOLDER", help="write the pictures with boxes and bars here")
    option("--threshold", type=float, default=0.5, metavar="SHARE", help="unsure below this confidence (default: 0.5)")
    option("--smallest", type=float, metavar="PX", help="lowest face sought (default: 24, in videos a sixth of a side)")
    option("--no-face", choices=("nan", "drop", "raise"), default="nan", help="a picture without a face: default nan")
    option("--every", type=int, default=1, metavar="K", help="of a video, every K-th frame (default: 1)")

    option = explain.add_argument
    option("paths", type=Path, nargs="*", metavar="PATH", help="photos; without any, PublicTest faces of --data")
    option("--out", type=Path, default=Path("explained.png"), metavar="FILE", help="the picture (%(default)s)")
    option("--faces", type=int, default=7, metavar="N", help="at most so many faces (default: 7)")

    option = export.add_argument
    option("--out", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    option("--int8", action="store_true", help="quantised to 8 bits, calibrated on Training faces of --data")

    demo.add_argument("--port", type=int, default=7860, help="on 127.0.0.1 (default: 7860)")
    demo.add_argument("--no-browser", action="store_true", help="do not open it in the browser")
    return parser
    # fmt: on


if __name__ == "__main__":
    sys.exit(main())
