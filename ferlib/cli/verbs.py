"""What each verb of the command line does: it calls the library and prints."""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from matplotlib.figure import Figure

from ferlib import data, evaluation, models, plots, protocol, recipes, training
from ferlib.data import download, ferplus
from ferlib.data.export import export_faces
from ferlib.emotions import EMOTIONS, ORDERS, match_classes
from ferlib.transforms import EvalTransform
from ferlib.utils import write_whole


def run_data(args: argparse.Namespace) -> int:
    """Say what is in a source."""
    classes = class_option(args.classes)
    dataset = data.load(args.data, classes=classes)
    print(f"{dataset.name}: {len(dataset):,} faces, {dataset.images.shape[1]}x{dataset.images.shape[2]} px")
    print(dataset.counts().to_string())
    sealed = int(data.all_counts(args.data, classes=classes).to_numpy().sum()) - len(dataset)
    if sealed:
        print(f"PrivateTest: {sealed:,} more, sealed")
    return 0


def run_save_data(args: argparse.Namespace) -> int:
    """Write a source's open splits as class folders or as CSV."""
    dataset = data.load(args.source, classes=class_option(args.classes))
    path = export_faces(dataset, args.to, args.layout)
    counts = ", ".join(f"{split} {total:,}" for split, total in dataset.counts().sum(axis=1).items())
    print(f"wrote {len(dataset):,} faces ({counts}) to {path}; a sealed PrivateTest stays out")
    own = "" if dataset.classes == EMOTIONS else f" --classes {shlex.quote(','.join(dataset.classes))}"
    print(f"next: ferlib data --data {shlex.quote(str(path))}{own}")
    return 0


def class_option(text: str | None) -> Any:
    """What `--classes` means: a published order, a mapping `1=surprise,2=fear`, or a list `happy,sad,contempt`."""
    if text is None or text == "folders" or text in ORDERS:
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if "=" not in text:
        return parts
    pairs = [part.partition("=") for part in parts]
    named = {key.strip(): name.strip() for key, _, name in pairs}
    if wrong := [part for part, pair in zip(parts, pairs, strict=True) if not all(map(str.strip, pair))]:
        raise ValueError(f"--classes has {wrong[0]!r}; write number=name, as in 1=surprise,2=fear")
    if len(named) < len(pairs):
        raise ValueError(f"--classes names a label twice: {text}; write each once")
    return named


def run_fetch(args: argparse.Namespace) -> int:
    """Download a dataset and say what is in it."""
    print(download.NOTICE, flush=True)
    args.data = download.fetch(args.name, args.to, source=args.source, progress=sys.stderr.isatty())
    print(f"it lies in {args.data} and is whole")
    run_data(args)
    print(f"next: ferlib audit --data {args.data}")
    return 0


def run_audit(args: argparse.Namespace) -> int:
    """Print the audit of a source."""
    print(protocol.audit(args.data, classes=class_option(args.classes)))
    return 0


def run_recipes(args: argparse.Namespace) -> int:
    """List the recipes, or describe one."""
    if args.name is not None:
        print(recipes.describe(recipes.get_recipe(args.name)))
        return 0
    for recipe in recipes.RECIPES.values():
        print(f"{recipe.name:<20} {recipe.description}")
    print("all about one: ferlib recipes NAME; to train it: ferlib train --recipe NAME --out runs/NAME")
    return 0


