"""Train and evaluate on batches of several forms, without a loss in the evaluation; the form is the argument."""

import argparse

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

parser = argparse.ArgumentParser()
parser.add_argument("form")
parser.add_argument("--first", action="store_true", help="evaluate before training, too")
parser.add_argument("--ahead", action="store_true", help="draw a batch before the one before it is worked on")
args = parser.parse_args()


def samples(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (rows,), generator=generator)
    ids = torch.randint(1, 20, (rows, 5), generator=generator) * (torch.arange(5) < lengths[:, None])
    return [(ids[row], lengths[row], (ids[row, 0] + row) % 3, row) for row in range(rows)]


def collate(rows):
    ids, lengths, labels = (torch.stack([row[part] for row in rows]) for part in range(3))
    mask = (ids != 0).long()
    index = torch.tensor([row[3] for row in rows])
    if args.form == "mask":
        return ids, mask, labels
    if args.form == "lengths":
        return ids, lengths, labels
    if args.form == "index":
        return ids, labels, index
    if args.form == "keys":
        return {"text": ids, "length": lengths, "category": labels}
    if args.form == "nested":
        return ids, {"length": lengths, "category": labels}
    from transformers import BatchEncoding

    encoding = BatchEncoding({"input_ids": ids, "attention_mask": mask})
    return (encoding, labels) if args.form == "pair" else BatchEncoding({**encoding, "category": labels})


def taken_apart(batch):
    """Inputs by name, and labels."""
    if args.form == "mask":
        return {"input_ids": batch[0], "attention_mask": batch[1]}, batch[2]
    if args.form == "lengths":
        return {"input_ids": batch[0], "lengths": batch[1]}, batch[2]
    if args.form == "index":
        return {"input_ids": batch[0]}, batch[1]
    if args.form == "keys":
        return {"input_ids": batch["text"], "lengths": batch["length"]}, batch["category"]
    if args.form == "nested":
        return {"input_ids": batch[0], "lengths": batch[1]["length"]}, batch[1]["category"]
    if args.form == "pair":
        return dict(batch[0]), batch[1]
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}, batch["category"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, input_ids, attention_mask=None, lengths=None):
        return self.head(self.embed(input_ids).mean(1))


def drawn(loader):
    batches = iter(loader)
    if not args.ahead:
        yield from batches
        return
    held = next(batches)
    for batch in batches:
        yield held
        held = batch
    yield held


def evaluate():
    model.eval()
    hits = 0
    with torch.no_grad():
        for batch in drawn(held_out):
            inputs, labels = taken_apart(batch)
            hits += int((model(**inputs).argmax(1) == labels).sum())
    print("correct", hits)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train = DataLoader(samples(1, 48), 8, shuffle=True, collate_fn=collate)
    held_out = DataLoader(samples(2, 20), 8, shuffle=True, collate_fn=collate)
    if args.first:
        evaluate()
    for _ in range(2):
        model.train()
        for batch in drawn(train):
            inputs, labels = taken_apart(batch)
            optimizer.zero_grad()
            F.cross_entropy(model(**inputs), labels).backward()
            optimizer.step()
        evaluate()
