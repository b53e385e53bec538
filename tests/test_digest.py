"""The digest of a model's weights: what changes it, and that no kind of parameter breaks it."""

import pytest
import torch
from torch import nn

from featlab.capture.model.digest import weights_digest


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_the_same_bytes_in_another_shape_are_other_weights():
    models = [nn.Module() for _ in range(3)]
    for model, shape, dtype in zip(
        models, [(2, 8), (4, 4), (4, 4)], [torch.float32, torch.float32, torch.int32], strict=True
    ):
        model.weight = nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False)
    assert len({weights_digest(model) for model in models}) == 3


def test_a_digest_is_of_the_weights_alone():
    model = network()
    digest = weights_digest(model)
    assert digest == weights_digest(network()) != weights_digest(network(1))
    assert digest == weights_digest(nn.DataParallel(model))
    model.train()(torch.randn(9, 6))  # running statistics
    assert digest == weights_digest(model)
    shared = nn.ModuleList([model, model[0], nn.Linear(6, 8)])
    shared[2].weight = model[0].weight
    shared[2].bias = nn.Parameter(model[0].bias.detach().clone())  # as of a checkpoint that held it twice
    assert digest == weights_digest(shared)
    with torch.no_grad():
        model[3].bias[1] = -model[3].bias[1]
    assert digest != weights_digest(model)
    assert weights_digest(network().double()) != digest


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor")
def test_parameters_of_any_kind_have_a_digest():
    values = torch.arange(12.0).reshape(3, 4)
    kinds = {
        "transposed": values.t(),
        "scalar": torch.tensor(1.0),
        "empty": values[:0],
        "half": values.bfloat16(),
        "eighth": values.to(torch.float8_e4m3fn),
        "integer": values.int(),
        "complex": torch.complex(values, values).conj(),
        "sparse": values.to_sparse(),
        "rows": values.to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(values, 0.1, 0, torch.qint8),
    }
    digests = set()
    for name, value in kinds.items():
        module = nn.Module()
        module.weight = nn.Parameter(value, requires_grad=False)
        digest = weights_digest(module)
        assert digest == weights_digest(module), name
        digests.add(digest)
    assert len(digests) == len(kinds) - 1  # "sparse" and "rows" hold the same
    assert weights_digest(nn.Linear(2, 3, device="meta")) is None
    assert weights_digest(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3))) is None
    assert weights_digest(nn.ReLU()) is None
