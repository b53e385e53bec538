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

_LONGEST = 700  # characters of a message: a value in it may be of any length
_KEPT_AT_END = 250  # of a longer one: the remedy


def escaped(text: str) -> str:
    r"""Return text with what would steer a terminal written as escapes.

    Examples
    --------
    >>> escaped("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_sentence(text: str) -> str:
    r"""Return a message in one line of bounded length, whatever the values in it.

    Examples
    --------
    >>> one_sentence("the name 'a\nb' is no name;\n  give another.")
    "the name 'a b' is no name; give another."
    """
    line = escaped(" ".join(part.strip() for part in text.splitlines()))
    if len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST - _KEPT_AT_END - 5]} ... {line[-_KEPT_AT_END:]}"


class FeatlabError(Exception):
    """The base of every error that featlab raises on purpose."""

    def __str__(self) -> str:
        """Return the message in one line of bounded length."""
        return one_sentence(super().__str__())


class StoreError(FeatlabError):
    """Something about a stored run."""


class NotAStoreError(StoreError, FileNotFoundError):
    """The path holds no featlab run."""


class NotInStoreError(StoreError, KeyError):
    """The run has no such epoch, split or layer."""

    def __str__(self) -> str:
        """Return the message, which KeyError would quote."""
        return one_sentence(Exception.__str__(self))


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
    """Warning of what a person should know; the work went on all the same."""
