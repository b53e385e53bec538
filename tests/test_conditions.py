"""The grammar of `--where`: it keeps the rows that pandas' query keeps, and refuses what would hang."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hostile_cases import CONDITIONS
from hypothesis import given
from hypothesis import strategies as st

from featlab.errors import OptionError
from featlab_cli.conditions import missed, rows_where

FRAME = pd.DataFrame(
    {"epoch": [0, 1, 2, 3], "layer": ["a", "b", "a", None], "nc1": [0.5, np.nan, 2.0, -1.0], "class": [3, 2, 1, 0]}
)


@pytest.mark.parametrize("name", ["a power", "powers of texts"])
def test_what_would_hang_or_fill_memory_is_refused(name):
    with pytest.raises(OptionError, match="cannot be evaluated"):
        rows_where(FRAME, CONDITIONS[name], "it has columns")


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("epoch == 1", [1]),
        ("0 < epoch <= 2", [1, 2]),
        ("layer == 'a' and not epoch == 0", [2]),
        ("layer == 'a' & epoch == 0 | epoch == 3", [0, 3]),
        ("~(layer == 'a')", [1, 3]),
        ("layer in ['a', 'x'] or epoch in (3,)", [0, 2, 3]),
        ("layer not in ['a']", [1, 3]),
        ("layer == ['a', 'b']", [0, 1, 2]),
        ("`class` > epoch", [0, 1]),
        ("`class` in [0] or layer == '`class` & |'", [3]),
        ("nc1 == nc1 and nc1 < -0.5", [3]),
        ("epoch % 2 == 0 and epoch * 2 - 1 > -(2)", [0, 2]),
        ("epoch < 1e300 and epoch < 99999999999999999999999", [0, 1, 2, 3]),
        ("1 == epoch\n", [1]),
        ("(epoch == 1)", [1]),
        ("layer == '\\d'", []),
    ],
)
def test_conditions_keep_the_rows_that_they_name(condition, kept):
    assert rows_where(FRAME, condition, "it has columns").index.tolist() == kept


def test_of_many_names_the_near_ones_are_told():
    names = [f"layer{number}" for number in range(30)]
    frame = pd.DataFrame({"layer": [*names, "penultimate"]})
    assert missed(frame, "layer == 'penultimat'")[0].startswith("layer holds 'penultimate', 'layer0', ")


def test_a_column_that_holds_nothing_is_compared_with_anything():
    assert rows_where(FRAME.assign(name=np.nan), "name == 'a'", "it has columns").empty
    assert missed(FRAME.assign(name=np.nan), "name == 'a'") == []


def test_an_empty_table_stays_empty():
    assert rows_where(FRAME.head(0).astype(object), "epoch > 1 and layer == 'a'", "it has columns").empty


_NUMBERS = st.sampled_from(["epoch", "nc1", "0", "1.5", "-1", "(epoch + 1)", "2 * nc1", "epoch / 2"])
_ATOMS = st.one_of(
    st.builds("{} {} {}".format, st.sampled_from(["epoch", "nc1"]), st.sampled_from(["==", "!=", "<", ">="]), _NUMBERS),
    st.builds("layer {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(["'a'", '"b"', "layer"])),
    st.builds("layer {} {}".format, st.sampled_from(["in", "not in", "=="]), st.sampled_from(["['a']", "['a', 'b']"])),
    st.builds("{} < epoch <= {}".format, _NUMBERS, _NUMBERS),
)
_CONDITIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner),
        st.builds("{}({})".format, st.sampled_from(["not ", "~", ""]), inner),
    ),
    max_leaves=5,
)


@given(_CONDITIONS)
def test_conditions_mean_what_they_mean_to_pandas(condition):
    frame = FRAME.assign(layer=["a", "b", "a", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = frame.query(condition, engine="python").index.tolist()
    assert rows_where(frame, condition, "it has columns").index.tolist() == expected
