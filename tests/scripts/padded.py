"""Evaluate a small classifier of sentences of different lengths, padded batch by batch."""

import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

WORDS, WIDTH, CLASSES = 30, 8, 3


def sentences(rows=107):
    """Token ids, 0 being padding, and labels."""
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, 20, (rows,), generator=generator)
    return [torch.randint(1, WORDS, (int(n),), generator=generator) for n in lengths], torch.arange(rows) % CLASSES


class Gru(nn.Module):
    """Packs, and works on what is packed."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.rnn = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.rnn(packed)[1][-1])


class Lstm(nn.Module):
    """Tokens first, as is torch's default, and padded anew after the recurrence."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.rnn = nn.LSTM(WIDTH, WIDTH)
        self.after = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embed(ids).transpose(0, 1), lengths, enforce_sorted=False)
        tokens = self.after(pad_packed_sequence(self.rnn(packed)[0])[0])
        return self.head(tokens[lengths - 1, torch.arange(len(lengths))])


class Encoder(nn.Module):
    """Makes its mask of the ids, inside."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        padding = ids == 0
        tokens = self.encoder(self.embed(ids), src_key_padding_mask=padding)
        kept = (~padding)[..., None]
        return self.head((tokens * kept).sum(1) / kept.sum(1))


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        num_labels=CLASSES,
    )
    return BertForSequenceClassification(config)


MODELS = {"gru": Gru, "lstm": Lstm, "encoder": Encoder, "bert": bert}


def collate(name, side):
    """Pad to the longest sentence of the batch."""

    def call(samples):
        # PyTorch pads on the left itself from 2.5 on; before, one pads what is turned round.
        turn = (lambda tokens: tokens.flip(-1)) if side == "left" else (lambda tokens: tokens)
        ids = turn(pad_sequence([turn(tokens) for tokens, _ in samples], batch_first=True))
        labels = torch.stack([label for _, label in samples])
        if name == "encoder":
            return ids, labels
        if name == "bert":
            return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}
        return {"ids": ids, "lengths": torch.tensor([len(tokens) for tokens, _ in samples]), "labels": labels}

    return call


def loader(name, batch_size, side="right"):
    return DataLoader(list(zip(*sentences(), strict=True)), batch_size, collate_fn=collate(name, side))


def network(name):
    torch.manual_seed(0)
    return MODELS[name]().eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, default="encoder")
    parser.add_argument("--batch", type=int, default=7)
    parser.add_argument("--side", default="right")
    args = parser.parse_args()
    model = network(args.model)
    with torch.no_grad():
        for batch in loader(args.model, args.batch, args.side):
            if isinstance(batch, dict):
                model(**{name: value for name, value in batch.items() if name != "labels"})
            else:
                model(batch[0])
