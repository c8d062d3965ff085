"""`ferlib VERB` as a user meets it: what it prints and writes, and one clear line with exit code 2 for a mistake."""

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from on_disk import write_csv, write_folders

from ferlib import cli, evaluation, models, recipes, sample
from ferlib.data import FaceDataset, load
from ferlib.emotions import EMOTIONS, ORDERS

pytestmark = pytest.mark.filterwarnings("ignore:.*of FER2013's")


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """175 faces with all three splits; the first 10 of each test are twins of Training faces."""
    images, table = sample.draw(175, seed=4, balance="equal")
    labels = table["label"].to_numpy(copy=True)
    for start in (105, 140):
        images[start : start + 10], labels[start : start + 10] = images[:10], labels[:10]
    splits = ["Training"] * 105 + ["PublicTest"] * 35 + ["PrivateTest"] * 35
    return write_csv(tmp_path_factory.mktemp("cli") / "faces.csv", images, labels, splits)


@pytest.fixture(scope="module")
def trained(csv: Path) -> Path:
    out = csv.parent / "run"
    assert (
        cli.main(
            [
                "train",
                "--data",
                str(csv),
                "--out",
                str(out),
                "--recipe=plain_cnn",
                "--epochs=2",
                "--batch-size=16",
                "--workers=0",
            ]
        )
        == 0
    )
    return out


