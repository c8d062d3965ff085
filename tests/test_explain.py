"""Maps against Grad-CAM by hand, brute-force occlusion, and models whose answer hangs on one known place."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ferlib import explain, plots, sample
from ferlib.models import FaceModel, build_model, load_model
from ferlib.models.networks import PlainCNN
from ferlib.sample.faces import ACTION_UNITS, BOX_COLUMNS
from ferlib.transforms import EvalTransform, InputSpec

FACES, TABLE = sample.draw(3, seed=4)


def fed(images: np.ndarray = FACES) -> torch.Tensor:
    return torch.from_numpy(images)[:, None] / 128 - 1


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    torch.manual_seed(0)
    return PlainCNN()  # in training mode: its dropout would tell


@pytest.fixture(scope="module")
def fernet() -> FaceModel:
    torch.manual_seed(0)
    return build_model("fernet", widths=(8, 8, 8, 8))


class Window(nn.Module):
    """What lies in rows and columns 30 to 38, and 0 elsewhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = torch.zeros(48, 48)
        inside[30:39, 30:39] = 1
        return x * inside


class Reads(nn.Module):
    """Class 1's logit is ten times the mean of the pixels in the window, class 0's is 0; `look` sees the whole face."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.window = nn.Identity(), Window()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = 10 / 81 * self.window(self.look(x)).sum((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)


def by_hand(model: PlainCNN, batch: torch.Tensor, targets: list[int], average: bool) -> np.ndarray:
    """Grad-CAM on the features of the textbook network, without hooks: the network is cut in two there."""
    model.eval()
    maps = model.features(batch).detach().requires_grad_()
    logits = model.head(maps)
    (gradient,) = torch.autograd.grad(logits[range(len(batch)), targets].sum(), maps)
    model.train()
    weight = gradient.mean((2, 3), keepdim=True) if average else gradient
    cam = nn.functional.interpolate((weight * maps).sum(1, keepdim=True).relu(), (48, 48), mode="bilinear")[:, 0]
    return (cam / cam.amax((1, 2), keepdim=True)).detach().numpy()


# ---- maps


@pytest.mark.parametrize("average", [True, False])
def test_grad_cam_is_what_hooks_and_autograd_give(plain: nn.Module, average: bool):
    found = explain.grad_cam(plain, fed(), [3, 0, 6], average=average)
    assert explain.find_layer(plain, fed()) == "features"
    np.testing.assert_allclose(found, by_hand(plain, fed(), [3, 0, 6], average), atol=1e-5)
    assert (found.max((1, 2)) == 1).all() and found.min() >= 0


def test_targets_are_by_default_those_predicted_and_may_be_given_in_any_form(plain: nn.Module):
    with torch.no_grad():
        predicted = plain.eval()(fed()).argmax(1)
    want = explain.grad_cam(plain, fed())
    for targets in (predicted, predicted.numpy(), predicted.tolist()):
        np.testing.assert_array_equal(explain.grad_cam(plain, fed(), targets), want)
    np.testing.assert_array_equal(explain.grad_cam(plain, fed(), 2), explain.grad_cam(plain, fed(), [2, 2, 2]))


def test_occlusion_is_what_a_loop_over_windows_gives(plain: nn.Module):
    batch, window, stride = fed()[:2], 20, 9  # the last windows, at 36, are cut off by the edge
    plain.eval()
    with torch.no_grad():
        before = plain(batch).softmax(1)[range(2), [3, 5]]
        total, count = torch.zeros(2, 48, 48), torch.zeros(48, 48)
        for top in (0, 9, 18, 27, 36):
            for left in (0, 9, 18, 27, 36):
                rows, columns, hidden = slice(top, top + window), slice(left, left + window), batch.clone()
                hidden[:, :, rows, columns] = 0
                total[:, rows, columns] += (before - plain(hidden).softmax(1)[range(2), [3, 5]])[:, None, None]
                count[rows, columns] += 1
    found = explain.occlusion(plain, batch, [3, 5], window, stride)
    np.testing.assert_allclose(found, total / count, atol=1e-6)
    assert found.min() < 0 < found.max()


def test_both_point_where_the_model_reads():
    batch, inside = torch.ones(2, 1, 48, 48), np.zeros((2, 48, 48), bool)
    inside[:, 30:39, 30:39] = True
    batch[1] = torch.rand(1, 48, 48, generator=torch.Generator().manual_seed(0)) + 0.5
    maps = [explain.grad_cam(Reads(), batch, 1, "window"), explain.grad_cam(Reads(), batch, 1, "look", average=False)]
    maps += [explain.occlusion(Reads(), batch, 1, 3, 3)]
    for found in maps:
        assert (found[~inside] == 0).all() and (found[inside] > 0).all()
        assert explain.mean_intervals(explain.score_each(found, inside)).loc[
            ["pointing", "energy"], "value"
        ].tolist() == pytest.approx([1, 1])
    np.testing.assert_allclose(explain.occlusion(Reads(), batch, 0, 3, 3), -maps[2], atol=1e-6)
    # A layer before the choice of the place: the averaged gradient does not know it, as the docstring warns.
    everywhere = explain.grad_cam(Reads(), batch, 1, "look")
    assert (everywhere[0] == 1).all()


def test_a_face_with_nothing_for_the_target_gets_zeros():
    batch = torch.ones(2, 1, 48, 48)
    batch[1] = -1  # speaks against class 1
    for average in (True, False):
        cams = explain.grad_cam(Reads(), batch, 1, "look", average=average)
        assert cams[0].max() == 1 and not cams[1].any()


def test_activations_are_the_layers_output_before_anything_changes_it(fernet: FaceModel):
    fernet.eval()
    with torch.no_grad():
        stem = fernet.network.stem(fed())
        np.testing.assert_allclose(explain.activations(fernet, fed(), "stem"), stem, atol=1e-6)
        first = fernet.network.stages[0](stem)
        np.testing.assert_allclose(explain.activations(fernet, fed(), "stages.0"), first, atol=1e-6)
    assert explain.activations(fernet, fed()).shape == (3, 8, 6, 6)
    in_place = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    assert explain.activations(in_place, fed(), "0").min() < 0


def test_first_filters_are_averaged_over_the_input_channels(plain: nn.Module):
    np.testing.assert_array_equal(explain.first_filters(plain), plain.features[0].weight.detach()[:, 0])
    color = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 5))
    np.testing.assert_allclose(explain.first_filters(color), color[1].weight.detach().mean(1), atol=1e-7)


# ---- layers


def test_the_deepest_fine_layer_is_found_by_its_outermost_name(plain: nn.Module, fernet: FaceModel):
    # FerNet's third stage shrinks to 3x3 after its convolution; of the 12x12 maps the last is in the second stage.
    assert [explain.find_layer(fernet, fed(), least) for least in (3, 6, 12, 24)] == [
        "stages", "stages.2.0", "stages.1.0", "stages.0.0",
    ]  # fmt: skip
    assert explain.find_layer(plain, fed(), 7) == "features.7"
    resnet = build_model("resnet18", channels=(8, 8, 8, 8))
    assert explain.find_layer(resnet, fed()) == "layer4"
    large = build_model("resnet18", channels=(8, 8, 8, 8), small_stem=False)
    assert explain.find_layer(large, fed()) == "layer2"
    assert explain.grad_cam(resnet, fed()).shape == (3, 48, 48)


def test_tokens_and_channels_last_maps_are_no_maps():
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(2).unflatten(2, (8, 288))

    assert explain.find_layer(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Upsample(48), Odd()), fed()) == "1"


@pytest.mark.parametrize("average", [True, False])
def test_a_face_model_is_looked_at_as_its_network_is(plain: nn.Module, average: bool):
    wrapped = FaceModel(plain, InputSpec(48))
    assert explain.find_layer(wrapped, fed()) == explain.find_layer(plain, fed()) == "features"
    for layer in (None, "features.7"):
        want = explain.grad_cam(plain, fed(), layer=layer, average=average)
        np.testing.assert_array_equal(explain.grad_cam(wrapped, fed(), layer=layer, average=average), want)
    np.testing.assert_array_equal(explain.activations(wrapped, fed()), explain.activations(plain, fed()))
    np.testing.assert_array_equal(explain.first_filters(wrapped), explain.first_filters(plain))
    falls = [explain.occlusion(model, fed()[:1], 3, 24, 24) for model in (wrapped, plain)]
    np.testing.assert_array_equal(*falls)
    with pytest.raises(ValueError, match="PlainCNN has no layer 'network.features'; its parts are features, "):
        explain.activations(wrapped, fed(), "network.features")


def test_classes_are_as_many_as_the_model_has():
    torch.manual_seed(0)
    model = build_model("fernet", widths=(8, 8, 8, 8), classes=("open", "shut"))
    assert explain.grad_cam(model, fed(), [0, 1, 1]).shape == explain.occlusion(model, fed(), 1).shape == (3, 48, 48)
    for call in (explain.grad_cam, explain.occlusion):
        with pytest.raises(
            ValueError, match="targets are 2; give a class index from 0 to 1, or one for each of 3 faces"
        ):
            call(model, fed(), 2)


# ---- what is left alone


@pytest.mark.parametrize("wrapped", [False, True])
def test_modes_gradients_and_hooks_are_left_as_they_were(plain: nn.Module, wrapped: bool):
    plain = FaceModel(plain, InputSpec(48)).train() if wrapped else plain.train()
    (plain.network if wrapped else plain).features[0].eval()
    for parameter in plain.parameters():
        parameter.grad = torch.full_like(parameter, 2)
    modes = [module.training for module in plain.modules()]
    explain.grad_cam(plain, fed())
    explain.grad_cam(plain, fed(), average=False)
    explain.occlusion(plain, fed(), None, 24, 24)
    explain.activations(plain, fed())
    with pytest.raises(RuntimeError):
        explain.activations(plain, fed()[:, :, :40, :40], "features")
    assert [module.training for module in plain.modules()] == modes
    assert all((parameter.grad == 2).all() for parameter in plain.parameters())
    hooks = [module for module in plain.modules() if module._forward_hooks or module._backward_hooks]
    assert not hooks
    plain.zero_grad()


def test_frozen_models_and_callers_without_gradients_are_served(plain: nn.Module):
    want = explain.grad_cam(plain, fed(), 3)
    with torch.no_grad():
        np.testing.assert_allclose(explain.grad_cam(plain.requires_grad_(False), fed(), 3), want, atol=1e-6)
    plain.requires_grad_(True)


# ---- pictures


def test_edges_are_the_size_of_the_gradient():
    picture = np.zeros((1, 6, 6), np.uint8)
    picture[:, :, 3:] = 10
    want = np.zeros((6, 6))
    want[:, 2:4] = 4 * 10  # Sobel's weights add up to 4
    np.testing.assert_array_equal(explain.edge_map(picture)[0], want)
    np.testing.assert_array_equal(explain.edge_map(picture.transpose(0, 2, 1))[0], want.T)


def test_an_overlay_by_hand():
    picture, heights = np.full((2, 4, 4), 100, np.uint8), np.zeros((2, 2, 2), np.float32)
    heights[0, 1, 1], heights[0, 0, 1] = 5.0, -3.0
    shown = explain.overlay(picture, heights, strength=1.0)
    assert shown.shape == (2, 4, 4, 3) and shown.dtype == np.uint8
    yellow, violet = np.array([253, 231, 36]), np.array([68, 1, 84])  # the ends of viridis
    np.testing.assert_allclose(shown[0, 3, 3], yellow, atol=2)
    for place in (shown[0, 0, 0], shown[0, 0, 3], shown[1, 2, 2]):
        np.testing.assert_allclose(place, (violet + 100) / 2, atol=1.1)
    np.testing.assert_array_equal(explain.overlay(picture, heights, strength=0), np.repeat(picture[..., None], 3, 3))


# ---- truth and score


def boxes(**units: float) -> pd.DataFrame:
    """One face of 12 px: brows in rows 1 to 2, eyes in 3 to 4, mouth in 8 to 9; columns 2 to 9, mouth 4 to 7."""
    places = {"brows": (2, 1, 10, 3), "eyes": (2, 3, 10, 5), "mouth": (4, 8, 8, 10), "face": (0, 0, 12, 12)}
    edges = {f"{part}_{edge}": place[k] for part, place in places.items()
             for k, edge in enumerate(("x0", "y0", "x1", "y1"))}  # fmt: skip
    assert set(edges) == set(BOX_COLUMNS)
    return pd.DataFrame([dict.fromkeys(ACTION_UNITS, 0.0) | units | edges])


BROWS, EYES, NOSE, MOUTH = np.s_[1:3, 2:10], np.s_[3:5, 2:10], np.s_[5:8, 4:8], np.s_[8:10, 4:8]


@pytest.mark.parametrize(
    ("units", "regions"),
    [
        ({"au4": 0.5}, [BROWS]),
        ({"au6": 0.9, "au12": 1.0, "au2": 0.1}, [EYES, MOUTH]),
        ({"au9": 0.5}, [NOSE]),
        ({"au10": 0.5}, [NOSE, MOUTH]),
        ({"au26": 0.2}, [MOUTH]),
        ({}, [BROWS, EYES, MOUTH]),
        ({"au4": 0.15}, [BROWS, EYES, MOUTH]),
    ],
)
def test_masks_join_the_regions_whose_units_take_part(units: dict[str, float], regions: list):
    want = np.zeros((1, 12, 12), bool)
    for region in regions:
        want[0][region] = True
    np.testing.assert_array_equal(explain.region_masks(boxes(**units), 12), want)


def test_every_unit_shows_somewhere_and_a_pixel_belongs_where_its_middle_lies():
    assert {unit for region in explain.REGIONS.values() for unit in region} == set(ACTION_UNITS)
    table = boxes(au4=1.0).assign(brows_x0=2.6, brows_x1=9.4)
    assert explain.region_masks(table, 12)[0, 1].nonzero()[0].tolist() == [3, 4, 5, 6, 7, 8]
    assert not explain.region_masks(table, 12, threshold=1.0)[0, 8:10, :4].any()
    assert explain.region_masks(TABLE, 48).shape == (3, 48, 48)


MAPS = np.zeros((4, 2, 4))
MAPS[0, 0] = [8, 1, -5, 1]  # the maximum is inside; 9 of 10 are
MAPS[1, 1] = [6, 0, 2, 0]  # outside; nothing is inside
MAPS[2, 0] = [3, 0, 3, 0]  # one of two equal maxima is inside, and half of the sum
MAPS[3, 0] = [-1, 0, 0, 0]  # nothing above 0
MASKS = np.zeros((4, 2, 4), bool)
MASKS[:, 0, :2] = True


def test_scores_by_hand():
    each = explain.score_each(MAPS, MASKS)
    assert each.to_dict("list") == {"pointing": [1, 0, 0.5, 0], "energy": [0.9, 0, 0.5, 0.25], "area": [0.25] * 4}
    found = explain.mean_intervals(each)
    assert found["value"].to_dict() == pytest.approx({"pointing": 0.375, "energy": 0.4125, "area": 0.25})
    assert found.loc["area"].tolist() == [0.25] * 3


def test_a_map_of_one_value_scores_what_chance_does():
    each = explain.score_each(np.ones((3, 2, 4)), MASKS[:3])
    assert (each == 0.25).all(axis=None)


def test_differences_by_face_take_out_what_is_hard_for_both():
    rng = np.random.default_rng(0)
    base, masks = rng.random((200, 2, 4)), rng.random((200, 2, 4)) < 0.5
    gain = explain.mean_intervals(explain.score_each(base + masks * 0.1, masks) - explain.score_each(base, masks))
    alone = explain.mean_intervals(explain.score_each(base, masks))
    assert gain.loc["energy", "low"] > 0
    assert np.ptp(gain.loc["energy", ["low", "high"]]) < 0.5 * np.ptp(alone.loc["energy", ["low", "high"]])


def test_intervals_are_the_normal_ones_of_a_mean():
    rng = np.random.default_rng(1)
    maps, masks = rng.random((400, 4, 4)), rng.random((400, 4, 4)) < 0.4
    each = explain.score_each(maps, masks)
    found = explain.mean_intervals(each)
    for name in ("pointing", "energy", "area"):
        half = 1.96 * each[name].std() / 20
        value, low, high = found.loc[name]
        assert value == pytest.approx(each[name].mean())
        np.testing.assert_allclose([value - low, high - value], half, rtol=0.12)
    narrow = explain.mean_intervals(each, level=0.5).loc["energy", ["low", "high"]]
    assert np.ptp(narrow) == pytest.approx(2 * 0.6745 * each["energy"].std() / 20, rel=0.12)


# ---- mistakes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: explain.first_filters(nn.Linear(2, 2)), "Linear has no convolution"),
        (lambda m: explain.first_filters(FaceModel(nn.Sequential(nn.Flatten(), nn.Linear(2304, 7)), InputSpec(48))),
         "Sequential has no convolution"),
        (lambda m: explain.find_layer(FaceModel(m, InputSpec(48)), fed(), 50), "no layer of PlainCNN has a map of"),
        (lambda m: explain.find_layer(m, fed(), 50), "no layer of PlainCNN has a map of 50x50 .*48 px; feed larger"),
        (lambda m: explain.find_layer(nn.Sequential(nn.Flatten()), fed()), "no layer of Sequential has a map of 6x6"),
        (lambda m: explain.grad_cam(m, fed(), layer="feature"), "PlainCNN has no layer 'feature'; its parts are"),
        (lambda m: explain.activations(m, fed(), "head"), "'head' gives no map .*find_layer"),
        (lambda m: explain.overlay(FACES, MAPS), "longer|shorter"),
        (lambda m: explain.region_masks(TABLE.drop(columns=["eyes_x0"])), "DataFrame without eyes_x0 .* sample.draw"),
        (lambda m: explain.region_masks(TABLE.drop(columns=["au9", "au4"])), "without au4, au9 was given; give what"),
        (lambda m: explain.region_masks(FACES), "a ndarray without brows_x0, .* was given; give what sample.draw"),
        (lambda m: explain.score_each(MAPS, MASKS[:2]), r"maps \(4, 2, 4\) and masks \(2, 2, 4\) differ"),
        (lambda m: explain.score_each(MAPS, MASKS[:, :1]), r"masks \(4, 1, 4\) differ; give a mask of each map"),
    ],
)  # fmt: skip
def test_mistakes_are_told(plain: nn.Module, call, message: str):
    with pytest.raises(ValueError, match=message):
        call(plain)


@pytest.mark.parametrize(
    "targets",
    [
        7,
        -1,
        [0, 1],
        [0, 1, 7],
        [0.5, 1, 2],
        2.0,
        "happy",
        ["happy"] * 3,
        [],
        [[0], [1], [2]],
        torch.tensor([0.0, 1, 2]),
        np.array([0, 1, -1]),
        torch.tensor([1, 2]),
        [True] * 3,
    ],
)
@pytest.mark.parametrize("explained", [explain.grad_cam, explain.occlusion])
def test_a_target_that_is_no_class_is_told(plain: nn.Module, explained, targets):
    with pytest.raises(ValueError, match="targets are .*; give a class index from 0 to 6, or one for each of 3 faces"):
        explained(plain, fed(), targets)


@pytest.mark.parametrize(
    ("window", "stride"), [(3, 4), (49, 4), (0, 1), (6, 0), (-3, 1), (6, -2), (None, 7), (100, None)]
)
def test_a_window_or_stride_that_does_not_fit_is_told(plain: nn.Module, window, stride):
    with pytest.raises(
        ValueError, match="window .* and stride .* were given for faces of 48 px; a window has 1 to 48 px"
    ):
        explain.occlusion(plain, fed(), 0, window, stride)


@pytest.mark.parametrize(
    ("batch", "kind"),
    [
        (torch.from_numpy(FACES)[:, None], r"torch.uint8 \(3, 1, 48, 48\)"),
        (fed()[0], r"torch.float32 \(1, 48, 48\)"),
        (FACES[:, None] / 255, "ndarray"),
    ],
)
@pytest.mark.parametrize("explained", [explain.grad_cam, explain.occlusion, explain.activations, explain.find_layer])
def test_a_batch_of_unprepared_faces_is_told(plain: nn.Module, explained, batch, kind: str):
    with pytest.raises(ValueError, match=f"the batch is {kind}; give float .n, channels, h, w., as EvalTransform"):
        explained(plain, batch)


def test_a_small_window_moves_by_half_its_side(plain: nn.Module):
    for window, stride in ((1, 1), (2, 1), (24, 12)):
        faces = fed()[:1]
        if window < 24:
            faces, model = faces[:, :, :8, :8], nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
        else:
            model = plain
        np.testing.assert_array_equal(
            explain.occlusion(model, faces, 0, window), explain.occlusion(model, faces, 0, window, stride)
        )


def test_a_map_that_is_too_coarse_is_refused_with_a_better_one(fernet: FaceModel):
    with pytest.raises(ValueError, match="'stages.2' is 3x3, too coarse for a face; take 'stages.2.0'"):
        explain.grad_cam(fernet, fed(), layer="stages.2")


# ---- figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_filters_share_one_scale_with_zero_in_the_middle():
    figure = plots.filters_grid(np.array([[[0.0, 1.0]], [[-2.0, 2.0]]]))
    assert [ax.images[0].get_array().tolist() for ax in figure.axes] == [[[128, 191]], [[0, 255]]]
    assert [ax.get_title() for ax in figure.axes] == ["filter 0", "filter 1"]


def test_activation_maps_share_one_scale_that_the_title_tells():
    figure = plots.activations_grid(np.array([[[0.0, 1.0]], [[-1.0, 3.0]]] * 3))
    assert [ax.images[0].get_array().tolist() for ax in figure.axes] == [[[64, 128]], [[0, 255]]] * 3
    assert "black -1, white 3" in figure.get_suptitle()
    assert not plots.activations_grid(np.zeros((2, 3, 3))).axes[0].images[0].get_array().any()


def test_explanations_stand_beside_their_faces_with_the_boxes_in_place():
    over = {"one": explain.overlay(FACES, np.ones((3, 6, 6))), "two": explain.overlay(FACES, np.zeros((3, 6, 6)))}
    figure = plots.explanation_grid(FACES, over, ["a", "b", "c"], boxes=TABLE)
    assert [ax.get_title() for ax in figure.axes] == ["a", "one", "two", "b", "one", "two", "c", "one", "two"]
    np.testing.assert_array_equal(figure.axes[3].images[0].get_array(), FACES[1])
    np.testing.assert_array_equal(figure.axes[8].images[0].get_array(), over["two"][2])
    for place, ax in enumerate(figure.axes):
        row = TABLE.iloc[place // 3]
        assert [line.get_linestyle() for line in ax.lines] == [":", "--", "-"]
        for part, line in zip(("brows", "eyes", "mouth"), ax.lines, strict=True):
            x, y = line.get_data()
            edges = [min(x) + 0.5, min(y) + 0.5, max(x) + 0.5, max(y) + 0.5]
            np.testing.assert_allclose(
                edges, row[[f"{part}_{edge}" for edge in ("x0", "y0", "x1", "y1")]].astype(float)
            )
    bare = plots.explanation_grid(FACES, over)
    assert not any(ax.lines for ax in bare.axes) and "dotted" not in bare.get_suptitle()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.explanation_grid(FACES, {"one": FACES[:2]}), "argument 2 is shorter"),
        (lambda: plots.explanation_grid(FACES, {"one": FACES}, ["a"]), "6 pictures and 2 titles"),
        (lambda: plots.explanation_grid(FACES, {"one": FACES}, boxes=TABLE[["face_x0"]]), "without brows_x0, brows_y0"),
    ],
)
def test_figures_refuse_what_does_not_fit(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()


def test_windows_are_in_proportion_to_the_face(plain):
    batch = fed()[:1]
    np.testing.assert_array_equal(explain.occlusion(plain, batch, 0), explain.occlusion(plain, batch, 0, 6, 3))


def test_occlusion_of_the_model_of_drawn_faces_falls_on_their_moving_parts_more_than_edges_do():
    images, truth = sample.draw(40, seed=99, occlusion="none")
    model, labels = load_model("drawn"), torch.from_numpy(truth["label"].to_numpy(copy=True))
    batch = EvalTransform(model.input_spec)(torch.from_numpy(images)[:, None])
    with torch.no_grad():
        right = (model(batch).argmax(1) == labels).numpy()
    masks = explain.region_masks(truth[right], 48)
    ours = explain.score_each(explain.occlusion(model, batch[right], labels[right]), masks)
    edges = explain.score_each(explain.edge_map(images[right]), masks)
    gain = explain.mean_intervals(ours - edges)
    assert gain.loc["energy", "low"] > 0.02 and gain.loc["pointing", "low"] > 0.1