def run_train(args: argparse.Namespace) -> int:
    """Train a recipe; 130 when interrupted."""
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
    if args.resume and not (args.out / "state.pt").exists():
        print(f"note: {args.out} holds no run to go on with, so this one begins")
    classes = class_option(args.classes)
    dataset = data.load(args.data, classes=classes)
    if args.val_share is not None:
        train_set, val_set = protocol.split(dataset.subset("Training"), share=args.val_share, seed=recipe.config.seed)
    else:
        train_set, val_set = dataset.subset("Training"), dataset.subset("PublicTest")
    if args.drop_leaked:
        train_set = protocol.drop_leaked(train_set, protocol.audit(args.data, classes=classes))
    if args.votes is not None:
        train_set = ferplus.join(train_set, args.votes, how=args.votes_as)
        print(train_set.notes[-1])
    if args.limit is not None and args.limit >= len(train_set):
        print(f"note: all {len(train_set):,} faces are taken, as --limit asks for no fewer")
    elif args.limit is not None:
        train_set = protocol.take(train_set, args.limit)
    model, augment, per_image = recipe.build(dataset.classes)
    train_set = train_set.with_transform(per_image)
    total, trainable = models.count_parameters(model)
    spec = model.input_spec
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
    processes = PartialState().num_processes
    where = f", on {processes} processes" if processes > 1 else ""
    kept = f"kept epoch {epoch}: validation accuracy {accuracy:.2%}, one view"
    print(f"{result.stopped}, in {result.precision}{where}; {kept}")
    if result.stopped == "interrupted":
        print("to go on: the same command with --resume")
        return 130
    if recipe.config.keep == "best":
        print("that is the best of its epochs by the very faces it is measured on, and so a little too good")
    own = "" if args.classes is None else f" --classes {shlex.quote(args.classes)}"
    where = f" --data {shlex.quote(str(args.data))}{own}"
    if "PublicTest" in dataset.counts().index:
        print(f"next: ferlib evaluate --model {args.out}{where}")
    else:
        print(f"next: ferlib predict PICTURE --model {args.out}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure a model, or the mean of several."""
    _check_file(args.json, ".json", "--json")
    model, named = models.load_ensemble(args.model), " + ".join(map(str, args.model))
    digest = models.model_hash(model)
    if args.open_sealed_test is not None:
        if args.split != "PrivateTest":
            raise ValueError(f"--open-sealed-test goes with --split PrivateTest; the split given is {args.split}")
        faces = protocol.open_sealed(args.data, args.open_sealed_test, digest, classes=class_option(args.classes))
        print(f"PrivateTest opened; {Path(protocol.LEDGER).resolve()} says when, why and for which model")
    else:
        faces = data.load(args.data, classes=class_option(args.classes)).subset(args.split)
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
    most, numbers, shown = found[names[-1]], figures[names[-1]]["all"], names[-1].replace("_", " ")
    print(
        f"calibration, {shown}, all faces: ECE {numbers['ece']:.1%} as it is, {numbers['calibrated_ece']:.1%} "
        f"with a temperature fitted on other folds ({numbers['temperature']:.2f} on all)"
    )
    print(f"per class, {shown}, all faces, in percent:")
    table = evaluation.report(most)
    print(
        table.assign(**100 * table[["precision", "recall", "f1"]]).to_string(float_format=lambda value: f"{value:.1f}")
    )
    if args.json is not None:
        _write_results(args.json, figures, most, f"{args.split} of {faces.name}, {shown}")
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """Two models on the same faces."""
    _check_file(args.json, ".json", "--json")
    if args.split == "PrivateTest":
        command = "ferlib evaluate --split PrivateTest --open-sealed-test REASON"
        raise ValueError(f"PrivateTest is for one model, chosen by then; compare on PublicTest, and then: {command}")
    loaded = {name: models.load_model(getattr(args, name)) for name in "ab"}
    faces, parts = data.load(args.data, classes=class_option(args.classes)).subset(args.split), _parts(args)
    views = "shift_flip_averaged" if args.tta else "flip_averaged"
    figures: dict[str, Any] = {"data": faces.name, "split": args.split, "views": views}
    for name, model in loaded.items():
        figures[name] = {"model": str(getattr(args, name)), "model_sha256": models.model_hash(model)}
    pair, shown = [_predicted(model, faces, views) for model in loaded.values()], views.replace("_", " ")
    print(f"A: {args.a}, B: {args.b}; {args.split} of {faces.name}, {shown}; 95% bootstrap intervals, in percent")
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


def run_predict(args: argparse.Namespace) -> int:
    """Name the faces of pictures and videos; 1 if some could not be read."""
    from ferlib.apps import recognizer

    _check_file(args.csv, ".csv", "--csv")
    if args.annotate is not None:
        recognizer.writable_folder(args.annotate, args.paths)
    options = {"threshold": args.threshold, "smallest": args.smallest}
    reader = recognizer.EmotionRecognizer.load(args.model, detector=args.detector, **options)
    rows = reader.predict(args.paths, no_face=args.no_face, every=args.every, progress=sys.stderr.isatty())
    failed, faces = _note_errors(rows), rows["score"].notna()
    if args.csv is None and faces.any():
        columns = ["file", "frame", *recognizer.BOX, "emotion", "confidence", "abstained"]
        digits = {"confidence": 2} | dict.fromkeys(recognizer.BOX, 0)
        print(rows.loc[faces, columns].round(digits).to_string(index=False))
    if args.csv is not None:
        print(f"wrote {write_whole(args.csv, lambda scratch: rows.to_csv(scratch, index=False))}")
    if args.annotate is not None:
        print(f"wrote {len(recognizer.save_annotated(rows, args.paths, args.annotate))} pictures to {args.annotate}")
    pictures = len(rows[["file", "frame"]].drop_duplicates()) - failed
    unsure = int(rows.loc[faces, "abstained"].sum())
    told = "pictures that show one" if args.no_face == "drop" else "pictures"
    print(f"{faces.sum():,} faces in {pictures:,} {told}, {unsure:,} of them unsure; {failed:,} could not be read")
    return 1 if failed else 0


def run_explain(args: argparse.Namespace) -> int:
    """Draw where a model looks."""
    from ferlib import explain
    from ferlib.apps import detection, pictures, recognizer

    _check_file(args.out, ".png", "--out")
    if args.faces < 1:
        raise ValueError(f"--faces is {args.faces}; 1 is the least")
    if films := [path for path in args.paths if path.suffix.lower() in pictures.VIDEOS]:
        raise ValueError(f"{films[0]} is a video; explain takes pictures, such as one of its frames saved as .png")
    model = models.load_model(args.model)
    spec = model.input_spec
    finder = detection.find_detector(args.detector if args.paths else "whole")
    if args.paths:
        crops: list[np.ndarray] = []
        seen = 0
        for shot in pictures.read_shots(args.paths):
            if shot.error:
                print(f"ferlib: note: {shot.error}", file=sys.stderr)
            if shot.image is not None:
                seen += 1
                boxes = finder.detect(shot.image)
                crops += [detection.crop_face(shot.image, box, margin=finder.margin, size=spec.size) for box in boxes]
            if len(crops) >= args.faces:
                break
        if not crops:
            raise ValueError("no face was found in these pictures; --detector whole takes each picture for a face"
                             if seen else "none of these files could be read as a picture")  # fmt: skip
        images, labels = np.stack(crops[: args.faces]), None
    else:
        test = data.load(args.data, classes=class_option(args.classes)).subset("PublicTest")
        places = match_classes(model.classes, test.classes, test.name)
        test = test if places is None else test.with_classes(model.classes)
        # the first of each emotion, then the second of each, and so on
        order = pd.Series(test.labels).groupby(test.labels).cumcount().sort_values(kind="stable").index[: args.faces]
        images, labels = test.images[order], test.labels[order]
    chances = recognizer.EmotionRecognizer(model, detector=finder).probabilities(images)
    told = [f"{model.classes[row.argmax()]} {row.max():.0%}" for row in chances]
    if labels is not None:
        told = [f"{text}, labelled {model.classes[label]}" for text, label in zip(told, labels, strict=True)]
    batch = EvalTransform(spec)(torch.from_numpy(images)[:, None])
    maps = {"Grad-CAM": explain.grad_cam(model, batch), "occlusion": explain.occlusion(model, batch)}
    overlays = {name: explain.overlay(images, heights) for name, heights in maps.items()}
    figure = plots.explanation_grid(images, overlays, told)
    print(f"wrote {write_whole(args.out, lambda scratch: figure.savefig(scratch, dpi=150, format='png'))}")
    print("Grad-CAM is what everybody draws; on faces whose truth is known occlusion is far nearer to it (lesson 09)")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write an ONNX file and report how close it is."""
    from ferlib.apps import export

    _check_file(args.out, ".onnx", "--out")
    model, faces = models.load_model(args.model), data.load(args.data, classes=class_option(args.classes))
    test = faces.subset("PublicTest")
    if args.int8:
        trained = faces.subset("Training")
        chosen = protocol.take(trained, min(512, len(trained) - len(trained.classes))).images
        with tempfile.TemporaryDirectory() as folder:
            path = export.quantise(export.to_onnx(model, Path(folder) / "whole.onnx"), chosen, args.out)
    else:
        path = export.to_onnx(model, args.out)
    print(f"wrote {path}; on the {len(test):,} PublicTest faces of {faces.name}, the model's own -> this file's:")
    print(export.report(export.parity(model, path, test)))
    return 0


def run_demo(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from ferlib.apps import demo

    browser = not args.no_browser
    blocks = demo.launch(args.model, port=args.port, open_browser=browser, detector=args.detector, wait=False)
    print(f"the page is at http://127.0.0.1:{args.port}, for this computer alone; Ctrl-C ends it", flush=True)
    blocks.block_thread()
    return 0


def _note_errors(rows: pd.DataFrame) -> int:
    """Name the files that could not be read; returns how many."""
    failed = rows.loc[rows["error"] != "", "error"]
    for error in failed:
        print(f"ferlib: note: {error}", file=sys.stderr)
    return len(failed)


def _check_file(path: Path | None, suffix: str, option: str) -> None:
    """Say before any work that a file could not be written."""
    if path is None:
        return
    if path.suffix != suffix or path.is_dir():
        raise ValueError(f"{option} is {path}; its name must end in {suffix}, and it is a file's")
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder of {path} does not exist; make it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"cannot write into {folder} ({error.strerror}); give another folder for {option}") from error


def _parts(args: argparse.Namespace) -> dict[str, Any]:
    """All faces of the split, and, but for Training, those without a twin in a split before it: masks."""
    clean = protocol.audit(args.data, classes=class_option(args.classes)).clean(args.split)
    return {"all": slice(None)} | ({"clean": clean} if args.split != "Training" and clean.any() else {})


def _predicted(model: Any, faces: Any, views: str) -> Any:
    """The model's predictions, on the GPU if there is one."""
    count = f"{len(faces):,} faces, {len(evaluation.VIEWS[views])} views each"
    print(f"ferlib: note: predicting {count}", file=sys.stderr, flush=True)
    model = model.cuda() if torch.cuda.is_available() else model
    return evaluation.predict(model, faces, views=evaluation.VIEWS[views])


def _shown(row: Any, sign: str = "") -> str:
    return f"{100 * row['value']:{sign}.2f} [{100 * row['low']:{sign}.1f}, {100 * row['high']:{sign}.1f}]"


def _write_results(path: Path, figures: dict[str, Any], found: evaluation.Predictions, title: str) -> None:
    """The figures as JSON and the confusion matrix as a picture beside them, each whole or not at all."""
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    plots.plot_confusion(found, ax=figure.subplots()).set_title(title)
    picture = write_whole(path.with_suffix(".png"), lambda scratch: figure.savefig(scratch, dpi=150, format="png"))
    write_whole(path, lambda scratch: scratch.write_text(json.dumps(figures, indent=1)))
    print(f"wrote {path} and {picture}")