def ferlib(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        code = cli.main([str(arg) for arg in args])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refuses(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What a mistake prints: exit code 2, nothing on stdout but notes, a single line of error, no traceback."""
    code, out, err = ferlib(capsys, *args)
    lines = [line for line in err.splitlines() if not line.startswith("ferlib: note:")]
    assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
    assert ": error: " in lines[0]
    return lines[0]


@pytest.mark.parametrize("verb", ["doctor", "data", "audit", "train", "recipes", "evaluate", "compare"])
def test_each_verb_helps_with_an_example(capsys, verb: str):
    code, out, _ = ferlib(capsys, verb, "--help")
    assert code == 0 and f"Example:\n    ferlib {verb}" in out


def test_help_lists_the_verbs(capsys):
    code, out, _ = ferlib(capsys, "--help")
    assert code == 0 and all(verb in out for verb in ("doctor", "data", "audit", "train", "evaluate", "compare", "95%"))


def test_help_loads_nothing_heavy():
    code = "import sys; from ferlib.cli import main\ntry: main(['train', '--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--drop-leaked" in done.stdout
    assert not {"torch", "numpy", "pandas", "cv2", "matplotlib"} & {*done.stdout.splitlines()[-1].split()}


def test_data_counts_faces_and_notes_what_is_missing(capsys, csv: Path):
    code, out, err = ferlib(capsys, "data", "--data", csv)
    assert code == 0
    assert "faces.csv: 140 faces, 48x48 px" in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["Training", "PublicTest", "PrivateTest:"]
    assert out.endswith("PrivateTest: 35 more, sealed\n")
    assert "ferlib: note: faces.csv: Training: 105 of FER2013's 28,709 images" in err


def test_audit_prints_the_figures(capsys, csv: Path):
    code, out, _ = ferlib(capsys, "audit", "--data", csv)
    lines = [line.strip().rpartition(" ") for line in out.splitlines()[1:]]
    figures = {text.strip(): int(count.replace(",", "")) for text, _, count in lines}
    assert code == 0
    assert figures["PublicTest images with a twin in Training"] == 10
    assert figures["clean PrivateTest images"] == 25
    assert figures["Training images with a twin in a test split"] == 10


def test_doctor_reports_and_exits_by_what_it_finds(capsys, monkeypatch):
    from ferlib import doctor

    code, out, _ = ferlib(capsys, "doctor")
    assert code == 0 and "torch" in out
    monkeypatch.setattr(doctor, "check", lambda: [doctor.Check("cv2", False, "cv2.face is missing", "pip install x")])
    code, out, _ = ferlib(capsys, "doctor")
    assert code == 1 and "pip install x" in out


def test_train_writes_a_model_its_history_and_its_state(trained: Path):
    assert {path.name for path in trained.iterdir()} == {"model.safetensors", "history.csv", "state.pt"}
    assert pd.read_csv(trained / "history.csv")["epoch"].tolist() == [1, 2]
    model = models.load_model(trained)
    assert model.about["training"]["epochs"] == 2 and model.architecture["name"] == "plain_cnn"
    assert model.about["built_with"] == model.architecture and model.classes == EMOTIONS


def test_train_goes_on_where_it_was_and_refuses_to_overwrite(capsys, trained: Path, csv: Path, tmp_path: Path):
    out = shutil.copytree(trained, tmp_path / "run")
    args = ("train", "--data", csv, "--out", out, "--recipe=plain_cnn", "--batch-size=16", "--workers=0")
    code, _, err = ferlib(capsys, *args, "--epochs", 2)
    assert code == 2 and "resume" in err.splitlines()[-1]
    before = (out / "model.safetensors").read_bytes()
    assert "other settings (lr 0.001 -> 0.5)" in ferlib(capsys, *args, "--epochs", 2, "--lr", 0.5, "--resume")[2]
    shorter = ferlib(capsys, *args, "--epochs", 1, "--resume")
    assert shorter[0] == 2
    assert "has 2 epochs, and epochs is 1; give 2 or more" in shorter[2]
    assert ferlib(capsys, *args, "--epochs", 2, "--resume")[0] == 0
    assert (out / "model.safetensors").read_bytes() == before
    code, _, err = ferlib(capsys, *args, "--epochs", 3, "--resume")
    assert code == 0 and "schedule" not in err, "a constant rate goes on as it was"
    longer = pd.read_csv(out / "history.csv")
    assert longer["epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(longer[:2], pd.read_csv(trained / "history.csv"))


def test_a_longer_run_says_what_becomes_of_its_schedule(capsys, csv: Path, tmp_path: Path):
    args = ("train", "--data", csv, "--out", tmp_path / "run", "--recipe=cpu", "--model", "test_resnet",
            "--batch-size", 16, "--limit", 28, "--workers", 0)  # fmt: skip
    assert ferlib(capsys, *args, "--epochs", 1)[0] == 0
    code, _, err = ferlib(capsys, *args, "--epochs", 2, "--resume")
    (line,) = [line for line in err.splitlines() if "learning rate" in line]
    assert code == 0 and line.startswith("ferlib: note: the run had 1 epochs and now has 2: its learning rate jumps")


def test_limit_takes_a_share_of_each_class(capsys, csv: Path, tmp_path: Path):
    args = ("train", "--data", csv, "--recipe", "plain_cnn", "--epochs", 1, "--batch-size", 7, "--workers", 0)
    code, out, _ = ferlib(capsys, *args, "--limit", 28, "--out", tmp_path / "a")
    assert code == 0 and "28 faces at 48 px, 1 epochs" in out
    assert "cannot take 3 of 105 faces; take 7 to 98 of them" in refuses(
        capsys, *args, "--limit", 3, "--out", tmp_path / "b"
    )
    assert not (tmp_path / "b").exists()


def test_a_share_of_training_can_validate_where_there_is_no_public_test(capsys, tmp_path: Path):
    images, table = sample.draw(140, seed=8, balance="equal")
    labels = table["label"].to_numpy()
    root = write_folders(tmp_path / "d", images, labels, [f"{{}}/{i}.png" for i in range(140)])
    args = (
        "train",
        "--data",
        root,
        "--recipe=plain_cnn",
        "--epochs=1",
        "--batch-size=16",
        "--workers=0",
        "--out",
        tmp_path / "run",
    )
    assert "has no PublicTest to validate on; add --val-share 0.1" in refuses(capsys, *args)
    code, out, _ = ferlib(capsys, *args, "--val-share", "0.25")
    assert code == 0 and "105 faces at 48 px, 1 epochs" in out and "kept epoch 1: validation accuracy" in out


def test_recipes_lists_them_and_tells_all_about_one(capsys):
    _, out, _ = ferlib(capsys, "recipes")
    assert [line.split()[0] for line in out.splitlines()[:-1]] == list(recipes.RECIPES)
    _, out, _ = ferlib(capsys, "recipes", "scratch_jitter")
    assert out.startswith("scratch_jitter: ") and "\n  flaw " in out
    assert "no recipe is called 'magic'" in refuses(capsys, "recipes", "magic")


def test_another_model_size_and_start_stand_in_for_the_recipes_own(capsys, csv: Path, tmp_path: Path):
    short = ("--epochs", 1, "--batch-size", 16, "--limit", 28, "--workers", 0)
    given = ("--model", "test_resnet", "--size", 40)
    code, out, _ = ferlib(capsys, "train", "--data", csv, "--out", tmp_path / "a", *short, *given)
    assert code == 0 and "cpu: test_resnet, " in out and "from scratch; 28 faces at 40 px, 1 epochs" in out
    first = models.load_model(tmp_path / "a")
    assert (first.input_spec.size, first.architecture["weights"]) == (40, None)
    more = ("--weights", tmp_path / "a", "--lr", 0)
    code, out, _ = ferlib(capsys, "train", "--data", csv, "--out", tmp_path / "b", *short, *given, *more)
    assert code == 0 and f"from {tmp_path / 'a'} weights" in out
    second = models.load_model(tmp_path / "b")
    assert torch.equal(second.network.fc.weight, first.network.fc.weight), "with a rate of zero it ends where it began"


def test_a_teacher_makes_any_recipe_distil(capsys, csv: Path, trained: Path, tmp_path: Path):
    short = ("--data", csv, "--epochs", 1, "--batch-size", 16, "--limit", 28, "--workers", 0, "--recipe", "plain_cnn")
    assert ferlib(capsys, "train", *short, "--out", tmp_path, "--teacher", trained)[0] == 0
    about = models.load_model(tmp_path).about["training"]
    assert about["distill"] == 0.7 and about["teacher"] == models.model_hash(models.load_model(trained))
    message = refuses(capsys, "train", *short[:-1], "small", "--out", tmp_path / "other")
    assert "small learns from another model; name it, as in --teacher runs/long" in message


def test_votes_take_the_place_of_labels_and_leaked_faces_are_dropped(capsys, csv: Path, tmp_path: Path):
    labels = load(csv).subset("Training").labels
    columns = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
    place = [4, 5, 6, 1, 3, 2, 0]  # of each of EMOTIONS among the columns
    rows = np.zeros((175, 10), int)
    rows[:, 0] = 10
    rows[np.arange(105)] = 0
    rows[np.arange(105), [place[label] for label in labels]] = 10
    splits = ["Training"] * 105 + ["PublicTest"] * 35 + ["PrivateTest"] * 35
    table = pd.DataFrame(rows, columns=columns)
    table.insert(0, "Image name", [f"fer{i:07}.png" for i in range(175)])
    table.insert(0, "Usage", splits)
    table.to_csv(tmp_path / "votes.csv", index=False)
    short = ("train", "--data", csv, "--recipe=plain_cnn", "--epochs", 1, "--batch-size", 16, "--workers", 0)
    code, out, _ = ferlib(capsys, *short, "--out", tmp_path / "soft", "--votes", tmp_path / "votes.csv")
    assert code == 0 and "FER+ cross_entropy: 105 of 105 faces kept" in out
    assert "FER+ cross_entropy" in models.load_model(tmp_path / "soft").about["training"]["data"]
    code, out, _ = ferlib(capsys, *short, "--out", tmp_path / "clean", "--drop-leaked")
    assert code == 0 and "95 faces at 48 px" in out, "the first ten have a twin in either test"


def test_several_models_are_evaluated_as_their_mean(capsys, trained: Path, csv: Path, tmp_path: Path):
    target = tmp_path / "both.json"
    code, out, _ = ferlib(capsys, "evaluate", "--model", trained, trained, "--data", csv, "--json", target)
    assert code == 0 and f"{trained} + {trained} on PublicTest" in out
    ferlib(capsys, "evaluate", "--model", trained, "--data", csv, "--json", tmp_path / "one.json")
    both, one = (json.loads(path.read_text())["flip_averaged"]["all"] for path in (target, tmp_path / "one.json"))
    assert both["accuracy"] == one["accuracy"] and both["confusion"] == one["confusion"]


def test_evaluate_gives_all_and_clean_figures_with_intervals(capsys, trained: Path, csv: Path, tmp_path: Path):
    report = tmp_path / "out.json"
    code, out, _ = ferlib(capsys, "evaluate", "--model", trained, "--data", csv, "--json", report)
    assert code == 0 and f"wrote {tmp_path / 'out.png'}\nwrote {report}\n" in out
    figures = json.loads(report.read_text())
    faces, model = load(csv).subset("PublicTest"), models.load_model(trained)
    for name, views in (("single_view", (None,)), ("flip_averaged", (None, evaluation.flip))):
        want = evaluation.predict(model, faces, views=views)
        official, clean = figures[name]["all"], figures[name]["clean"]
        assert (official["n"], clean["n"]) == (35, 25)
        assert official["correct"] == want.correct.sum() and clean["correct"] == want.correct[10:].sum()
        assert official["accuracy"]["value"] == pytest.approx(want.correct.mean())
        assert official["accuracy"]["low"] <= official["accuracy"]["value"] <= official["accuracy"]["high"]
        assert np.array(official["confusion"]).sum() == 35 and official["classes"] == list(EMOTIONS)
    assert figures["model_sha256"] == models.model_hash(model)
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture.shape[0] > 500 and picture.std() > 10
    assert f"{100 * figures['flip_averaged']['all']['accuracy']['value']:.2f} [" in out


def test_evaluate_tells_the_calibration_and_with_tta_a_third_average(capsys, trained: Path, csv: Path, tmp_path: Path):
    faces, model = load(csv).subset("PublicTest"), models.load_model(trained)
    want = {name: evaluation.predict(model, faces, views=views) for name, views in evaluation.VIEWS.items()}
    args = ("evaluate", "--model", trained, "--data", csv, "--json", tmp_path / "out.json")
    plain = ferlib(capsys, *args)[1]
    assert "shift" not in plain and "shift_flip_averaged" not in json.loads((tmp_path / "out.json").read_text())
    code, out, _ = ferlib(capsys, *args, "--tta", "--force")
    figures = json.loads((tmp_path / "out.json").read_text())
    assert code == 0 and "  shift flip averaged all    n=35  accuracy" in out
    for name, found in want.items():
        for part, some in (("all", found), ("clean", found.subset(np.arange(10, 35)))):
            assert figures[name][part] == json.loads(json.dumps(evaluation.as_json(some))), (name, part)
    for name, text in (("flip_averaged", plain), ("shift_flip_averaged", out)):
        numbers, shown = figures[name]["all"], name.replace("_", " ")
        assert numbers["temperature"] == evaluation.fit_temperature(want[name])
        assert (
            f"calibration, {shown}, all faces: ECE {numbers['ece']:.1%}; {numbers['calibrated_ece']:.1%} with a "
            f"temperature fitted on other folds\ntemperature fitted on all faces: {numbers['temperature']:.2f}\n"
            in text
        )
        assert f"per class, {shown}, all faces, in percent:\n" in text
        happy = 100 * evaluation.report(want[name]).loc["happy"]
        (row,) = [line.split() for line in text.splitlines() if line.startswith("happy")]
        assert row[1:4] == [f"{happy[column]:.1f}" for column in ("precision", "recall", "f1")]


@pytest.fixture(scope="module")
def other(csv: Path, trained: Path) -> Path:
    """A second model, whose last layer names every face happy or sad."""
    model = models.load_model(trained)
    with torch.no_grad():
        model.network.head[-1].bias[3:5] += 50
    models.save_model(model, csv.parent / "other")
    return csv.parent / "other"


def test_compare_gives_paired_differences_on_all_and_clean_faces(
    capsys, trained: Path, other: Path, csv: Path, tmp_path: Path
):
    code, out, _ = ferlib(
        capsys, "compare", trained, other / "model.safetensors", "--data", csv, "--json", tmp_path / "c.json"
    )
    figures, faces = json.loads((tmp_path / "c.json").read_text()), load(csv).subset("PublicTest")
    assert (
        code == 0 and f"A: {trained}, B: {other / 'model.safetensors'}; PublicTest of faces.csv, flip averaged" in out
    )
    assert f"wrote {tmp_path / 'c.json'}" in out and (figures["split"], figures["views"]) == (
        "PublicTest",
        "flip_averaged",
    )
    loaded = [models.load_model(path) for path in (trained, other)]
    assert [figures[name]["model_sha256"] for name in "ab"] == [models.model_hash(model) for model in loaded]
    pair = [evaluation.predict(model, faces, views=(None, evaluation.flip)) for model in loaded]
    for part, which in (("all", np.arange(35)), ("clean", np.arange(10, 35))):
        a, b = (predictions.subset(which) for predictions in pair)
        found, numbers = evaluation.compare(a, b), figures[part]
        assert numbers["n"] == len(which) and numbers["mcnemar_p"] == found.p_value
        assert numbers["b_minus_a"] == found.difference.to_dict("index")
        assert numbers["a"] == evaluation.summarise(a).to_dict("index")
        assert numbers["b"] == evaluation.summarise(b).to_dict("index")
        right = {
            "neither": (~a.correct & ~b.correct).sum(), "only_b": (~a.correct & b.correct).sum(),
            "only_a": (a.correct & ~b.correct).sum(), "both": (a.correct & b.correct).sum(),
        }  # fmt: skip
        assert numbers["right"] == right
        gain = numbers["b_minus_a"]["accuracy"]
        assert f"  {part}, n={len(which)}\n    A: accuracy {100 * a.correct.mean():.2f} [" in out
        assert f"B: accuracy {100 * b.correct.mean():.2f} [" in out
        assert (
            f"B minus A: accuracy {100 * gain['value']:+.2f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
            in out
        )
        assert f"only A {right['only_a']}, only B {right['only_b']}, neither {right['neither']}\n" in out
        assert f"McNemar's exact p {found.p_value:.2g}\n" in out
    assert figures["all"]["right"]["only_a"] + figures["all"]["right"]["only_b"] > 0, "the two models differ"


def test_compare_leaves_the_sealed_test_closed(capsys, trained: Path, csv: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ("compare", trained, trained, "--data", csv)
    assert "PrivateTest stays sealed" in refuses(capsys, *args, "--split", "PrivateTest")
    assert "ferlib evaluate --split PrivateTest --open-sealed-test REASON" in refuses(
        capsys, *args, "--split", "PrivateTest"
    )
    assert list(tmp_path.iterdir()) == []
    code, out, _ = ferlib(capsys, *args, "--split", "Training")
    assert code == 0 and "clean" not in out and "B minus A: accuracy +0.00 [+0.0, +0.0]" in out


def test_the_sealed_test_opens_only_when_asked_with_a_reason(
    capsys, trained: Path, csv: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    args = ("evaluate", "--model", trained, "--data", csv)
    assert "PrivateTest stays sealed" in refuses(capsys, *args, "--split", "PrivateTest")
    assert "takes a reason" in refuses(capsys, *args, "--split", "PrivateTest", "--open-sealed-test", " ")
    assert "--open-sealed-test goes with --split PrivateTest" in refuses(capsys, *args, "--open-sealed-test", "why")
    assert list(tmp_path.iterdir()) == []
    code, out, _ = ferlib(capsys, *args, "--split", "PrivateTest", "--open-sealed-test", "the final figure")
    assert code == 0 and "all    n=35" in out and "clean  n=25" in out
    (line,) = (tmp_path / "sealed_test_ledger.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "the final figure"
    assert json.loads(line)["model"] == models.model_hash(models.load_model(trained))


def test_a_ledger_that_cannot_be_written_keeps_the_test_closed(
    capsys, trained: Path, csv: Path, tmp_path: Path, monkeypatch
):
    (tmp_path / "sealed_test_ledger.jsonl").mkdir()
    monkeypatch.chdir(tmp_path)
    args = ("evaluate", "--model", trained, "--data", csv, "--split", "PrivateTest", "--open-sealed-test", "x")
    assert "sealed_test_ledger.jsonl" in refuses(capsys, *args, "--json", tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()


def test_mistakes_are_one_line_each(capsys, trained: Path, csv: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    image = sample.draw(1)[0]
    odd = write_folders(tmp_path / "odd", image, [0], ["train/smug/1.png"])
    only_train = write_folders(tmp_path / "train-only", image, [0], ["train/{}/1.png"])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((trained / "model.safetensors").read_bytes()[:1000])
    pets = models.build_model("plain_cnn", classes=("cat", "dog"))
    models.save_model(pets, tmp_path / "pets")
    train, evaluate, out = ("train", "--data"), ("evaluate", "--data", csv, "--model"), ("--out", tmp_path / "x")
    table = [
        ((), "the following arguments are required: VERB"),
        (("tame",), "invalid choice: 'tame'"),
        (("train",), "the following arguments are required: --out"),
        ((*train, tmp_path / "nowhere", *out), "nowhere does not exist"),
        ((*train, tmp_path / "empty", *out), "holds no image in class folders"),
        ((*train, odd, *out), "'smug' is none of the seven emotions (angry, disgust"),
        ((*train, only_train, *out), "train-only has no PublicTest to validate on"),
        ((*train, csv, *out, "--recipe", "magic"), "no recipe is called 'magic'; allowed are fast, cpu, long"),
        ((*train, csv, *out, "--epochs", "0"), "epochs is 0; it must be a whole number of at least 1"),
        ((*train, csv, *out, "--epochs", "many"), "invalid int value: 'many'"),
        ((*train, csv, *out, "--precision", "int4"), "invalid choice: 'int4'"),
        ((*evaluate, tmp_path / "none"), "is neither a run's folder, nor a model's file"),
        ((*evaluate, cut), "is no whole safetensors file"),
        ((*evaluate, csv), "is no whole safetensors file"),
        (
            (*evaluate, tmp_path / "pets"),
            "the model's classes are cat, dog, those of dataset are angry, disgust, fear, happy, sad, surprise",
        ),
        (("compare", trained, tmp_path / "pets", "--data", csv), "the model's classes are cat, dog, those of dataset"),
        ((*evaluate, trained, "--split", "Test"), "PrivateTest stays sealed; when all choices are made"),
        ((*evaluate, trained, "--json", cut / "o.json"), "cannot write into"),
        ((*evaluate, trained, "--json", tmp_path / "o.txt"), "whose name ends in .json"),
        (("compare", trained), "the following arguments are required: B"),
        (("compare", trained, tmp_path / "none", "--data", csv), "is neither a run's folder, nor a model's file"),
        (
            ("compare", trained, trained, "--data", csv, "--split", "Test"),
            "PrivateTest stays sealed; when all choices are made",
        ),
        (("compare", trained, trained, "--data", csv, "--json", cut / "o.json"), "cannot write into"),
    ]
    for args, message in table:
        assert message in refuses(capsys, *args), args
    code, _, err = ferlib(capsys, *train, csv, *out, "--batch-size", "1000")
    assert code == 2 and "error: 105 training faces are fewer than one batch of 1000; lower batch_size" in err
    code, _, err = ferlib(capsys, *train, csv, "--out", csv / "below-a-file", "--batch-size", "16")
    assert code == 2 and "below-a-file" in err.splitlines()[-1] and "Traceback" not in err
    assert not (tmp_path / "x").exists()


# ---- other classes, and a dataset as files


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAF-DB's folders 1 to 7 in train and valid, two faces of 1, three of 2, and so on, in each."""
    labels = [number for number in range(7) for _ in range(number + 2)]
    images, root = sample.draw(2 * len(labels), seed=6)[0], tmp_path_factory.mktemp("classes") / "numbered"
    for split, part in (("train", images[::2]), ("valid", images[1::2])):
        write_folders(root, part, labels, [f"{split}/{{}}/{i}.png" for i in range(len(labels))], "1234567")
    return root


RAFDB = ORDERS["rafdb"]


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("rafdb", list(RAFDB.values())),
        (",".join(f"{number}={name}" for number, name in RAFDB.items()), list(RAFDB.values())),
        (
            " 7 = calm,1=wow , 2=fear,3=ugh,4=glad,5=low,6=cross,",
            ["calm", "wow", "fear", "ugh", "glad", "low", "cross"],
        ),
        ("1,2,3,4,5,6,7", list("1234567")),
        ("7,6,5,4,3,2,1", list("7654321")),
        ("folders", list("1234567")),
    ],
)
def test_classes_are_told_by_a_name_a_mapping_or_a_list(capsys, numbered: Path, classes: str, names: list[str]):
    code, out, _ = ferlib(capsys, "data", "--data", numbered, "--classes", classes)
    first, head, _, *rows = out.splitlines()
    assert code == 0 and first == "numbered: 70 faces, 48x48 px"
    assert head.split()[-7:] == names
    number_of = {"wow": 1, "fear": 2, "ugh": 3, "glad": 4, "low": 5, "cross": 6, "calm": 7}
    number_of |= {name: int(number) for number, name in RAFDB.items()} | {number: int(number) for number in "1234567"}
    counts = [str(number_of[name] + 1) for name in names]
    assert [row.split() for row in rows] == [["Training", *counts], ["PublicTest", *counts]]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "are numbers (1, 2, "),
        ("1=", "argument --classes: '1='; write number=name, each number once, as in 1=surprise,2=fear"),
        ("1=surprise,2", "argument --classes: '1=surprise,2'; write number=name, each number once"),
        ("1=surprise,1=fear", "argument --classes: '1=surprise,1=fear'; write number=name, each number once"),
        ("1=a,2=b,3=c,4=d,5=e,6=f,7=A", "two classes have one name"),
        ("1=surprise,2=fear", "'3' is not in classes, which knows 1, 2, surprise, fear; map the numbers: classes={"),
        ("happy", "classes are ('happy',); give two names or more"),
        ("", "classes are []; give two names or more"),
        (
            "1=a,2=b,3=c,4=d,5=e,6=f,7=g,8=h",
            "no image has the class h, which classes= names; it has a, b, c, d, e, f",
        ),
        ("affectnet7", "'7' is not in classes, which knows 0, 1, 2, 3, 4, 5, 6, neutral, happy, sad, surprise, fear, "),
        ("RAFDB,", "classes are ('RAFDB',); give two names or more"),
    ],
)
def test_bad_classes_are_one_line(capsys, numbered: Path, classes: str | None, message: str):
    given = () if classes is None else ("--classes", classes)
    assert message in refuses(capsys, "data", "--data", numbered, *given)


