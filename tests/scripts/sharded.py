"""Train with fully_shard under torchrun, or in one process without it."""

import argparse

import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--alone", action="store_true", help="evaluate without a DistributedSampler")
args = parser.parse_args()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 9), nn.ReLU())
        self.head = nn.Linear(9, 3)

    def forward(self, x):
        return self.head(self.hidden(x))


def blobs(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (rows,), generator=generator)
    return TensorDataset(3 * torch.eye(3, 6)[labels] + torch.randn(rows, 6, generator=generator), labels)


def loader(data, batch_size):
    sampler = DistributedSampler(data, shuffle=False) if ranks > 1 else None
    return DataLoader(data, batch_size // ranks, sampler=sampler)


is_started_by_torchrun = distributed.is_torchelastic_launched()
if is_started_by_torchrun:
    distributed.init_process_group("gloo")
ranks = distributed.get_world_size() if is_started_by_torchrun else 1
torch.manual_seed(0)
model = Net()
if is_started_by_torchrun:
    fully_shard(model.hidden)
    fully_shard(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
train, held_out = loader(blobs(1, 96), 16), loader(blobs(2, 51), 16)
if args.alone:
    held_out = DataLoader(blobs(2, 51), 16)
for _ in range(args.epochs):
    model.train()
    for x, y in train:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print("correct", sum(int((model(x).argmax(1) == y).sum()) for x, y in held_out))
if is_started_by_torchrun:
    distributed.destroy_process_group()
