"""Measure what `ferlib.sample` promises: Haar finds its faces, and better methods name them better.

python benchmarks/sample_gates.py --seeds 3     (7 minutes a seed on a CPU core; --epochs 0 skips the good CNN)
"""

import argparse
import time

import cv2
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn
from torch.nn import functional as F

from ferlib import sample
from ferlib.emotions import EMOTIONS


def haar_rate() -> float:
    """Share of 300 frontal, unoccluded faces of 96 px in which OpenCV's frontal Haar cascade finds a face."""
    images, _ = sample.draw(300, size=96, seed=7, yaw=0.0, pitch=0.0, roll=0.0, occlusion="none")
    finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    return float(np.mean([len(finder.detectMultiScale(image, 1.05, 3)) > 0 for image in images]))


def small_cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2304, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 7))


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class MaxAndMean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)


def good_cnn() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 32, 4, stride=2, padding=1)]
    for before, after in ((32, 64), (64, 256), (256, 256)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.GELU()]
        layers += [Residual(nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.GELU())]
    return nn.Sequential(*layers, MaxAndMean(), nn.Dropout(0.2), nn.Linear(512, 7))


def augment(x: torch.Tensor) -> torch.Tensor:
    """Flip, turn by 10 degrees, scale by 12%, shift by 8%, vary brightness and contrast of a batch (b, 1, 48, 48)."""
    n = len(x)  # an affine grid spans -1 to 1, so 8% of the width is 0.16
    angle, scale = (torch.rand(n) - 0.5) * 0.35, 1 + (torch.rand(n) - 0.5) * 0.24
    flip, shift = torch.sign(torch.rand(n) - 0.5), (torch.rand(n, 2) - 0.5) * 0.32
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cos * flip, -sin, shift[:, 0], sin * flip, cos, shift[:, 1]], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return x * (0.8 + 0.4 * torch.rand(n, 1, 1, 1)) + 0.4 * (torch.rand(n, 1, 1, 1) - 0.5)


def train(model: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, good: bool) -> nn.Module:
    """Fit on images (n, 48, 48) uint8; the good recipe is AdamW, one cycle, label smoothing and augmentation."""
    x, y = torch.from_numpy(images[:, None]) / 63.75 - 1.8, torch.from_numpy(labels)
    steps = epochs * -(-len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3 if good else 1e-3, weight_decay=0.05 if good else 0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps) if good else None
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            scores = model(augment(x[batch]) if good else x[batch])
            F.cross_entropy(scores, y[batch], label_smoothing=0.1 if good else 0.0).backward()
            optimizer.step()
            if schedule:
                schedule.step()
    return model.eval()


def predict(model: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(images[:, None]) / 63.75 - 1.8).argmax(1).numpy()


def measure(seed: int, epochs: int) -> None:
    """Print the accuracy on PublicTest of five methods trained on Training, and the good CNN's confusions."""
    images, table = sample.dataset(seed=seed)
    torch.manual_seed(seed)
    labels, dim = table.label.to_numpy(), (table.group == "dim").to_numpy()[2800:4800]
    x, y, x_test, truth = images[:2800], labels[:2800], images[2800:4800], labels[2800:4800]  # Training, PublicTest
    guesses = {"majority": np.full(len(truth), np.bincount(y).argmax())}
    flat = LogisticRegression(C=0.01, max_iter=300).fit(x.reshape(len(x), -1) / 255, y)
    guesses["logistic"] = flat.predict(x_test.reshape(len(x_test), -1) / 255)
    describe = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9).compute
    hog, hog_test = (np.stack([describe(image).ravel() for image in part]) for part in (x, x_test))
    guesses["hog_svm"] = make_pipeline(StandardScaler(), LinearSVC(C=0.01)).fit(hog, y).predict(hog_test)
    guesses["small_cnn"] = predict(train(small_cnn(), x, y, 25, good=False), x_test)
    if epochs:
        guesses["good_cnn"] = predict(train(good_cnn(), x, y, epochs, good=True), x_test)
    for name, guess in guesses.items():
        right = guess == truth
        print(f"seed {seed}  {name:10} {right.mean():6.1%}   dim group {right[dim].mean():6.1%}", flush=True)
    print("confusion of the last method, rows are the truth:", *EMOTIONS)
    print(confusion_matrix(truth, guess, normalize="true"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="of the good CNN; 0 leaves it out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    np.set_printoptions(precision=2, suppress=True, linewidth=120)
    start = time.time()
    sample.dataset()
    print(f"dataset drawn in {time.time() - start:.1f} s; Haar finds {haar_rate():.1%} of frontal faces at 96 px")
    for seed in range(args.seeds):
        measure(seed, args.epochs)


if __name__ == "__main__":
    main()