def test_another_published_order_is_refused_by_what_it_lacks(capsys, numbered: Path):
    message = "no image has the class neutral, which classes= names; it has happy, sad"
    assert message in refuses(capsys, "data", "--data", numbered, "--classes", "affectnet")


def test_the_sample_has_classes_of_its_own(capsys):
    assert "classes= out" in refuses(capsys, "data", "--classes", "rafdb")


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that are no emotions, 24 and 12 faces in train and in valid."""
    labels, root = [0] * 24 + [1] * 12, tmp_path_factory.mktemp("eyes") / "eyes"
    images = sample.draw(72, seed=7)[0]
    for split, part in (("train", images[:36]), ("valid", images[36:])):
        write_folders(root, part, labels, [f"{split}/{{}}/{i}.png" for i in range(36)], ("open eyes", "shut eyes"))
    return root


@pytest.fixture(scope="module")
def looking(eyes: Path) -> Path:
    out = eyes.parent / "run"
    assert cli.main([
        "train", "--data", str(eyes), "--classes", "folders", "--out", str(out), "--recipe=plain_cnn",
        "--epochs=1", "--batch-size=12", "--workers=0", "--drop-leaked",
    ]) == 0  # fmt: skip
    return out


def test_other_classes_go_from_training_to_evaluation(capsys, csv: Path, eyes: Path, looking: Path, tmp_path: Path):
    model, faces = models.load_model(looking), load(eyes, classes="folders").subset("PublicTest")
    assert model.classes == faces.classes == ("open eyes", "shut eyes")
    told = ("--data", eyes, "--classes", "open eyes,shut eyes")
    code, out, _ = ferlib(capsys, "evaluate", "--model", looking, *told, "--json", tmp_path / "out.json")
    figures = json.loads((tmp_path / "out.json").read_text())
    want = evaluation.predict(model, faces, views=(None, evaluation.flip))
    assert code == 0 and figures["flip_averaged"]["all"] == json.loads(json.dumps(evaluation.as_json(want)))
    assert figures["flip_averaged"]["all"]["classes"] == ["open eyes", "shut eyes"]
    assert [line.split()[:2] for line in out.splitlines() if " eyes " in line] == [["open", "eyes"], ["shut", "eyes"]]
    code, out, _ = ferlib(capsys, "compare", looking, looking, *told)
    assert code == 0 and "B minus A: accuracy +0.00 [+0.0, +0.0]" in out
    code, out, _ = ferlib(capsys, "audit", *told)
    assert code == 0 and out.startswith("eyes\n")
    code, out, _ = ferlib(capsys, "explain", "--model", looking, *told, "--faces", 1, "--out", tmp_path / "seen.png")
    assert code == 0 and cv2.imread(str(tmp_path / "seen.png")).std() > 10
    swapped = ("--data", eyes, "--classes", "shut eyes,open eyes")
    assert ferlib(capsys, "evaluate", "--model", looking, *swapped)[0] == 0, "labels are matched by name"
    for verb in (("evaluate", "--model", looking), ("compare", looking, looking)):
        assert "'open eyes' is none of the seven emotions" in refuses(capsys, *verb, "--data", eyes)
    assert "the model's classes are open eyes, shut eyes, those of" in refuses(
        capsys, "explain", "--model", looking, "--data", csv, "--out", tmp_path / "no.png"
    )
    more = ("train", "--data", eyes, "--out", looking, "--recipe=plain_cnn", "--epochs=1", "--batch-size=12")
    code, _, err = ferlib(capsys, *more, "--classes", "shut eyes,open eyes", "--drop-leaked", "--resume")
    assert code == 2 and "other settings (classes 'open eyes, shut eyes' -> 'shut eyes, open eyes'" in err


def test_the_sealed_test_of_other_classes_opens_as_any_other(capsys, looking: Path, tmp_path: Path, monkeypatch):
    images, names = sample.draw(8, seed=9)[0], ("open eyes", "shut eyes")
    for split, part in (("train", images[:2]), ("valid", images[2:4]), ("test", images[4:])):
        labels = [i % 2 for i in range(len(part))]
        write_folders(tmp_path / "eyes", part, labels, [f"{split}/{{}}/{i}.png" for i in range(len(part))], names)
    monkeypatch.chdir(tmp_path)
    args = ("evaluate", "--model", looking, "--data", tmp_path / "eyes", "--split", "PrivateTest")
    reason = ("--open-sealed-test", "once", "--classes", "folders")
    code, out, _ = ferlib(capsys, *args, *reason)
    assert code == 0 and "all    n=4" in out and len(Path("sealed_test_ledger.jsonl").read_text().splitlines()) == 1
    code, out, _ = ferlib(capsys, "data", "--data", tmp_path / "eyes", "--classes", "folders")
    assert code == 0 and out.endswith("PrivateTest: 4 more, sealed\n")


def export(capsys, source: object, out: Path, *more: object) -> str:
    code, printed, err = ferlib(capsys, "data", "export", source, out, *more)
    assert code == 0, err
    return printed


def sorted_by_split_and_class(faces: FaceDataset) -> tuple[pd.DataFrame, np.ndarray]:
    """Splits and labels, sorted by them and then by the order of the source, and the images in that order."""
    table = faces.table[["split"]].assign(label=[faces.classes[label] for label in faces.labels])
    order = table.sort_values(["split", "label"], kind="stable").index
    return table.loc[order].reset_index(drop=True), faces.images[order]


def test_the_sample_is_exported_and_read_back_equal(capsys, tmp_path: Path):
    out, faces = tmp_path / "new" / "faces", load("sample")
    printed = export(capsys, "sample", out)
    counts = "Training 2,800, PublicTest 2,000"
    assert printed == (
        f"wrote 4,800 faces ({counts}) to {out}; a sealed PrivateTest stays out\nnext: ferlib data --data {out}\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not FER2013's
        back = load(out)
    assert back.classes == faces.classes == EMOTIONS
    (mine, images), (theirs, wanted) = sorted_by_split_and_class(back), sorted_by_split_and_class(faces)
    pd.testing.assert_frame_equal(mine, theirs)
    np.testing.assert_array_equal(images, wanted)
    files = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    folder = {"Training": "train", "PublicTest": "valid"}
    assert files == {
        f"{folder[split]}/{faces.classes[label]}/{row:05d}.png"
        for split, label, row in zip(faces.table["split"], faces.labels, faces.table["row"], strict=True)
    }
    shown = cv2.imread(str(out / sorted(files)[0]), cv2.IMREAD_UNCHANGED)
    assert shown.dtype == np.uint8 and shown.shape == (48, 48), "8-bit gray"
    assert not list(out.parent.glob("*.part"))
    assert f"{out} is there already; give a name that is not in use" in refuses(capsys, "data", "export", "sample", out)


def test_an_export_goes_into_an_empty_folder_alone(capsys, csv: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    export(capsys, csv, out)
    assert sorted(path.name for path in out.iterdir()) == ["train", "valid"]
    assert len(list(out.rglob("*.png"))) == 140, "the sealed faces stay out"
    before = sorted(out.rglob("*"))
    assert "is there already; give a name that is not in use" in refuses(capsys, "data", "export", csv, out)
    (tmp_path / "file").write_text("mine")
    assert "is there already" in refuses(capsys, "data", "export", csv, tmp_path / "file")
    assert sorted(out.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"
    assert "nowhere does not exist" in refuses(capsys, "data", "export", tmp_path / "nowhere", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("classes", "own"), [("folders", ("1", "7")), ("rafdb", ("surprise", "neutral"))])
def test_other_classes_are_exported_too(capsys, numbered: Path, tmp_path: Path, classes: str, own: tuple[str, str]):
    out, faces = tmp_path / "out", load(numbered, classes=classes)
    printed = export(capsys, numbered, out, "--classes", classes)
    names = ",".join(faces.classes)
    assert (faces.classes[0], faces.classes[-1]) == own
    assert printed.splitlines()[-1] == f"next: ferlib data --data {out} --classes {names}"
    back = load(out, classes=names.split(","))
    assert back.classes == faces.classes
    (mine, images), (theirs, wanted) = sorted_by_split_and_class(back), sorted_by_split_and_class(faces)
    pd.testing.assert_frame_equal(mine, theirs)
    np.testing.assert_array_equal(images, wanted)


def test_classes_given_before_the_word_export_are_not_passed_over(capsys, tmp_path: Path):
    images, root = sample.draw(4, seed=6)[0], tmp_path / "joys"
    write_folders(root, images, [0, 1, 0, 1], [f"train/{{}}/{i}.png" for i in range(4)], ("joy", "sad"))
    code, _, _ = ferlib(capsys, "data", "--classes", "folders", "export", root, tmp_path / "out")
    assert code == 2 or sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == ["joy", "sad"]


def test_a_class_that_is_no_folders_name_is_refused(capsys, numbered: Path, tmp_path: Path):
    classes = "1=a,2=b,3=c,4=d,5=e,6=f,7=up/down"
    refused = refuses(capsys, "data", "export", numbered, tmp_path / "out", "--classes", classes)
    assert "the class 'up/down' cannot be a folder's name; give it another" in refused
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_breaks_off_leaves_nothing(capsys, csv: Path, tmp_path: Path, monkeypatch):
    from PIL import Image

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    code, _, err = ferlib(capsys, "data", "export", csv, tmp_path / "out")
    assert code == 2 and "No space left on device" in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_is_named_from_the_command_line_too(tmp_path: Path, csv: Path):
    bad = tmp_path / "bad.csv"
    bad.write_text(csv.read_text().replace(" ", " boo ", 1))
    done = subprocess.run(
        [sys.executable, "-m", "ferlib", "data", "--data", bad], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ferlib data: error: bad.csv, line 2: pixel 'boo' is no whole number of 0 to 255\n"
