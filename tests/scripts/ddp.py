"""Train with DistributedDataParallel under torchrun, or in one process; options choose how the loop is written."""

import argparse
import os

import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--rows", type=int, default=51)
parser.add_argument("--first-rank-only", action="store_true")
parser.add_argument("--unshared", action="store_true")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--checkpoint", help="of the weights, saved before each evaluation, and gone on from")
parser.add_argument("--die", type=int, help="the last rank dies in this epoch's evaluation")
args = parser.parse_args()

ranks = int(os.environ.get("WORLD_SIZE", "1"))
if ranks > 1:
    distributed.init_process_group("gloo")
rank = distributed.get_rank() if ranks > 1 else 0
torch.manual_seed(args.seed)
generator = torch.Generator().manual_seed(1)
labels = torch.randint(3, (args.rows,), generator=generator)
data = TensorDataset(3 * torch.eye(3, 6)[labels] + torch.randn(args.rows, 6, generator=generator), labels)
train_data = TensorDataset(*data[:40])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.hidden(x))


model = Net()
if args.checkpoint and os.path.exists(args.checkpoint):  # noqa: PTH110
    model.load_state_dict(torch.load(args.checkpoint, weights_only=True))
wrapped = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
shared = ranks > 1 and not (args.first_rank_only or args.unshared)
sampler = DistributedSampler(data, shuffle=True) if shared else None
loader = DataLoader(data, batch_size=8, sampler=sampler)
# full batches: one process takes the same steps as many
train_loader = DataLoader(train_data, batch_size=40)
optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
for epoch in range(args.epochs):
    wrapped.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(wrapped(x), y).backward()
        optimizer.step()
    if args.checkpoint and rank == 0:
        torch.save(model.state_dict(), args.checkpoint)
    if args.first_rank_only and rank:
        continue
    wrapped.eval()
    used = model if args.first_rank_only else wrapped
    with torch.no_grad():
        for number, (x, _) in enumerate(loader):
            used(x)
            if epoch + 1 == args.die and rank == ranks - 1 and number == 1:
                os._exit(3)
