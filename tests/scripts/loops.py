"""Train a small network on Gaussian blobs, in the loop that is the argument; prints the hits of each evaluation."""

import sys
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def blobs(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (rows,), generator=generator)
    return TensorDataset(3 * torch.eye(3, 6)[labels] + torch.randn(rows, 6, generator=generator), labels)


kind = sys.argv[1]
torch.manual_seed(0)
model = nn.Sequential()
model.add_module("hidden", nn.Sequential(nn.Linear(6, 8), nn.ReLU()))
model.add_module("head", nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
train = DataLoader(blobs(1, 96), batch_size=16, shuffle=True)
held_out = DataLoader(blobs(2, 50), batch_size=16, shuffle=True)
scaler = torch.amp.GradScaler("cpu", enabled=kind == "amp")
cast = torch.autocast("cpu", dtype=torch.bfloat16) if kind == "amp" else nullcontext()
every = 3 if kind == "accumulation" else 1
backward = torch.Tensor.backward
if kind == "accelerate":
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, optimizer, train, held_out = accelerator.prepare(model, optimizer, train, held_out)
    backward = accelerator.backward

for _ in range(2):
    model.train()
    for number, (x, y) in enumerate(train, 1):
        with cast:
            loss = F.cross_entropy(model(x), y) / every
        backward(scaler.scale(loss))
        if number % every == 0:
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    model.eval()
    correct = 0
    with torch.no_grad(), cast:
        for x, y in held_out:
            found = model(x).argmax(1)
            if kind == "accelerate":
                found, labels = accelerator.gather_for_metrics((found, y))
            else:
                labels = y
            correct += int((found == labels).sum())
    print("set 0 correct", correct)
