"""What reaches the network: values of the evaluation transform, the batched augmentation's geometry, seeds, workers."""

import re

import albumentations as A
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ferlib import recipes, sample
from ferlib.data import FaceDataset, loader
from ferlib.models import FaceModel
from ferlib.models.feed import feed
from ferlib.transforms import (
    BatchAugment,
    EvalTransform,
    InputSpec,
    apply_transform,
    light,
    like_batch_augment,
    strong,
)

STILL = {"flip": 0, "rotate": 0, "scale": 0, "shift": 0, "brightness": 0, "contrast": 0}


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.from_numpy(sample.draw(8, seed=3)[0])[:, None]


def test_eval_transform_takes_out_mean_and_sd():
    batch = torch.tensor([0, 127, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 48, 48)
    out = EvalTransform(InputSpec(mean=(0.5,), std=(0.25,)))(batch)
    torch.testing.assert_close(out[:, 0, 7, 7], torch.tensor([-2.0, (127 / 255 - 0.5) / 0.25, 2.0]))


def test_eval_transform_repeats_gray_over_three_channels_each_with_its_own_mean(faces: torch.Tensor):
    spec = InputSpec(48, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    out = EvalTransform(spec)(faces)
    assert out.shape == (8, 3, 48, 48)
    for channel in range(3):
        want = (faces[:, 0].float() / 255 - spec.mean[channel]) / spec.std[channel]
        torch.testing.assert_close(out[:, channel], want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [24, 96])
def test_eval_transform_resizes_as_torch_does(faces: torch.Tensor, size: int):
    out = EvalTransform(InputSpec(size, 1, (0.0,), (1.0,)))(faces)
    want = F.interpolate(faces.float(), (size, size), mode="bilinear", antialias=size < 48) / 255
    torch.testing.assert_close(out, want, atol=1e-5, rtol=1e-5)


def test_augmentation_without_any_strength_is_the_evaluation_transform(faces: torch.Tensor):
    for size in (24, 48, 96):
        spec = InputSpec(size)
        torch.testing.assert_close(BatchAugment(spec, **STILL)(faces), EvalTransform(spec)(faces), atol=2e-4, rtol=1e-4)


def test_flip_alone_mirrors(faces: torch.Tensor):
    spec = InputSpec()
    out = BatchAugment(spec, **{**STILL, "flip": 1})(faces)
    torch.testing.assert_close(out, EvalTransform(spec)(faces).flip(3), atol=2e-4, rtol=1e-4)


def centre(picture: torch.Tensor) -> tuple[float, float]:
    weights = picture / picture.sum()
    axis = torch.arange(len(picture), dtype=torch.float32) + 0.5
    return float((weights.sum(0) * axis).sum()), float((weights.sum(1) * axis).sum())


def dot(x: int, y: int, n: int = 400) -> torch.Tensor:
    batch = torch.zeros(n, 1, 48, 48, dtype=torch.uint8)
    batch[:, :, y - 2 : y + 2, x - 2 : x + 2] = 255
    return batch


PLAIN = InputSpec(48, 1, (0.0,), (1.0,))


def test_shift_moves_up_to_its_share_of_the_width():
    out = BatchAugment(PLAIN, **{**STILL, "shift": 0.1})(dot(24, 24))
    moves = torch.tensor([centre(picture[0]) for picture in out]) - 24
    assert 4.3 < moves.abs().max() <= 4.8 + 1e-3  # a tenth of 48 px
    assert moves.mean(0).abs().max() < 0.5


def test_rotation_turns_up_to_its_degrees_and_keeps_the_distance():
    out = BatchAugment(PLAIN, **{**STILL, "rotate": 20})(dot(38, 24))
    x, y = (torch.tensor([centre(picture[0]) for picture in out]) - 24).T
    angle = torch.rad2deg(torch.atan2(y, x))
    assert 18 < angle.max() <= 20.2 and -20.2 <= angle.min() < -18
    torch.testing.assert_close(torch.hypot(x, y), torch.full_like(x, 14.0), atol=0.15, rtol=0)


def test_scale_grows_and_shrinks_by_its_share():
    out = BatchAugment(PLAIN, **{**STILL, "scale": 0.2})(dot(34, 24))
    x = torch.tensor([centre(picture[0])[0] for picture in out]) - 24
    assert 11.6 < x.max() <= 12.1 and 7.9 <= x.min() < 8.4  # 10 px from the middle, times 0.8 to 1.2


def test_brightness_and_contrast_stay_in_their_ranges():
    gray = torch.full((500, 1, 48, 48), 178, dtype=torch.uint8)
    lifted = BatchAugment(PLAIN, **{**STILL, "brightness": 0.2})(gray)[:, 0, 0, 0] * 255 - 178
    assert 48 < lifted.max() <= 51.01 and -51.01 <= lifted.min() < -48
    gained = (BatchAugment(PLAIN, **{**STILL, "contrast": 0.2})(gray)[:, 0, 0, 0] * 255 - 127.5) / 50.5
    assert 1.19 < gained.max() <= 1.201 and 0.799 <= gained.min() < 0.81
    bright = BatchAugment(PLAIN, **{**STILL, "brightness": 1})(gray)
    assert bright.max() == 1 and bright.min() == 0


def test_erasing_blanks_one_rectangle_of_the_documented_size():
    out = BatchAugment(InputSpec(), **STILL, erase=0.5)(torch.full((600, 1, 48, 48), 255, dtype=torch.uint8))
    share = (out == 0).float().mean((1, 2, 3))
    assert 0.4 < (share > 0).float().mean() < 0.6
    assert share.max() <= (0.42 * 48 + 1) ** 2 / 48**2
    hit = out[share > 0][0, 0] == 0
    rows, columns = hit.any(1), hit.any(0)
    assert hit.sum() == rows.sum() * columns.sum(), "it is a rectangle"


def test_a_seed_gives_the_same_faces_and_another_gives_others(faces: torch.Tensor):
    augment = BatchAugment(InputSpec(), erase=0.5)
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(augment(faces))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    same = augment(faces[:1].expand(8, 1, 48, 48))
    assert len({face.numpy().tobytes() for face in same}) == 8, "each face of a batch gets its own draw"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputSpec(0), "size is at least 1, channels 1 or 3"),
        (lambda: InputSpec(48, 2), "size is at least 1, channels 1 or 3"),
        (lambda: InputSpec(48, 3, (0.4, 0.5)), "3 channels need as many means"),
        (lambda: InputSpec(std=(0.0,)), "positive sds"),
        (lambda: BatchAugment(InputSpec(), flip=1.5), "flip is 1.5; allowed are 0 to 1"),
        (lambda: BatchAugment(InputSpec(), scale=-0.1), "scale is -0.1"),
        (lambda: EvalTransform(InputSpec())(torch.zeros(2, 1, 48, 48)), "a batch must be uint8"),
        (lambda: EvalTransform(InputSpec())(torch.zeros(2, 48, 48, dtype=torch.uint8)), r"\(n, 1, h, w\)"),
    ],
)
def test_bad_input_is_explained(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


STUDENTS = [recipe.pipeline for recipe in recipes.RECIPES.values() if recipe.pipeline]
PIPELINES = {
    light: ["HorizontalFlip", "Affine", "RandomBrightnessContrast", "Resize"],
    strong: ["HorizontalFlip", "Affine", "RandomBrightnessContrast", "OneOf", "CoarseDropout", "Resize"],
    recipes.scratch_jitter: ["Resize", "Rotate", "ColorJitter"],
    recipes.onecycle_resnet18: ["Resize", "Pad", "RandomCrop", "HorizontalFlip", "ColorJitter"],
    recipes.albumentations_timm: ["Resize", "Rotate", "HorizontalFlip", "RandomBrightnessContrast"],
    recipes.gray_resnet18: ["Resize", "HorizontalFlip", "Affine", "Sharpen", "AutoContrast"],
    recipes.plain_cnn: ["Resize", "Affine", "HorizontalFlip"],
}


def names(pipeline: A.Compose) -> list[str]:
    return [type(step).__name__ for step in pipeline.transforms]


@pytest.mark.parametrize("build", PIPELINES, ids=lambda build: build.__name__)
def test_pipelines_hold_their_steps_follow_torchs_seed_and_change_each_face(faces: torch.Tensor, build):
    transform, image = build(), faces[0, 0].numpy()
    assert type(transform) is A.Compose and names(transform) == PIPELINES[build]
    dataset = FaceDataset.from_arrays(image[None], [0]).with_transform(transform)
    torch.manual_seed(0)
    first = [dataset[0][0] for _ in range(4)]
    torch.manual_seed(0)
    again = [dataset[0][0] for _ in range(4)]
    torch.manual_seed(0)
    assert all(torch.equal(apply_transform(transform, image), face) for face in first), "a dataset does no more"
    assert all(face.dtype == torch.uint8 and face.shape == (1, 48, 48) for face in first)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({face.numpy().tobytes() for face in first}) == 4


def test_each_student_recipe_has_a_pipeline_of_its_own_that_a_resume_can_tell():
    assert [*PIPELINES][2:] == STUDENTS
    assert len({repr(build()) for build in PIPELINES}) == 7
    assert repr(light()) == repr(light()) != repr(light(96))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("build", PIPELINES, ids=lambda build: build.__name__)
def test_pipelines_end_in_what_the_network_takes(faces: torch.Tensor, build, channels: int):
    spec = InputSpec(64, channels, (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels])
    last = ["ToRGB"] * (channels == 3) + ["Normalize", "ToTensorV2"]
    assert names(build(spec)) == names(build(64)) + last
    for image in (faces[0, 0].numpy(), faces[1, 0].numpy()):
        torch.manual_seed(0)
        raw = apply_transform(build(64), image)
        torch.manual_seed(0)
        ready = apply_transform(build(spec), image)
        assert raw.dtype == torch.uint8 and raw.shape == (1, 64, 64)
        torch.testing.assert_close(ready, EvalTransform(spec)(raw[None])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", PIPELINES, ids=lambda build: build.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_a_model_is_fed_by_every_pipeline(build, seed: int):
    images, table = sample.draw(20, seed=seed)
    dataset = FaceDataset.from_arrays(images, table["label"].to_numpy())
    model = FaceModel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48**2, 7)), InputSpec())
    assert feed(model, dataset.with_transform(build())).raw
    fed = feed(model, dataset.with_transform(build(model.input_spec)))
    assert not fed.raw and fed.shape == (1, 48, 48)


