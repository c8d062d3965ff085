"""The verbs `predict`, `explain`, `export` and `demo`."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from ferlib.cli.options import DETECTOR, FACES, FORCE, MODEL, add_verb, data_file, path_given
from ferlib.cli.output import counted, note, note_drawn, note_same, save_plot
from ferlib.utils import check_output, readable, require, write_whole


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file."""
    add = add_verb(verbs, "predict", run_predict, MODEL, DETECTOR, FORCE).add_argument
    add("paths", type=path_given, nargs="+", metavar="PATH", help="pictures, folders of pictures, videos")
    add("--recursive", action="store_true", help="read the subfolders of a folder too")
    add("--csv", type=path_given, metavar="FILE", help="write the table here, one row per face")
    add("--annotate", type=path_given, metavar="FOLDER", help="write the pictures with boxes and labels here")
    add("--threshold", type=float, default=0.5, metavar="SHARE", help="unsure below this confidence (default: 0.5)")
    add("--margin", type=float, metavar="SHARE", help="room about a box, as a share of it (default: the model's)")
    add("--smallest", type=float, metavar="PX", help="smallest face (default: 24, in videos a sixth of a side)")
    add(
        "--no-face",
        choices=("nan", "drop"),
        default="nan",
        help="a picture without a face: an empty row (nan, the default) or none",
    )
    add("--every", type=int, default=1, metavar="K", help="take every K-th frame of a video (default: 1)")
    add = add_verb(verbs, "explain", run_explain, MODEL, DETECTOR, *FACES, FORCE).add_argument
    add("paths", type=path_given, nargs="*", metavar="PATH", help="photos (default: PublicTest faces of --data)")
    add("--out", type=path_given, default=Path("explained.png"), metavar="FILE", help="default: explained.png")
    add("--faces", type=int, default=7, metavar="N", help="at most so many faces (default: 7)")
    add = add_verb(verbs, "export", run_export, MODEL, *FACES, FORCE).add_argument
    add("--out", type=path_given, required=True, metavar="FILE", help="the .onnx file to write")
    add("--int8", action="store_true", help="quantise to 8 bits, calibrated on Training faces of --data")
    add = add_verb(verbs, "demo", run_demo, MODEL, DETECTOR).add_argument
    add("--port", type=int, default=7860, help="on 127.0.0.1 (default: 7860)")
    add("--no-browser", action="store_true", help="do not open the browser")


def run_predict(args: argparse.Namespace) -> int:
    """Find the faces in photos, folders and videos, and name their expressions.

    Example:
        ferlib predict holiday/ clip.mp4 --csv faces.csv --annotate seen/
    """
    for path in args.paths:
        if not path.exists():  # told before torch is imported, which takes seconds
            raise FileNotFoundError(f"{path} does not exist; give an image, a video or a folder of images")
    from ferlib.apps import recognizer

    _check_outputs(args)
    options = {"threshold": args.threshold, "smallest": args.smallest, "margin": args.margin}
    reader = recognizer.EmotionRecognizer.load(args.model, detector=args.detector, **options)
    note_drawn(reader.model)
    shown = sys.stderr.isatty()
    whole = reader.predict(args.paths, every=args.every, recursive=args.recursive, progress=shown)
    faces, errors = whole[whole["score"].notna()], whole.loc[whole["error"] != "", "error"]
    rows = whole if args.no_face != "drop" else whole[whole["score"].notna() | (whole["error"] != "")]
    for error in errors:
        note(error)
    note_same(faces["emotion"].tolist())
    if args.annotate is not None:
        rows = rows.assign(annotated=recognizer.annotated_names(rows))
    if args.csv is not None:
        texts = rows.assign(**{name: rows[name].map(readable) for name in {"file", "error", "annotated"} & {*rows}})
        print(f"wrote {write_whole(args.csv, lambda scratch: texts.to_csv(scratch, index=False))}")
    elif len(faces):
        table = faces[["file", "frame", *recognizer.BOX, "emotion", "confidence", "abstained"]]
        print(table.round(dict.fromkeys(recognizer.BOX, 0) | {"confidence": 2}).to_string(index=False))
    if args.annotate is not None:
        saved = recognizer.save_annotated(rows, args.paths, args.annotate, recursive=args.recursive)
        print(f"wrote {counted(len(saved), 'picture')} to {args.annotate}")
    seen, lost = len(whole[["file", "frame"]].drop_duplicates()) - len(errors), len(errors)
    empty = whole[whole["score"].isna() & (whole["error"] == "")]
    if names := sorted({*empty["file"]} - {*faces["file"]}):
        note(f"no face found in {', '.join(names[:5])}{f' and {len(names) - 5:,} more' * (len(names) > 5)}")
    print(f"{counted(len(faces), 'face')} in {counted(seen, 'picture')}, {faces['abstained'].sum():,} unsure; ", end="")
    print(f"{counted(len(empty), 'picture')} without a face; {lost:,} could not be read")
    return 1 if lost else 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Check before any work that what `predict` writes replaces nothing of the user's."""
    from ferlib.apps import pictures, recognizer

    if args.csv is not None:
        files = pictures.list_files(args.paths, recursive=args.recursive)
        check_output(args.csv, ".csv", inputs=[args.model, args.detector, *files], force=args.force)
    if args.annotate is not None:
        folder = recognizer.writable_folder(args.annotate, args.paths, recursive=args.recursive)
        if any(folder.iterdir()) and not args.force:
            raise ValueError(f"{folder} holds files already; give a new folder, or add --force")


