"""Train, evaluate and then save a checkpoint, epoch by epoch; go on from the checkpoint if there is one."""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--checkpoint")
parser.add_argument("--save-first", action="store_true", help="save before the evaluation")
parser.add_argument("--fail", type=int, help="break down in this epoch's evaluation")
parser.add_argument("--plain", action="store_true", help="an optimizer without state")
args = parser.parse_args()


def data_set(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (rows,), generator=generator)
    return TensorDataset(3 * torch.eye(3, 6)[labels] + torch.randn(rows, 6, generator=generator), labels)


torch.manual_seed(0)
train_loader = DataLoader(data_set(1, 300), batch_size=50, shuffle=True)
loader = DataLoader(data_set(2, 200), batch_size=50, shuffle=True)
model = nn.Sequential(nn.Linear(6, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0 if args.plain else 0.9)
done = 0
if args.checkpoint and Path(args.checkpoint).exists():
    checkpoint = torch.load(args.checkpoint, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    torch.set_rng_state(checkpoint["random"])
    done = checkpoint["epoch"]


def save():
    if args.checkpoint:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save({**state, "random": torch.get_rng_state()}, args.checkpoint + ".new")
        Path(args.checkpoint + ".new").replace(args.checkpoint)


for epoch in range(done + 1, args.epochs + 1):
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    if args.save_first:
        save()
    model.eval()
    with torch.no_grad():
        for x, _ in loader:
            model(x)
            if epoch == args.fail:
                raise RuntimeError("the script's own mistake")
    if not args.save_first:
        save()
