"""Other names for the classes of a run that is stored: only the attributes of the run change, in one piece."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

from featlab.errors import FeatlabWarning, OptionError
from featlab.messages import listed
from featlab.store.attributes import RunAttributes, read_run
from featlab.store.files import StorePath, disk_errors, store_path, write_group
from featlab.store.lock import hold, one_at_a_time
from featlab.store.seals import sealed


def rename_classes(
    path: StorePath, names: Sequence[str] | None = None, *, synsets: Sequence[str] | None = None
) -> RunAttributes:
    """Give the classes of a run other names, or synsets; labels, rows and commit records stay as they are.

    Parameters
    ----------
    path
        The run.
    names, synsets
        K of them, in the order of the labels; None for those that the classes have.

    Returns
    -------
    RunAttributes
        As they are from now on.

    Raises
    ------
    DataError
        Another number of names than there are classes.
    OptionError
        What is no list of names; neither names nor synsets.
    StoreError
        Another process writes to the run.

    Examples
    --------
    >>> import tempfile
    >>> from featlab import write_epoch
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> write_epoch(path, epoch=0, features={"fc": [[1.0], [2.0]]}, labels=[0, 1])
    >>> rename_classes(path, ["cat", "dog"]).shown_classes
    ['cat', 'dog']
    """
    if names is None and synsets is None:
        raise OptionError("there are neither names nor synsets to rename the classes to: give one of them.")
    root = store_path(path)
    remedy = "check that there is space, and that it may be written to"
    with disk_errors(f"renaming the classes of {root}", remedy, root):
        read_run(root)  # what is no run is refused before anything is put there
        holding = hold(root, None)
        try:
            with one_at_a_time:
                held = read_run(root)
                renamed = held.renamed(names, synsets, root)
                if renamed != held:
                    write_group(root, sealed(renamed.to_json()))
        finally:
            holding.release()
    _warn_repeated(renamed.shown_classes)
    return renamed


def _warn_repeated(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        warnings.warn(
            f"several classes are called {listed(twice, 3)}, and a hierarchy needs a name for each: make them differ.",
            FeatlabWarning,
            stacklevel=3,
        )
