"""What a competent user writes: torchvision, a DataLoader with 2 workers, float32, on the CPU.

    python benchmarks/speed/plain_pytorch.py cnn6 FOLDER

FOLDER has the pictures of each class in a folder of its own. Nothing of detector is used, only the
widths of its networks, which here have ReLU and dropout where they were published, before the pool.
It goes on until it is ended; `turns.py` watches its steps.
"""

import itertools
import sys
import tempfile

import steps
import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from torch.utils.tensorboard import SummaryWriter
from torchvision import datasets, transforms

BATCH = 32


def cnn6() -> nn.Module:
    widths, blocks = (3, 32, 64, 128, 256, 256, 256), []
    for inputs, outputs in itertools.pairwise(widths):
        blocks += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(), nn.Dropout2d(0.1), nn.MaxPool2d(2, ceil_mode=True),
        ]  # fmt: skip
    return nn.Sequential(
        *blocks, nn.Flatten(),
        nn.Linear(256 * 4 * 4, 512), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 2),
    )  # fmt: skip


def cnn2() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(64 * 75 * 75, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 2),
    )  # fmt: skip


CASES = {"cnn6": (cnn6, 224, 1e-3), "cnn2": (cnn2, 300, 1e-4)}  # network, side, learning rate


def loaders(folder: str, size: int) -> tuple[DataLoader, DataLoader]:
    """Train, augmented as `augment=light` does it, and validation."""
    scaled = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    augmented = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomResizedCrop(size, scale=(0.8, 1.0), ratio=(0.9, 1.1)),
            transforms.ColorJitter(0.1, 0.1, 0.1),
            *scaled,
        ]
    )
    plain = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), *scaled])
    train, val = (datasets.ImageFolder(folder, transform) for transform in (augmented, plain))
    seed = torch.Generator().manual_seed(0)
    rows = random_split(range(len(train)), [0.7, 0.3], seed)
    return (
        DataLoader(
            torch.utils.data.Subset(train, list(rows[0])), BATCH, shuffle=True, num_workers=2
        ),
        DataLoader(torch.utils.data.Subset(val, list(rows[1])), BATCH, num_workers=2),
    )


def main(name: str, folder: str) -> None:
    make, size, rate = CASES[name]
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), rate)
    loss_of = nn.CrossEntropyLoss()
    train, val = loaders(folder, size)
    with tempfile.TemporaryDirectory() as logs:
        writer, step = SummaryWriter(logs), 0
        for epoch in itertools.count():
            network.train()
            steps.note(0, steps.BREAK)
            for pictures, labels in train:
                loss = loss_of(network(pictures), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                writer.add_scalar("loss", loss.item(), step)
                step += 1
                steps.note(len(labels))
            network.eval()
            steps.note(0, steps.BREAK)
            right = 0
            with torch.no_grad():
                for pictures, labels in val:
                    right += (network(pictures).argmax(1) == labels).sum().item()
                    steps.note(len(labels), steps.VALIDATION)
            writer.add_scalar("accuracy", right / len(val.dataset), epoch)


if __name__ == "__main__":
    main(*sys.argv[1:])
