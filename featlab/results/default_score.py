"""The alignment score to trust first: one of the hundred and more that an analysis gives for a layer.

`rsa_spearman` of cosine distances with path distances. `python -m benchmarks.alignment_scores` plants trees under noise
of six kinds: correlations of cosine distances find them most often and hold their level, with path distances as often
as with others. Values find a few more than ranks where distances grow with the path along a line, as planted ones do;
ranks ask for no line, and their interval covers better (`python -m benchmarks.alignment_coverage`). docs/layers.md has
the tables.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SCORE = MappingProxyType({"score": "rsa_spearman", "metric": "cosine", "taxonomy_distance": "path"})


def default_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of the default score from the table `alignment` or `alignment_change`.

    An analysis without cosine or path distances has another metric, or another distance of the taxonomy, in its place:
    the first that it has.

    Examples
    --------
    >>> import pandas as pd
    >>> keys = {"score": "rsa_spearman", "taxonomy_distance": ["path", "wup"] * 2}
    >>> table = pd.DataFrame({**keys, "metric": ["euclidean"] * 2 + ["cosine"] * 2, "value": [1, 2, 3, 4]})
    >>> default_rows(table).value.tolist(), default_rows(table[:2]).value.tolist()
    ([3], [1])
    """
    rows = table[table["score"] == DEFAULT_SCORE["score"]]
    for column in ("metric", "taxonomy_distance"):
        there = rows[column].unique()
        if len(there):
            wanted = DEFAULT_SCORE[column]
            rows = rows[rows[column] == (wanted if wanted in there else there[0])]
    return rows
