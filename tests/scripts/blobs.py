"""Train a small network on Gaussian blobs; options choose how the loop is written."""

import argparse
import copy
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def blobs(seed, rows=96, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    centers = 3 * torch.eye(classes, 6)
    return TensorDataset(centers[labels] + torch.randn(rows, 6, generator=generator), labels)


class Net(nn.Module):
    def __init__(self, log_probabilities):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.head = nn.Linear(8, 3)
        self.log_probabilities = log_probabilities

    def forward(self, x):
        x = self.head(self.hidden(x))
        return F.log_softmax(x, 1) if self.log_probabilities else x


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--loss", choices=["module", "cross_entropy", "nll_loss"], default="module")
parser.add_argument("--eval-loss", action="store_true")
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--persistent", action="store_true")
parser.add_argument("--limit", type=int, help="training batches an epoch")
parser.add_argument("--evaluate-first", action="store_true")
parser.add_argument("--evaluate-train", action="store_true")
parser.add_argument("--second-set", action="store_true")
parser.add_argument("--fresh-loaders", action="store_true")
parser.add_argument("--twice", action="store_true")
parser.add_argument("--mid-epoch", action="store_true")
parser.add_argument("--no-eval-mode", action="store_true")
parser.add_argument("--eval-limit", type=int)
parser.add_argument("--fail-after", type=int)
parser.add_argument("--exit", type=int)
parser.add_argument("--save")
args = parser.parse_args()

torch.manual_seed(0)
options = {"num_workers": args.workers, "persistent_workers": args.persistent}
train_set = blobs(1)
sets = [blobs(2, 50), blobs(3, 40)] if args.second_set else [blobs(2, 50)]
train_loader = DataLoader(train_set, batch_size=16, shuffle=True, **options)
eval_loaders = [DataLoader(one, batch_size=16, shuffle=True, **options) for one in sets]
eval_loaders += eval_loaders if args.twice else []
if args.evaluate_train:
    eval_loaders.append(DataLoader(train_set, batch_size=32, **options))
model = Net(args.loss == "nll_loss")
criterion = {"module": nn.CrossEntropyLoss(), "cross_entropy": F.cross_entropy, "nll_loss": F.nll_loss}[args.loss]
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def evaluate():
    if not args.no_eval_mode:
        model.eval()
    loaders = eval_loaders
    if args.fresh_loaders:
        loaders = (DataLoader(blobs(2 + number, 50), batch_size=16) for number in range(len(eval_loaders)))
    for number, loader in enumerate(loaders):
        correct = 0
        with torch.no_grad():
            for batch_number, (x, y) in enumerate(loader):
                if batch_number == args.eval_limit:
                    break
                output = model(x)
                if args.eval_loss:
                    criterion(output, y)
                correct += (output.argmax(1) == y).sum().item()
        print("set", number, "correct", correct)


if args.evaluate_first:
    evaluate()
best = None
for epoch in range(args.epochs):
    for number, (x, y) in enumerate(train_loader):
        if number == args.limit:
            break
        model.train()
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        if args.mid_epoch and number == 2:
            evaluate()
    if epoch == args.fail_after:
        raise RuntimeError("the script's own mistake")
    evaluate()
    best = copy.deepcopy(model)
if args.save:
    torch.save(best.state_dict(), args.save)
if args.exit is not None:
    sys.exit(args.exit)
