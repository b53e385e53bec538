"""The networks of the demos, and a plain training loop."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(n_features: int, n_classes: int, *, hidden: Sequence[int] = (256, 256, 128), seed: int = 0) -> nn.Sequential:
    """Build a multilayer perceptron whose layers are named hidden1, hidden2, ... and classifier.

    Parameters
    ----------
    n_features, n_classes
        Width of the input and of the output.
    hidden
        Width of each hidden layer, which is a Linear and a ReLU.
    seed
        Of the initial weights.

    Returns
    -------
    torch.nn.Sequential

    Examples
    --------
    >>> [name for name, _ in mlp(8, 3, hidden=(4, 4)).named_children()]
    ['hidden1', 'hidden2', 'classifier']
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = [n_features, *hidden]
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            blocks[f"hidden{number}"] = nn.Sequential(nn.Linear(before, after), nn.ReLU())
        blocks["classifier"] = nn.Linear(widths[-1], n_classes)
        return nn.Sequential(blocks)


def small_cnn(n_classes: int, *, seed: int = 0) -> nn.Sequential:
    """Build a convolutional network for (N, 1, 28, 28): three strided convolutions, one hidden layer, a classifier.

    Parameters
    ----------
    n_classes
        Width of the output.
    seed
        Of the initial weights.

    Returns
    -------
    torch.nn.Sequential

    Examples
    --------
    >>> tuple(small_cnn(10)(torch.zeros(2, 1, 28, 28)).shape)
    (2, 10)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (before, after) in enumerate(((1, 16), (16, 32), (32, 64)), start=1):
            strided = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)
            blocks[f"conv{number}"] = nn.Sequential(strided, nn.BatchNorm2d(after), nn.ReLU())
        blocks["hidden"] = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU())
        blocks["classifier"] = nn.Linear(128, n_classes)
        return nn.Sequential(blocks)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while.

    Examples
    --------
    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_passes(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Iterator[int]:
    """Train with Adam and cross-entropy, yielding the number of completed passes after each.

    Parameters
    ----------
    model
        Trained in place.
    inputs
        Tensor of shape (n_samples, ...).
    labels
        int64 tensor of shape (n_samples,).
    epochs, batch_size, learning_rate
        How to train.
    seed
        Of the order of the samples.

    Yields
    ------
    int
        1, 2, ..., epochs.

    Examples
    --------
    >>> list(training_passes(mlp(2, 2, hidden=(4,)), torch.eye(2), torch.tensor([0, 1]), epochs=2))
    [1, 2]
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    order = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        model.train()
        drawn = torch.randperm(len(inputs), generator=order)
        for start in range(0, len(drawn), batch_size):
            batch = drawn[start : start + batch_size]
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(nn.functional.cross_entropy(model(inputs[batch]), labels[batch]))
            optimiser.step()
        yield epoch