@pytest.mark.parametrize("size", ["48", (48, 48), 48.0, None, torch.nn.Flatten()])
def test_a_pipelines_size_is_a_number_or_a_spec(size):
    with pytest.raises(ValueError, match="size is .*; give a side in pixels or an InputSpec, such as light.48."):
        light(size)


def test_a_pipeline_that_was_not_built_is_told(faces: torch.Tensor):
    with pytest.raises(ValueError, match="size is array.*; give a side in pixels or an InputSpec, such as light.48."):
        apply_transform(strong, faces[0, 0].numpy())


# ---- the same changes through Albumentations and through BatchAugment


def both(face: np.ndarray, size: int, n: int = 600, **changes: float) -> list[np.ndarray]:
    """n versions of a face by `BatchAugment` and by its pipeline, (n, size, size) on the scale 0 to 255."""
    augment = BatchAugment(InputSpec(size, mean=0.0, std=1.0), **STILL | changes)
    torch.manual_seed(0)
    batch = augment(torch.from_numpy(face).expand(n, 1, 48, 48).contiguous())
    pipeline = like_batch_augment(augment)
    single = torch.stack([apply_transform(pipeline, face) for _ in range(n)])
    return [255 * faces[:, 0].numpy() for faces in (batch, single)]


def spot(x: int, y: int) -> np.ndarray:
    return dot(x, y, 1)[0, 0].numpy()


