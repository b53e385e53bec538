"""Train a small transformer to tell the class of an article from its text, on either of DBpedia's two CSV data sets.

    python train.py --data DIR

The ontology classification data set has train.csv and test.csv without a header (class from 1, title, content) and
classes.txt. The one with three levels has a header with the columns text, l1, l2 and l3; its classes are called
l1/l2/l3 here, so that their names tell the hierarchy. Needs torch.
"""

import argparse
import csv
import re
import zlib
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

PADDING = 0


def rows_of(folder: Path, stem: str) -> tuple[list[str], list[str]]:
    """Read the texts of a file, and the name of the class of each."""
    file = next((path for path in sorted(folder.iterdir()) if path.name.lower().endswith(f"{stem}.csv")), None)
    if file is None:
        raise SystemExit(f"{folder} holds no file that ends in {stem}.csv")
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))
    if {"text", "l1", "l2", "l3"} <= set(rows[0]):
        column = {name: number for number, name in enumerate(rows[0])}
        levels = [column[name] for name in ("l1", "l2", "l3")]
        return [row[column["text"]] for row in rows[1:]], ["/".join(row[at] for at in levels) for row in rows[1:]]
    names = (folder / "classes.txt").read_text(encoding="utf-8").split()
    return [f"{title} {content}" for _, title, content in rows], [names[int(number) - 1] for number, *_ in rows]


class Articles(Dataset):
    """Texts as numbers of their first words, padded to one length, and their classes."""

    def __init__(self, texts: list[str], names: list[str], classes: list[str], words: int, vocabulary: int) -> None:
        self.classes = classes
        number = {name: label for label, name in enumerate(classes)}
        self.labels = torch.tensor([number[name] for name in names])
        self.tokens = torch.full((len(texts), words), PADDING)
        for row, text in enumerate(texts):
            found = re.findall(r"\w+", text.lower())[:words] or ["?"]
            hashed = [1 + zlib.crc32(word.encode()) % (vocabulary - 1) for word in found]
            self.tokens[row, : len(hashed)] = torch.tensor(hashed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tokens[index], self.labels[index]


class Reader(nn.Module):
    """Words and their places, some layers of attention, and the mean over the words that are there."""

    def __init__(self, classes: int, vocabulary: int, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.place = nn.Parameter(0.02 * torch.randn(words, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.fc = nn.Linear(width, classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        padding = tokens == PADDING
        x = self.encoder(self.embedding(tokens) + self.place, src_key_padding_mask=padding)
        kept = (~padding)[:, :, None]
        return self.fc((x * kept).sum(1) / kept.sum(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the CSV files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--words", type=int, default=64, help="read of each article")
    parser.add_argument("--vocabulary", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_rows, test_rows = rows_of(args.data, "train"), rows_of(args.data, "test")
    names = dict.fromkeys(train_rows[1])
    listed = args.data / "classes.txt"
    classes = (
        [name for name in listed.read_text(encoding="utf-8").split() if name in names]
        if listed.exists()
        else sorted(names)
    )
    train = Articles(*train_rows, classes, args.words, args.vocabulary)
    test = Articles(*test_rows, classes, args.words, args.vocabulary)
    train_loader = DataLoader(train, args.batch, shuffle=True, drop_last=True)
    test_loader = DataLoader(test, args.batch)
    model = Reader(len(classes), args.vocabulary, args.words, args.width, args.layers).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), args.lr)

    for epoch in range(args.epochs + 1):  # before the first training pass the network is looked at untrained
        model.eval()
        right = 0
        with torch.no_grad():
            for tokens, labels in test_loader:
                right += (model(tokens.to(device)).argmax(1) == labels.to(device)).sum().item()
        print(f"epoch {epoch}: accuracy {right / len(test):.3f}", flush=True)
        if epoch == args.epochs:
            break
        model.train()
        for tokens, labels in train_loader:
            loss = nn.functional.cross_entropy(model(tokens.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
