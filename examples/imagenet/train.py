"""Train a ResNet-50 on ImageNet, from folders: DIR/train/n01440764/*.JPEG, DIR/val/n01440764/*.JPEG, and so on.

    python train.py --data DIR

The layout is the one that torchvision's ImageFolder reads: a folder a class, named by its wnid. Needs torch and Pillow.
"""

import argparse
import random
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

try:
    from PIL import Image
except ImportError:
    sys.exit("train.py reads images by Pillow, which is not installed: pip install pillow")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, by channel


class Folders(Dataset):
    """Images in a folder a class; the classes in the order of their names."""

    def __init__(self, root: Path, size: int, *, augment: bool) -> None:
        self.classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
        self.files = [
            (file, label) for label, name in enumerate(self.classes) for file in sorted((root / name).iterdir())
        ]
        self.size, self.augment = size, augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        image = self.random_part(image) if self.augment else self.middle(image)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        pixels = pixels.reshape(self.size, self.size, 3).permute(2, 0, 1) / 255
        return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None], label

    def middle(self, image: Image.Image) -> Image.Image:
        """Cut out the middle: seven eighths of the shorter side."""
        side = min(image.size) * 7 / 8
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return image.resize((self.size, self.size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))

    def random_part(self, image: Image.Image) -> Image.Image:
        """Cut out a random part of 8 to 100 % of the area, mirrored half of the time."""
        side = min((random.uniform(0.08, 1) * image.width * image.height) ** 0.5, *image.size)
        left, top = random.uniform(0, image.width - side), random.uniform(0, image.height - side)
        part = image.resize((self.size, self.size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


class Bottleneck(nn.Module):
    """Three convolutions, of which the first narrows and the last widens, around a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        narrow = stride == 1 and inputs == outputs
        shortcut = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if narrow else nn.Sequential(*shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network; (3, 4, 6, 3) blocks of width 64 are ResNet-50."""

    def __init__(self, classes: int, blocks: list[int], width: int) -> None:
        super().__init__()
        stem = (nn.Conv2d(3, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, padding=1))
        inputs = width
        for number, count in enumerate(blocks):
            stage = []
            for block in range(count):
                stage.append(Bottleneck(inputs, width << number, 2 if number and not block else 1))
                inputs = 4 * (width << number)
            self.add_module(f"layer{number + 1}", nn.Sequential(*stage))
        self.stages = len(blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for number in range(self.stages):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(x.mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="pixels on a side")
    parser.add_argument("--blocks", type=int, nargs=4, default=[3, 4, 6, 3])
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()

    random.seed(0)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = Folders(args.data / "train", args.size, augment=True)
    val = Folders(args.data / "val", args.size, augment=False)
    train_loader = DataLoader(train, args.batch, shuffle=True, num_workers=args.workers, drop_last=True)
    val_loader = DataLoader(val, args.batch, num_workers=args.workers)
    model = ResNet(len(train.classes), args.blocks, args.width).to(device)
    optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)

    for epoch in range(args.epochs + 1):  # before the first training pass the network is looked at untrained
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val_loader:
                right += (model(images.to(device)).argmax(1) == labels.to(device)).sum().item()
        print(f"epoch {epoch}: accuracy {right / len(val):.3f}", flush=True)
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
