"""The verbs `predict`, `explain`, `export` and `demo`."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from ferlib.cli.options import CLASSES, DATA, DETECTOR, MODEL, add_verb, check_output, note, save_figure
from ferlib.utils import write_whole


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file."""
    add = add_verb(verbs, "predict", run_predict, MODEL, DETECTOR).add_argument
    add("paths", type=Path, nargs="+", metavar="PATH", help="pictures, folders of pictures, videos")
    add("--csv", type=Path, metavar="FILE", help="write the table here, one row per face")
    add("--annotate", type=Path, metavar="FOLDER", help="write the pictures with boxes and labels here")
    add("--threshold", type=float, default=0.5, metavar="SHARE", help="unsure below this confidence (default: 0.5)")
    add("--smallest", type=float, metavar="PX", help="smallest face (default: 24, in videos a sixth of a side)")
    add(
        "--no-face", choices=("nan", "drop", "raise"), default="nan", help="for a picture without a face (default: nan)"
    )
    add("--every", type=int, default=1, metavar="K", help="take every K-th frame of a video (default: 1)")
    add = add_verb(verbs, "explain", run_explain, MODEL, DETECTOR, DATA, CLASSES).add_argument
    add("paths", type=Path, nargs="*", metavar="PATH", help="photos (default: PublicTest faces of --data)")
    add("--out", type=Path, default=Path("explained.png"), metavar="FILE", help="default: explained.png")
    add("--faces", type=int, default=7, metavar="N", help="at most so many faces (default: 7)")
    add = add_verb(verbs, "export", run_export, MODEL, DATA, CLASSES).add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="the .onnx file to write")
    add("--int8", action="store_true", help="quantise to 8 bits, calibrated on Training faces of --data")
    add = add_verb(verbs, "demo", run_demo, MODEL, DETECTOR).add_argument
    add("--port", type=int, default=7860, help="on 127.0.0.1 (default: 7860)")
    add("--no-browser", action="store_true", help="do not open the browser")


def run_predict(args: argparse.Namespace) -> int:
    """Find the faces in photos, folders and videos, and name their expressions.

    Example:
        ferlib predict holiday/ clip.mp4 --csv faces.csv --annotate seen/
    """
    from ferlib.apps import recognizer

    check_output(args.csv, ".csv")
    if args.annotate is not None:
        recognizer.writable_folder(args.annotate, args.paths)
    options = {"threshold": args.threshold, "smallest": args.smallest}
    reader = recognizer.EmotionRecognizer.load(args.model, detector=args.detector, **options)
    rows = reader.predict(args.paths, no_face=args.no_face, every=args.every, progress=sys.stderr.isatty())
    faces, errors = rows[rows["score"].notna()], rows.loc[rows["error"] != "", "error"]
    for error in errors:
        note(error)
    if args.csv is not None:
        print(f"wrote {write_whole(args.csv, lambda scratch: rows.to_csv(scratch, index=False))}")
    elif len(faces):
        table = faces[["file", "frame", *recognizer.BOX, "emotion", "confidence", "abstained"]]
        print(table.round(dict.fromkeys(recognizer.BOX, 0) | {"confidence": 2}).to_string(index=False))
    if args.annotate is not None:
        print(f"wrote {len(recognizer.save_annotated(rows, args.paths, args.annotate))} pictures to {args.annotate}")
    counts = len(faces), len(rows[["file", "frame"]].drop_duplicates()) - len(errors), faces["abstained"].sum()
    print("{:,} faces in {:,} pictures, {:,} of them unsure; {:,} could not be read".format(*counts, len(errors)))
    return 1 if len(errors) else 0


def run_explain(args: argparse.Namespace) -> None:
    """Draw where a model looks, on photos or on faces of a dataset.

    Example:
        ferlib explain photo.jpg --out explained.png
    """
    import torch

    from ferlib import explain, plots
    from ferlib.apps import recognizer
    from ferlib.transforms import EvalTransform

    check_output(args.out, ".png")
    if args.faces < 1:
        raise ValueError(f"--faces is {args.faces}; give 1 or more")
    reader = recognizer.EmotionRecognizer.load(args.model, detector=args.detector)
    images, labels = _photo_faces(args, reader) if args.paths else _dataset_faces(args, reader.model.classes)
    names = [f"{reader.model.classes[row.argmax()]} {row.max():.0%}" for row in reader.probabilities(images)]
    titles = [name + label for name, label in zip(names, labels, strict=True)]
    batch = EvalTransform(reader.model.input_spec)(torch.from_numpy(images)[:, None])
    maps = {"Grad-CAM": explain.grad_cam(reader.model, batch), "occlusion": explain.occlusion(reader.model, batch)}
    overlays = {name: explain.overlay(images, heat) for name, heat in maps.items()}
    print(f"wrote {save_figure(args.out, plots.explanation_grid(images, overlays, titles))}")
    print("on faces whose truth is known, occlusion is much nearer to it than Grad-CAM (lesson 09)")


def _photo_faces(args: argparse.Namespace, reader: Any) -> tuple[Any, list[str]]:
    """Cut the first faces out of photos, uint8 (n, size, size); they have no labels."""
    import numpy as np

    from ferlib.apps import pictures

    crops: list[np.ndarray] = []
    for shot in pictures.read_shots(args.paths):
        if shot.image is None:
            note(shot.error)
        elif len(crops) < args.faces:
            crops += [reader.crop(shot.image, box) for box in reader.detector.detect(shot.image)]
    if not crops:
        raise ValueError("no face was found in these pictures; --detector whole takes each picture as a face")
    return np.stack(crops[: args.faces]), [""] * min(len(crops), args.faces)


def _dataset_faces(args: argparse.Namespace, classes: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Take PublicTest faces: the first of each class, then the second of each, and so on."""
    import pandas as pd

    from ferlib import data

    faces = data.load(args.data, classes=args.classes).subset("PublicTest").with_classes(classes)
    rank = pd.Series(faces.labels).groupby(faces.labels).cumcount()
    order = rank.sort_values(kind="stable").index[: args.faces]
    return faces.images[order], [f", labelled {classes[label]}" for label in faces.labels[order]]


def run_export(args: argparse.Namespace) -> None:
    """Write a model as ONNX, and compare that file with the model.

    Example:
        ferlib export --model fer2013-small --data fer2013 --out small.onnx --int8
    """
    from ferlib import data, models, protocol
    from ferlib.apps import export

    check_output(args.out, ".onnx")
    model, dataset = models.load_model(args.model), data.load(args.data, classes=args.classes)
    if args.int8:
        train_set = dataset.subset("Training")
        calibration_set = protocol.take(train_set, min(512, len(train_set) - len(train_set.classes)))
        with tempfile.TemporaryDirectory() as folder:
            whole = export.to_onnx(model, Path(folder) / "whole.onnx")
            path = export.quantise(whole, calibration_set.images, args.out)
    else:
        path = export.to_onnx(model, args.out)
    test = dataset.subset("PublicTest")
    print(f"wrote {path}; on the {len(test):,} PublicTest faces of {dataset.name}, the model -> this file:")
    print(export.report(export.parity(model, path, test)))


def run_demo(args: argparse.Namespace) -> None:
    """Open a page, on this computer only, to try a model with pictures or the camera.

    Example:
        ferlib demo --model fer2013
    """
    from ferlib.apps import demo

    browser = not args.no_browser
    page = demo.launch(args.model, port=args.port, open_browser=browser, detector=args.detector, wait=False)
    print(f"the page is at http://127.0.0.1:{args.port}, for this computer only; Ctrl-C ends it", flush=True)
    page.block_thread()