def middle(pictures: np.ndarray) -> np.ndarray:
    return np.array([centre(torch.from_numpy(picture)) for picture in pictures]) - pictures.shape[1] / 2


def angle(pictures: np.ndarray) -> np.ndarray:
    x, y = middle(pictures).T
    return np.degrees(np.arctan2(y, x))


FACE = sample.draw(1, seed=3)[0][0]


def change(pictures: np.ndarray) -> np.ndarray:
    step = pictures.shape[1] // 48
    return abs(pictures[:, ::step, ::step] - FACE).mean((1, 2))


@pytest.mark.parametrize("size", [48, 96])
@pytest.mark.parametrize(
    ("changes", "face", "measure", "mean", "spread"),  # how far mean and sd of the measure may lie apart
    [
        ({"shift": 0.08}, spot(24, 24), lambda p: middle(p)[:, 0] * 48 / p.shape[1], 0.3, 0.15),
        ({"shift": 0.08}, spot(24, 24), lambda p: middle(p)[:, 1] * 48 / p.shape[1], 0.3, 0.15),
        ({"rotate": 15}, spot(38, 24), angle, 1.2, 0.5),
        ({"scale": 0.2}, spot(38, 24), lambda p: middle(p)[:, 0] * 48 / p.shape[1], 0.25, 0.1),
        ({"scale": 0.2}, spot(24, 38), lambda p: middle(p)[:, 1] * 48 / p.shape[1], 0.25, 0.1),
        ({"flip": 0.3}, spot(38, 24), lambda p: middle(p)[:, 0] > 0, 0.07, 0.03),
        ({"brightness": 0.2}, FACE, lambda p: p.mean((1, 2)), 4, 1.5),
        ({"contrast": 0.2}, FACE, lambda p: p.std((1, 2)), 0.7, 0.3),
        ({"erase": 0.4}, np.full_like(FACE, 200), lambda p: (p == 0).any((1, 2)), 0.09, 0.03),
        ({"erase": 1}, np.full_like(FACE, 200), lambda p: (p == 0).mean((1, 2)), 0.012, 0.008),
        ({"rotate": 10, "scale": 0.12, "shift": 0.08}, FACE, change, 0.7, 0.5),
        ({"flip": 0.5, "rotate": 10, "scale": 0.12, "shift": 0.08, "brightness": 0.2, "contrast": 0.2}, FACE, change,
         2.5, 1.5),
    ],
)  # fmt: skip
def test_albumentations_makes_batch_augments_changes(changes, face, measure, mean: float, spread: float, size: int):
    ours, theirs = (measure(pictures) * 1.0 for pictures in both(face, size, **changes))
    assert theirs.mean() == pytest.approx(ours.mean(), abs=mean)
    assert theirs.std() == pytest.approx(ours.std(), abs=spread) and ours.std() > 0


