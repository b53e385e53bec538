"""Train, and keep the weights of every epoch under its true number, for tests to compare with what was captured.

The true number travels with the checkpoint, but the script makes no use of it where it is said to hold weights only.
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--optimizer", choices=["sgd", "momentum", "adam", "adagrad"], default="sgd")
parser.add_argument("--seed", type=int, default=0, help="below 0, there is none")
parser.add_argument("--checkpoint")
parser.add_argument("--weights-only", action="store_true", help="a checkpoint of the weights, and of nothing else")
parser.add_argument("--save-last", action="store_true", help="save after the evaluation")
parser.add_argument("--evaluate-first", action="store_true")
parser.add_argument("--load-late", action="store_true", help="load the checkpoint after the first evaluation")
parser.add_argument("--load-in-pass", action="store_true", help="load it after a first call in the first pass")
parser.add_argument("--best", type=int, help="load the weights of this epoch in the end, and test them")
parser.add_argument("--frozen", action="store_true", help="with a learning rate of zero")
parser.add_argument("--step-after-loop", action="store_true", help="take one step an epoch, after the loop")
parser.add_argument("--mid-epoch", action="store_true", help="evaluate in the middle of passes, too")
parser.add_argument("--fail", type=int, help="break down in this epoch's evaluation")
parser.add_argument("--fail-training", type=int, help="break down in this epoch's training pass")
parser.add_argument("--truth", help="folder of the weights of every epoch")
args = parser.parse_args()


def data_set(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (rows,), generator=generator)
    return TensorDataset(3 * torch.eye(3, 6)[labels] + torch.randn(rows, 6, generator=generator), labels)


if args.seed >= 0:
    torch.manual_seed(args.seed)
train_loader = DataLoader(data_set(1, 120), batch_size=20, shuffle=True)
loader, test_loader = (DataLoader(data_set(seed, 40), batch_size=20) for seed in (2, 3))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
rate = 0.0 if args.frozen else 0.05
kinds = {"sgd": torch.optim.SGD, "momentum": torch.optim.SGD, "adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}
optimizer = kinds[args.optimizer](
    model.parameters(), lr=rate, **({"momentum": 0.9} if args.optimizer == "momentum" else {})
)
count = {"true": 0, "done": 0}


def load():
    if args.checkpoint and Path(args.checkpoint).exists():
        checkpoint = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(checkpoint["model"])
        count["true"] = checkpoint["true"]
        if not args.weights_only:
            optimizer.load_state_dict(checkpoint["optimizer"])
            torch.set_rng_state(checkpoint["random"])
            count["done"] = count["true"]


def save():
    if args.checkpoint:
        state = {"model": model.state_dict(), "true": count["true"]}
        if not args.weights_only:
            state |= {"optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
        torch.save(state, args.checkpoint + ".new")
        Path(args.checkpoint + ".new").replace(args.checkpoint)


def keep():
    if args.truth:
        Path(args.truth).mkdir(exist_ok=True)
        number = len(list(Path(args.truth).glob("*.pt")))
        path = Path(args.truth, f"{args.seed}-{count['true']}-{number}.pt")
        torch.save(model.state_dict(), f"{path}.new")
        Path(f"{path}.new").replace(path)


def evaluate(loader=loader, fail=False):
    model.eval()
    with torch.no_grad():
        for x, _ in loader:
            model(x)
            if fail:
                raise RuntimeError("the script's own mistake")
    model.train()


if not (args.load_late or args.load_in_pass):
    load()
keep()
if args.evaluate_first:
    evaluate()
if args.load_late:
    load()
for epoch in range(count["done"] + 1, args.epochs + 1):
    model.train()
    for number, (x, y) in enumerate(train_loader):
        if args.load_in_pass and epoch == 1 and not number:
            model(x)
            load()
        F.cross_entropy(model(x), y).backward()
        if not args.step_after_loop:
            optimizer.step()
            optimizer.zero_grad()
        if args.mid_epoch and number == 2:
            evaluate()
        if epoch == args.fail_training and number == 2:
            raise RuntimeError("the script's own mistake")
    if args.step_after_loop:
        optimizer.step()
        optimizer.zero_grad()
    count["true"] += 1
    keep()
    if not args.save_last:
        save()
    evaluate(fail=epoch == args.fail)
    if args.save_last:
        save()
if args.best is not None:
    model.load_state_dict(torch.load(next(Path(args.truth).glob(f"{args.seed}-{args.best}-*.pt")), weights_only=True))
    evaluate(test_loader)
