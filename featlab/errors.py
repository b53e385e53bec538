"""Everything that featlab raises or warns.

    FeatlabError
    ├── StoreError
    │   ├── NotAStoreError (FileNotFoundError)      the path holds no run
    │   ├── NotInStoreError (KeyError)              an epoch, split or layer that the run lacks
    │   ├── EpochExistsError (FileExistsError)      committed already, and not to be overwritten
    │   └── CorruptStoreError                       a missing chunk, a failing checksum
    ├── DataError (ValueError)                      labels out of range, non-finite features, lengths that differ
    ├── CaptureError (RuntimeError)                 the hooks or their writer could not do their work
    │   └── LayerNotFoundError (LookupError)        a layer glob that matches nothing
    ├── TaxonomyError (ValueError)                  a cycle, two roots, a class that is not there
    ├── OptionError (ValueError)                    an argument that cannot be served
    └── ResultsError                                a path that holds no results

    FeatlabWarning (UserWarning)                    what a person should know, and what went on all the same

Every message is one sentence: the cause, the offending value, the remedy.
"""


class FeatlabError(Exception):
    """The base of every error that featlab raises on purpose."""


class StoreError(FeatlabError):
    """Something about a stored run."""


class NotAStoreError(StoreError, FileNotFoundError):
    """The path holds no featlab run."""


class NotInStoreError(StoreError, KeyError):
    """The run has no such epoch, split or layer."""

    __str__ = Exception.__str__  # KeyError would print the message quoted


class EpochExistsError(StoreError, FileExistsError):
    """The (epoch, split) is committed already."""


class CorruptStoreError(StoreError):
    """A chunk is missing or fails its checksum."""


class DataError(FeatlabError, ValueError):
    """The data cannot mean what it claims to."""


class CaptureError(FeatlabError, RuntimeError):
    """Capturing could not go on."""


class LayerNotFoundError(CaptureError, LookupError):
    """A layer glob matches no module."""


class TaxonomyError(FeatlabError, ValueError):
    """The hierarchy is not a rooted acyclic graph over the classes."""


class OptionError(FeatlabError, ValueError):
    """An argument that cannot be served."""


class ResultsError(FeatlabError):
    """The path holds no featlab results."""


class FeatlabWarning(UserWarning):
    """What a person should know, and what went on all the same."""