def run_explain(args: argparse.Namespace) -> None:
    """Draw where a model looks, on photos or on faces of a dataset.

    Example:
        ferlib explain photo.jpg --out explained.png
    """
    from ferlib import explain, plots
    from ferlib.apps import pictures, recognizer

    inputs = [args.model, args.detector, *(pictures.list_files(args.paths) if args.paths else [data_file(args.data)])]
    check_output(args.out, ".png", inputs=inputs, force=args.force)
    require(args.faces >= 1, f"--faces is {args.faces}; give 1 or more")
    reader = recognizer.EmotionRecognizer.load(args.model, detector=args.detector)
    note_drawn(reader.model)
    images, found, labels = _photo_faces(args, reader) if args.paths else _dataset_faces(args, reader)
    names = [f"{reader.model.classes[row.argmax()]} {row.max():.0%}" for row in found]
    titles = [name + label for name, label in zip(names, labels, strict=True)]
    seen = reader.model, reader.batch(images), found.argmax(1).tolist()  # the maps are of the class in the title
    maps = {"Grad-CAM": explain.grad_cam(*seen), "occlusion": explain.occlusion(*seen)}
    overlays = {name: explain.overlay(images, heat) for name, heat in maps.items()}
    print(f"wrote {save_plot(args.out, plots.explanation_grid(images, overlays, titles))}")
    print("on faces whose truth is known, occlusion is much nearer to it than Grad-CAM (lesson 09)")


def _photo_faces(args: argparse.Namespace, reader: Any) -> tuple[Any, Any, list[str]]:
    """Find the first faces of photos as `predict` does: uint8 (n, size, size), probabilities (n, k), no labels."""
    import numpy as np

    from ferlib.apps import pictures
    from ferlib.apps.recognizer import CROP

    crops: list[np.ndarray] = []
    found: list[np.ndarray] = []
    for shot in pictures.read_shots(args.paths):
        if shot.image is None:
            note(shot.error)
            continue
        table = reader.predict(shot.image, no_face="drop")
        crops += [reader.crop(shot.image, box) for box in table[CROP].to_numpy()]
        found += [*table[[*reader.model.classes]].to_numpy()]
        if len(crops) >= args.faces:
            break
    require(crops, "no face was found in these pictures; --detector whole takes each picture as a face")
    return np.stack(crops[: args.faces]), np.stack(found[: args.faces]), [""] * min(len(crops), args.faces)


def _dataset_faces(args: argparse.Namespace, reader: Any) -> tuple[Any, Any, list[str]]:
    """Take PublicTest faces with their probabilities: the first of each class, then the second of each, and so on."""
    import pandas as pd

    from ferlib import data

    classes = reader.model.classes
    dataset = data.load(args.data, size=args.face_size, classes=args.classes)
    faces = dataset.subset("PublicTest").with_classes(classes)
    rank = pd.Series(faces.labels).groupby(faces.labels).cumcount()
    order = rank.sort_values(kind="stable").index[: args.faces]
    images, labels = faces.images[order], [f", labelled {classes[label]}" for label in faces.labels[order]]
    return images, reader.probabilities(images), labels


def run_export(args: argparse.Namespace) -> None:
    """Write a model as ONNX, and compare that file with the model.

    Example:
        ferlib export --model fer2013-small --data fer2013 --out small.onnx --int8
    """
    from ferlib import data, models
    from ferlib.apps import export

    check_output(args.out, ".onnx", inputs=[args.model, data_file(args.data)], force=args.force)
    model = models.load_model(args.model)
    dataset = data.load(args.data, size=args.face_size, classes=args.classes)
    test = dataset.subset("PublicTest")
    if args.int8:
        faces = dataset.subset("Training").images
        spread = [number * len(faces) // 512 for number in range(512)] if len(faces) > 512 else slice(None)
        with tempfile.TemporaryDirectory() as folder:
            whole = export.to_onnx(model, Path(folder) / "whole.onnx")
            path = export.quantise(whole, faces[spread], args.out)
    else:
        path = export.to_onnx(model, args.out)
    print(f"wrote {path}\n{export.describe(path)}")
    print(f"on the {len(test):,} PublicTest faces of {dataset.name}, the model -> this file:")
    print(export.report(export.parity(model, path, test)))
    print("it answers for one view of a face; `ferlib predict` averages the face and its mirror image")


def run_demo(args: argparse.Namespace) -> None:
    """Open a page, on this computer only, to try a model with pictures or the camera.

    Example:
        ferlib demo --model fer2013
    """
    from ferlib.apps import demo

    page = demo.launch(args.model, port=args.port, open_browser=not args.no_browser, detector=args.detector)
    print(f"the page is at http://127.0.0.1:{args.port}, for this computer only; Ctrl-C ends it", flush=True)
    page.block_thread()
