"""Train on a device with plain SGD, keep each epoch's weights, and go on from the last ones if there are any."""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--checkpoint")
parser.add_argument("--device", default="cuda")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
labels = torch.arange(300) % 3
data, held_out = (TensorDataset(3 * torch.eye(3, 6)[labels] + torch.randn(300, 6), labels) for _ in range(2))
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).to(args.device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
done = 0
if args.checkpoint and Path(args.checkpoint).exists():
    kept = torch.load(args.checkpoint, weights_only=True)
    model.load_state_dict(kept["model"])
    done = kept["epoch"]
for epoch in range(done + 1, args.epochs + 1):
    model.train()
    for x, y in DataLoader(data, 50, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x.to(args.device)), y.to(args.device)).backward()
        optimizer.step()
    if args.checkpoint:
        torch.save(model.state_dict(), f"{args.checkpoint}.{epoch}")
        torch.save({"model": model.state_dict(), "epoch": epoch}, args.checkpoint)
    model.eval()
    with torch.no_grad():
        for x, _ in DataLoader(held_out, 100):
            model(x.to(args.device))