def test_both_repeat_the_border_and_nothing_else_is_new():
    for pictures in both(np.full_like(FACE, 200), 48, 100, rotate=30, scale=0.3, shift=0.3):
        np.testing.assert_allclose(pictures, 200, atol=0.01)
    still = both(FACE, 48, 2)
    np.testing.assert_allclose(still[0], still[1], atol=0.02)


def test_both_share_spec_and_gray_patch(faces: torch.Tensor):
    spec = InputSpec(64, 3, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    pipeline = like_batch_augment(BatchAugment(spec, **STILL, erase=1))
    face = apply_transform(pipeline, faces[0, 0].numpy())
    clean, gray = EvalTransform(spec)(faces[:1])[0], (face == 0).all(0)
    assert face.shape == (3, 64, 64) and 0.01 < gray.float().mean() < 0.2
    assert (face - clean).abs()[:, ~gray].max() < 0.05


def test_the_steps_of_a_pipeline_are_drawn_independently(faces: torch.Tensor):
    image = faces[0, 0].numpy().clip(100, 155)
    transform = A.Compose([A.HorizontalFlip(p=0.5), A.InvertImg(p=0.5)])
    torch.manual_seed(0)
    kinds = {
        kind.tobytes(): name
        for kind, name in (
            (image, "none"),
            (image[:, ::-1], "flip"),
            (255 - image, "invert"),
            (255 - image[:, ::-1], "both"),
        )
    }
    drawn = [kinds[apply_transform(transform, image).numpy().tobytes()] for _ in range(800)]
    for name in ("none", "flip", "invert", "both"):
        assert 150 < drawn.count(name) < 250


def test_two_workers_draw_no_augmentation_twice_and_repeat_by_seed(faces: torch.Tensor):
    table = pd.DataFrame({"label": np.arange(16) % 7, "split": "Training", "row": range(16)})
    images = np.repeat(faces[:1, 0].numpy(), 16, 0)
    dataset = FaceDataset(images, table, "one face", transform=strong())

    def epochs() -> list[set[bytes]]:
        torch.manual_seed(0)
        made = loader(dataset, 4, workers=2)
        return [{face.numpy().tobytes() for batch, _ in made for face in batch} for _ in range(2)]

    first = epochs()
    assert [len(epoch) for epoch in first] == [16, 16]
    assert not first[0] & first[1], "epochs differ"
    assert epochs() == first, "reruns do not"


@pytest.mark.parametrize("seed", [None, 0])
def test_a_pipeline_follows_torchs_seed_whatever_its_own_is(faces: torch.Tensor, seed: int | None):
    transform, image = A.Compose([A.Rotate((-45, 45), p=1)], seed=seed), faces[0, 0].numpy()
    made = []
    for start in (0, 0, 1):
        torch.manual_seed(start)
        made.append([apply_transform(transform, image) for _ in range(3)])
        transform(image=image)  # what is drawn beside torch's numbers changes nothing
    assert all(torch.equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert len({face.numpy().tobytes() for face in (*made[0], *made[2])}) == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_gray_or_of_the_specs_own_channels(faces: torch.Tensor, channels: int):
    spec = InputSpec(48, channels, (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels])
    colour = faces.repeat(1, channels, 1, 1)
    torch.testing.assert_close(EvalTransform(spec)(colour), EvalTransform(spec)(faces))
    torch.testing.assert_close(BatchAugment(spec, **STILL)(colour), BatchAugment(spec, **STILL)(faces))
    other = faces.repeat(1, 4 - channels, 1, 1) if channels == 1 else faces.repeat(1, 2, 1, 1)
    refused = re.escape(f"a batch must be uint8 (n, {channels}, h, w); torch.uint8 (8, {other.shape[1]}, 48, 48)")
    for transform in (EvalTransform(spec), BatchAugment(spec, **STILL)):
        with pytest.raises(ValueError, match=refused):
            transform(other)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda image: "a face", "the transform gave a str; give an image"),
        (lambda image: image[None, None], r"the transform gave a Tensor \(1, 1, 48, 48\); give an image"),
        (lambda image: torch.zeros(48), r"the transform gave a Tensor \(48,\); give an image"),
    ],
)
def test_a_transform_that_gives_no_image_is_told(faces: torch.Tensor, give, message: str):
    with pytest.raises(ValueError, match=message):
        apply_transform(give, faces[0, 0].numpy())


def test_arrays_pictures_and_mirrored_views_become_the_same_tensor(faces: torch.Tensor):
    image = faces[0, 0].numpy()
    mirrored = torch.from_numpy(image[:, ::-1].copy())[None]
    for give in (
        lambda face: face[:, ::-1], lambda face: face[:, ::-1, None], lambda face: face[None, :, ::-1],
        lambda face: Image.fromarray(face[:, ::-1]), lambda face: torch.from_numpy(face.copy()).flip(1),
    ):  # fmt: skip
        assert torch.equal(apply_transform(give, image), mirrored)
