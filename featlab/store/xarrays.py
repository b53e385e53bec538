"""Stored arrays as xarray's data sets and trees; xarray itself is optional, and imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import OptionError
from featlab.store.layout import feature_dimension

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

# Dimensions and variables of every data set. A layer may bear any of these names, and xarray has one of each.
_TAKEN = ("sample", "class", "sample_id", "label", "synset", "logits")


def require_xarray(method: str, name: str) -> None:
    """Raise OptionError where xarray is not installed, or too old to have what a method of ours makes.

    Parameters
    ----------
    method
        The method, for the sentence.
    name
        Of xarray's class that it makes, such as ``DataTree``.
    """
    try:
        import xarray as xr
    except ImportError as error:
        raise OptionError(f"{method} needs xarray, which is not installed; install featlab[xarray]") from error
    if not hasattr(xr, name):
        raise OptionError(f"{method} needs xarray's {name}, which {xr.__version__} lacks; install featlab[xarray]")


def variable_name(layer: str) -> str:
    """Name the variable that holds a layer: the layer itself, unless a dimension or coordinate is called so.

    Examples
    --------
    >>> variable_name("layer4.1.conv2"), variable_name("logits")
    ('layer4.1.conv2', 'layer(logits)')
    """
    return f"layer({layer})" if layer in _TAKEN else layer


def as_dataset(
    features: Mapping[str, da.Array],
    logits: da.Array | None,
    sample_ids: NDArray[np.int64],
    labels: NDArray[np.int64],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """One (epoch, split): a variable for each layer, with its samples and their labels as coordinates.

    Parameters
    ----------
    features
        Layer to its features, of shape (rows, D).
    logits
        Outputs of the classifier, of shape (rows, K), or None.
    sample_ids, labels
        Of the rows, each of shape (rows,).
    attrs
        Attributes of the data set.
    """
    import xarray as xr

    data: dict[str, Any] = {
        variable_name(layer): (("sample", feature_dimension(layer)), rows) for layer, rows in features.items()
    }
    if logits is not None:
        data["logits"] = (("sample", "class"), logits)
    return xr.Dataset(data, {"sample_id": ("sample", sample_ids), "label": ("sample", labels)}, attrs)


def as_datatree(
    nodes: Mapping[str, xr.Dataset], classes: Sequence[str], synsets: Sequence[str] | None, model: str | None
) -> xr.DataTree:
    """Data sets by their place in the tree, below a root that names the classes: its index reaches every node."""
    import xarray as xr

    coords: dict[str, Any] = {"class": list(classes)}
    if synsets is not None:
        coords["synset"] = ("class", list(synsets))
    root = xr.Dataset(coords=coords, attrs={} if model is None else {"model": model})
    return xr.DataTree.from_dict({"/": root, **nodes})
