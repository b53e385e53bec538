"""Train a small text classifier on made-up tokens with the Trainer of Transformers."""

import argparse
import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

warnings.filterwarnings("ignore")


class Tokens(Dataset):
    """Sentences of eight tokens; each class prefers tokens of its own."""

    def __init__(self, seed, rows):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(3, (rows,), generator=generator)
        noise = torch.randint(30, (rows, 8), generator=generator)
        own = self.labels[:, None] * 10 + torch.randint(10, (rows, 8), generator=generator)
        self.tokens = torch.where(torch.rand(rows, 8, generator=generator) < 0.6, own, noise)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


def network():
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=3,
    )
    return BertForSequenceClassification(config)


def accuracy(prediction):
    hits = int((prediction.predictions.argmax(1) == prediction.label_ids).sum())
    print("val", hits)
    return {"hits": hits}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--eval-steps", type=int)
    parser.add_argument("--save")
    args = parser.parse_args()
    set_seed(0)
    model = network()
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=args.folder,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=16,
            learning_rate=1e-2,
            eval_strategy="steps" if args.eval_steps else "epoch",
            eval_steps=args.eval_steps,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            dataloader_num_workers=args.workers,
        ),
        train_dataset=Tokens(1, 96),
        eval_dataset=Tokens(2, 50),
        compute_metrics=accuracy,
    )
    trainer.train()
    if args.save:
        torch.save(model.state_dict(), args.save)
