"""Train models that give more than logits; options choose the form of the output and the loss.

Prints the accuracy of each evaluation, as the script itself counts it.
"""

import argparse
from collections import namedtuple
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

FEATURES, CLASSES = 8, 5


class Blobs(Dataset):
    """Says nothing of its labels but row by row."""

    def __init__(self, seed, rows):
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.randint(CLASSES, (rows,), generator=generator)
        self.x = 2 * torch.eye(CLASSES, 6)[self.y] + torch.randn(rows, 6, generator=generator)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


@dataclass
class Output:
    features: torch.Tensor
    scores: torch.Tensor


Named = namedtuple("Named", "features scores")


class Net(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form
        self.body = nn.Sequential(nn.Linear(6, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, CLASSES)
        self.aux = nn.Linear(FEATURES, CLASSES)  # after the head, and as wide

    def forward(self, x):
        features = self.body(x)
        logits = self.head(features)
        match self.form:
            case "tuple":
                return features, logits
            case "dict":
                return {"embedding": features, "predictions": {"cls": logits}}
            case "dataclass":
                return Output(features, logits)
            case "named":
                return Named(features, logits)
            case "logits":
                return {"features": features, "logits": logits}
            case "misnamed":
                return {"logits": features, "scores": logits}
            case "aux":  # as Inception does: an auxiliary output in training only
                return (self.aux(features), logits) if self.training else logits
            case "deep":  # deep supervision: all heads in training only
                return torch.stack([self.aux(features), logits]) if self.training else logits
            case "two":
                return logits, self.aux(features)
            case "log":
                return features, F.log_softmax(logits, 1)
            case "features":
                return features
        return logits


def logits_of(output):
    match args.form:
        case "dict":
            return output["predictions"]["cls"]
        case "dataclass" | "named":
            return output.scores
        case "logits":
            return output["logits"]
        case "misnamed":
            return output["scores"]
        case "two":
            return output[0]
        case "features":
            return outer(output)
        case "deep":
            return output.mean(0) if output.ndim == 3 else output
        case "tuple" | "log":
            return output[1]
    return output[1] if isinstance(output, tuple) else output


class Own(nn.Module):
    """Focal loss, as published implementations write it."""

    def forward(self, output, y):
        chances = torch.softmax(output, -1)[torch.arange(len(y)), y]
        return -((1 - chances) ** 2 * chances.log()).mean()


def by_hand(output, y):
    return (output.exp().sum(1).log() - output[torch.arange(len(y)), y]).mean()


def center(output, y):
    features = output[0]
    return ((features - centers[y]) ** 2).sum(1).mean() / 50


def one_hot(y):
    return F.one_hot(y, CLASSES).float()


LOSSES = {
    "cross_entropy": F.cross_entropy,
    "module": nn.CrossEntropyLoss(),
    "nll": lambda output, y: F.nll_loss(F.log_softmax(output, dim=1), y),
    "nll_of_log": F.nll_loss,
    "bce_logits": lambda output, y: F.binary_cross_entropy_with_logits(output, one_hot(y)),
    "bce": lambda output, y: nn.BCELoss()(output.sigmoid(), one_hot(y)),
    "smooth": nn.CrossEntropyLoss(label_smoothing=0.1),
    "soft": lambda output, y: F.cross_entropy(output / 2, 0.8 * one_hot(y) + 0.2 / CLASSES),
    "own": Own(),
    "by_hand": by_hand,
    "margin": nn.MultiMarginLoss(),
    "squares": lambda output, y: F.mse_loss(output, one_hot(y)),
}

parser = argparse.ArgumentParser()
parser.add_argument("form")
parser.add_argument("--loss", choices=LOSSES, default="cross_entropy")
parser.add_argument("--evaluate-first", action="store_true")
parser.add_argument("--eval-loss", action="store_true")
parser.add_argument("--center", action="store_true")
parser.add_argument("--compile", action="store_true")
parser.add_argument("--ddp", action="store_true")
parser.add_argument("--keep-graph", action="store_true", help="Evaluate without no_grad.")
args = parser.parse_args()

torch.manual_seed(0)
model, outer, centers = Net(args.form), nn.Linear(FEATURES, CLASSES), torch.randn(CLASSES, FEATURES)
trained = torch.compile(model, backend="eager") if args.compile else model
if args.ddp:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    trained = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
optimizer = torch.optim.SGD([*model.parameters(), *outer.parameters()], lr=0.2)
train_loader = DataLoader(Blobs(1, 96), batch_size=16, shuffle=True)
val_loader = DataLoader(Blobs(2, 50), batch_size=16)
loss = LOSSES[args.loss]


def evaluate():
    trained.eval()
    correct = 0
    with torch.set_grad_enabled(args.keep_graph):
        for x, y in val_loader:
            logits = logits_of(trained(x))
            if args.eval_loss:
                loss(logits, y)
            correct += (logits.argmax(1) == y).sum().item()
    print("accuracy", correct / 50)


if args.evaluate_first:
    evaluate()
for _ in range(2):
    trained.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        output = trained(x)
        total = loss(logits_of(output), y)
        if args.form == "aux":
            total = total + 0.4 * loss(output[0], y)
        if args.center:
            total = total + center(output, y)
        total.backward()
        optimizer.step()
    evaluate()
if args.ddp:
    distributed.destroy_process_group()
