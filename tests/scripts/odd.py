"""Scripts that are written in less usual ways, one for each name."""

import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

torch.manual_seed(0)
X, Y = torch.randn(40, 4), torch.arange(40) % 3
DATA = TensorDataset(X, Y)
HELD_OUT = TensorDataset(X[:30] + 1, Y[:30])


def network():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def fit(model, batches, to_loss=F.cross_entropy):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        to_loss(model(x), y).backward()
        optimizer.step()
    model.eval()


def no_loader():
    model = network()
    fit(model, [(X, Y)])
    model(X)


def no_model():
    for x, _ in DataLoader(DATA, batch_size=8):
        x.mean()


def no_evaluation():
    fit(network(), DataLoader(DATA, batch_size=8))


def no_labels():
    """The targets are a distribution, and so is the second element."""
    one_hot = TensorDataset(X, F.one_hot(Y, 3).float())
    model = network()
    fit(model, DataLoader(one_hot, batch_size=8))
    held_out = TensorDataset(X, F.one_hot(Y, 3).float())
    for x, y in DataLoader(held_out, batch_size=8):
        F.cross_entropy(model(x), y)


def labels_of_the_loss():
    """The batch has one-hot labels, and the loss gets class numbers."""
    one_hot = TensorDataset(X, F.one_hot(Y, 3).float())
    model = network()
    fit(model, DataLoader(one_hot, batch_size=8), lambda output, y: F.cross_entropy(output, y.argmax(1)))
    held_out = TensorDataset(X, F.one_hot(Y, 3).float())
    with torch.no_grad():
        for x, y in DataLoader(held_out, batch_size=8):
            nn.NLLLoss()(model(x).log_softmax(1), target=y.argmax(1))


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


def stream():
    model = network()
    fit(model, DataLoader(Stream(), batch_size=8))
    with torch.no_grad():
        for x, _ in DataLoader(Stream(), batch_size=8):
            model(x)


class Named(Dataset):
    """Dicts, as in Hugging Face's data sets; and class names, as in torchvision's."""

    def __init__(self):
        self.classes = ["cat", "dog", "eel"]

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return {"pixels": X[index], "labels": Y[index]}


class Named2(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, *, pixels):
        return {"logits": self.body(pixels)}


def dicts():
    model = Named2()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in DataLoader(Named(), batch_size=8, shuffle=True):
        optimizer.zero_grad()
        F.cross_entropy(model(pixels=batch["pixels"])["logits"], batch["labels"]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for batch in DataLoader(Subset(Named(), range(30)), batch_size=8):
            model(pixels=batch["pixels"])


def one_data_set():
    """Training and validation draw from one data set with two samplers."""
    model = network()
    order = torch.randperm(40).tolist()
    train = DataLoader(DATA, batch_size=8, sampler=SubsetRandomSampler(order[:30]))
    val = DataLoader(DATA, batch_size=8, sampler=SubsetRandomSampler(order[30:]))
    print("held out", *sorted(order[30:]))
    for _ in range(2):
        fit(model, train)
        with torch.no_grad():
            for x, _ in val:
                model(x)


def one_ahead(loader):
    batches = iter(loader)
    held = next(batches)
    for batch in batches:
        yield held
        held = batch
    yield held


def two_ahead(loader):
    held = []
    for batch in loader:
        held.append(batch)
        if len(held) == 2:
            yield from held
            held = []
    yield from held


def train_ahead(ahead, change=lambda x: x, left_out=()):
    """Batches are drawn before the model is called on those before."""
    model = network()
    train = DataLoader(DATA, batch_size=8, shuffle=True)
    held_out = DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True)
    for _ in range(2):
        fit(model, ahead(train))
        with torch.no_grad():
            for number, (x, _) in enumerate(ahead(held_out)):
                if number not in left_out:
                    model(change(x))


def read_ahead():
    train_ahead(one_ahead)


def read_two_ahead():
    train_ahead(two_ahead)


def changed_ahead():
    train_ahead(one_ahead, change=lambda x: x + 1)


def left_out_ahead():
    train_ahead(one_ahead, left_out=[2])


def left_out_last():
    train_ahead(one_ahead, left_out=[4])


def peek():
    """A look at the first batch, and next() as often as there are batches."""
    loader = DataLoader(DATA, batch_size=8)
    images, _ = next(iter(loader))
    model = network()
    model(images)
    fit(model, loader)
    held_out = DataLoader(HELD_OUT, batch_size=8)
    batches = iter(held_out)
    with torch.no_grad():
        for _ in range(len(held_out)):
            x, _ = next(batches)
            model(x)
            model(x + 1)


def compiled():
    model = torch.compile(network(), backend="eager")
    for _ in range(2):
        fit(model, DataLoader(DATA, batch_size=8))
        with torch.no_grad():
            for x, _ in DataLoader(HELD_OUT, batch_size=10):
                model(x)


def swallowed():
    """A loop that hides what goes wrong in it."""
    model = network()
    fit(model, DataLoader(DATA, batch_size=8))
    try:
        for x, _ in DataLoader(HELD_OUT, batch_size=8):
            model(x[:3])
    except RuntimeError as error:
        print("went on after", type(error).__name__)


def interrupted():
    model = network()
    fit(model, DataLoader(DATA, batch_size=8))
    for number, (x, _) in enumerate(DataLoader(HELD_OUT, batch_size=8)):
        model(x)
        if number == 2:
            raise KeyboardInterrupt


if __name__ == "__main__":
    globals()[sys.argv[1]]()
