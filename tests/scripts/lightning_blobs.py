"""Train a small network on Gaussian blobs with Lightning's Trainer."""

import argparse
import logging
import warnings

import lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

# Lightning's advice about workers and logging intervals.
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def blobs(seed, rows=96, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    centers = 3 * torch.eye(classes, 6)
    return TensorDataset(centers[labels] + torch.randn(rows, 6, generator=generator), labels)


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.hidden(x))

    def training_step(self, batch, batch_index):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_index):
        x, y = batch
        output = self(x)
        self.correct += int((output.argmax(1) == y).sum())
        self.log("val_loss", F.cross_entropy(output, y))

    def on_validation_epoch_start(self):
        self.correct = 0

    def on_validation_epoch_end(self):
        print("val", self.correct, "sanity" if self.trainer.sanity_checking else "")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class WithBody(Classifier):
    """The network is a module of the LightningModule, and the steps call only it, as most examples do."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential()
        self.model.add_module("hidden", self.hidden)
        self.model.add_module("head", self.head)
        del self.hidden, self.head

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_index):
        x, y = batch
        return F.cross_entropy(self.model(x), y)

    def validation_step(self, batch, batch_index):
        x, y = batch
        output = self.model(x)
        self.correct += int((output.argmax(1) == y).sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--body", action="store_true")
    parser.add_argument("--sanity", type=int, default=2)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--save")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = WithBody() if args.body else Classifier()
    options = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=args.sanity,
        val_check_interval=args.interval,
    )
    trainer.fit(
        model,
        DataLoader(blobs(1), batch_size=16, shuffle=True, **options),
        DataLoader(blobs(2, 50), batch_size=16, **options),
    )
    if args.save:
        torch.save(model.state_dict(), args.save)
