"""Train a ResNet-18 on CIFAR-100, from its binary version: DIR/train.bin, DIR/test.bin, DIR/fine_label_names.txt.

    python train.py --data DIR

A row of the files has 3,074 bytes: the superclass, the class, and 32 x 32 pixels of red, of green and of blue. The
archive cifar-100-binary.tar.gz holds them. Needs torch and NumPy.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIDE = 32
ROW = 2 + 3 * SIDE * SIDE
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)  # of the training pixels, by channel


class Cifar100(Dataset):
    """Images of a file, and their classes."""

    def __init__(self, folder: Path, file: str, *, augment: bool) -> None:
        rows = np.fromfile(folder / file, np.uint8)
        if not len(rows) or len(rows) % ROW:
            raise SystemExit(f"{folder / file} has {len(rows)} bytes, and rows of CIFAR-100 have {ROW} each")
        rows = rows.reshape(-1, ROW)
        self.classes = (folder / "fine_label_names.txt").read_text(encoding="utf-8").split()
        self.labels = torch.from_numpy(rows[:, 1].astype(np.int64))
        pixels = torch.from_numpy(rows[:, 2:].reshape(-1, 3, SIDE, SIDE).copy()) / 255
        self.images = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = self.images[index]
        if self.augment:  # shifted by up to four pixels, and mirrored half of the time
            down, right, mirrored = (int(torch.randint(choices, ())) for choices in (9, 9, 2))
            image = nn.functional.pad(image, (4, 4, 4, 4))[:, down : down + SIDE, right : right + SIDE]
            image = image.flip(2) if mirrored else image
        return image, self.labels[index]


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)),
        )
        shortcut = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if stride == 1 and inputs == outputs else nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def resnet18(classes: int, width: int) -> nn.Sequential:
    """Build a ResNet-18 for small images: no pooling before the first block."""
    model = nn.Sequential()
    model.add_module(
        "stem", nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    )
    inputs = width
    for number in range(4):
        outputs = width << number
        blocks = nn.Sequential(Block(inputs, outputs, 2 if number else 1), Block(outputs, outputs, 1))
        model.add_module(f"layer{number + 1}", blocks)
        inputs = outputs
    model.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model.add_module("fc", nn.Linear(inputs, classes))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train.bin, test.bin, fine_label_names.txt"
    )
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = Cifar100(args.data, "train.bin", augment=True)
    test = Cifar100(args.data, "test.bin", augment=False)
    train_loader = DataLoader(train, args.batch, shuffle=True, num_workers=args.workers, drop_last=True)
    test_loader = DataLoader(test, args.batch, num_workers=args.workers)
    model = resnet18(len(train.classes), args.width).to(device)
    optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)

    for epoch in range(args.epochs + 1):  # before the first training pass the network is looked at untrained
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in test_loader:
                right += (model(images.to(device)).argmax(1) == labels.to(device)).sum().item()
        print(f"epoch {epoch}: accuracy {right / len(test):.3f}", flush=True)
        if epoch == args.epochs:
            break
        model.train()
        for images, labels in train_loader:
            loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()


if __name__ == "__main__":
    main()
