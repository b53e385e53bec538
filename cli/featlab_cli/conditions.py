"""Conditions on the rows of a table, as `--where` takes them: a small grammar, evaluated here and never run as code."""

from __future__ import annotations

import ast
import difflib
import functools
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from featlab.errors import OptionError
from featlab.messages import elided, near_names

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 2000  # characters
DEEPEST = 50  # nested operators
SHOWN_VALUES = 6  # of a column, in a sentence about it

# What pandas' query language writes otherwise than Python. Strings come first, so that nothing within them is changed.
_TOKEN = re.compile(
    r"(?P<text>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")|`(?P<name>[^`]*)`|(?P<both>&&?)|(?P<either>\|\|?)"
)
_QUOTED = "_quoted_{}_"
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_COMPUTE: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_HELD = (
    "it may hold columns, numbers, texts, lists, comparisons, 'in', 'and', 'or', 'not', + - * / // % and parentheses"
)


class _RefusedError(Exception):
    """A condition that is not of the grammar, with the reason."""


def rows_where(frame: pd.DataFrame, condition: str, known: str) -> pd.DataFrame:
    """Keep the rows of a table for which a condition holds.

    The language is the harmless part of `pandas.DataFrame.query`: columns by name (in backticks where the name is no
    identifier), literals, chained comparisons, `in` and `not in` with lists, `and`, `or`, `not` (also `&`, `|`, `~`),
    arithmetic on numbers and parentheses. Nothing is called, and no attribute is looked up.

    Parameters
    ----------
    frame
        The table.
    condition
        At most `LONGEST` characters, nested at most `DEEPEST` deep.
    known
        What errors say of the table's columns.

    Raises
    ------
    OptionError
        For text that is not of this grammar, an unknown column, or what is no condition on rows.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"epoch": [0, 1, 2], "layer": ["a", "b", "a"]})
    >>> rows_where(table, "0 < epoch <= 2 and layer in ['a']", "it has epoch, layer").epoch.tolist()
    [2]
    """
    try:
        return frame[_Rows(frame, condition).kept()]
    except _RefusedError as refused:
        shown = condition if len(condition) <= 200 else f"{condition[:200]}..."
        raise OptionError(f"--where {shown!r} cannot be evaluated ({refused}); {known}.") from None


def missed(frame: pd.DataFrame, condition: str) -> list[str]:
    """Say of a condition that no row fits which of its comparisons hold for none, and what their columns hold.

    Examples
    --------
    >>> import pandas as pd
    >>> missed(pd.DataFrame({"epoch": [0, 1, 9], "layer": ["fc1", "fc2", "fc1"]}), "epoch < 5 and layer == 'fc3'")
    ["layer holds 'fc1', 'fc2'"]
    """
    rows = _Rows(frame, condition)
    rows.kept()
    return list(dict.fromkeys(rows.missed))


class _Rows:
    """A condition read against the columns of one table."""

    def __init__(self, frame: pd.DataFrame, condition: str) -> None:
        self.frame = frame
        self.quoted: dict[str, str] = {}
        self.missed: list[str] = []
        if len(condition) > LONGEST:
            raise _RefusedError(f"it has {len(condition)} characters of at most {LONGEST}")
        text = _TOKEN.sub(self._as_python, condition).replace("\n", " ").strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an unknown escape in a text is no fault of the condition
                self.tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise _RefusedError(getattr(error, "msg", None) or "it is not plain text") from None
        except (MemoryError, RecursionError):  # how Python's parser refuses brackets in brackets
            raise _RefusedError(f"it is nested more than {DEEPEST} deep") from None

    def _as_python(self, token: re.Match[str]) -> str:
        if token["name"] is not None:
            alias = _QUOTED.format(len(self.quoted))
            self.quoted[alias] = token["name"]
            return f" {alias} "
        return " and " if token["both"] else " or " if token["either"] else token[0]

    def kept(self) -> pd.Series:
        """Mark the rows for which the condition holds."""
        return self._condition(self.tree, 0)

    def _condition(self, node: ast.expr, depth: int) -> pd.Series:
        found: pd.Series | float | str = self._value(node, depth)
        if isinstance(found, bool | int | float | str) or found.dtype != bool:
            raise _RefusedError(f"{_said(node)} is no condition on the rows; compare a column with a value")
        return found

    def _value(self, node: ast.expr, depth: int) -> Any:  # noqa: PLR0911 - one line for each thing of the grammar
        if depth > DEEPEST:
            raise _RefusedError(f"it is nested more than {DEEPEST} deep")
        inner = depth + 1
        match node:
            case ast.Name(name):
                return self._column(self.quoted.get(name, name))
            case ast.Constant(bool() | int() | float() | str() as value):
                return _in_range(value)
            case ast.Compare(left, operators, others):
                return self._chain([left, *others], operators, inner)
            case ast.BoolOp(kind, parts):
                join = operator.and_ if isinstance(kind, ast.And) else operator.or_
                return functools.reduce(join, (self._condition(part, inner) for part in parts))
            case ast.UnaryOp(ast.Not() | ast.Invert(), operand):
                return ~self._condition(operand, inner)
            case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, operand):
                number = self._number(operand, inner)
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left, operation, right) if type(operation) in _COMPUTE:
                try:
                    return _COMPUTE[type(operation)](self._number(left, inner), self._number(right, inner))
                except ZeroDivisionError:
                    raise _RefusedError(f"{_said(node)} divides by zero") from None
        raise _RefusedError(f"{_said(node)} is not served: {_HELD}")

    def _column(self, name: str) -> pd.Series:
        if name not in self.frame.columns:
            raise _RefusedError(f"there is no column {name!r}{near_names(name, map(str, self.frame.columns))}")
        column: pd.Series = self.frame[name]
        return column

    def _number(self, node: ast.expr, depth: int) -> Any:
        value = self._value(node, depth)
        if not (value.dtype.kind in "iuf" if _is_column(value) else isinstance(value, int | float)):
            raise _RefusedError(f"{_said(node)} is no number")
        # Floats: whole numbers of Python grow without bound.
        return value.astype(float) if _is_column(value) else float(value)

    def _chain(self, nodes: list[ast.expr], kinds: list[ast.cmpop], depth: int) -> Any:
        """Compare neighbours, and join the outcomes by `and`, as Python does."""
        pairs = zip(nodes, kinds, nodes[1:], strict=False)
        return functools.reduce(operator.and_, (self._compared(*pair, depth) for pair in pairs))

    def _compared(self, left: ast.expr, kind: ast.cmpop, right: ast.expr, depth: int) -> Any:
        if isinstance(right, ast.List | ast.Tuple | ast.Set) and isinstance(
            kind, ast.In | ast.NotIn | ast.Eq | ast.NotEq
        ):
            column = self._value(left, depth)
            if _is_column(column):
                values = [self._literal(item, depth) for item in right.elts]
                for item, value in zip(right.elts, values, strict=True):
                    _check_alike(left, column, item, value)
                found = column.isin(values)
                return self._noted(left, column, found if isinstance(kind, ast.In | ast.Eq) else ~found, values)
        if isinstance(kind, ast.In | ast.NotIn):
            raise _RefusedError("'in' stands between a column and a list, such as layer in ['fc1', 'fc2']")
        one, other = self._value(left, depth), self._value(right, depth)
        if type(kind) not in _COMPARE or not (_is_column(one) or _is_column(other)):
            raise _RefusedError(f"{_said(left)} and {_said(right)} cannot be compared; compare a column with a value")
        _check_alike(left, one, right, other)
        try:
            found = _COMPARE[type(kind)](one, other)
        except TypeError:
            raise _RefusedError(f"{_said(left)} and {_said(right)} are of kinds that have no order") from None
        if _is_column(one):
            return self._noted(left, one, found, [] if _is_column(other) else [other])
        return self._noted(right, other, found, [one])

    def _noted(self, node: ast.expr, column: pd.Series, found: pd.Series, values: list[Any]) -> pd.Series:
        """Note what a column holds, near the values that it is compared with, where that holds for no row."""
        if isinstance(node, ast.Name) and not found.any() and column.notna().any():
            self.missed.append(f"{column.name} holds {_held(column, values)}")
        return found

    def _literal(self, node: ast.expr, depth: int) -> Any:
        value = self._value(node, depth)
        if _is_column(value):
            raise _RefusedError(f"{_said(node)} is a column, and a list holds values only")
        return value


def _check_alike(left: ast.expr, one: Any, right: ast.expr, other: Any) -> None:
    """Refuse to compare text with numbers, of which no two are ever equal."""
    kinds = _kind(one), _kind(other)
    if None not in kinds and kinds[0] != kinds[1]:
        text, number = (left, right) if kinds[0] == "text" else (right, left)
        held = one if _is_column(one) else other
        example = f", as {_said(left if held is one else right)} holds {_held(held)}" if _is_column(held) else ""
        raise _RefusedError(f"{_said(text)} is text and {_said(number)} a number, which are never equal{example}")


def _kind(value: Any) -> str | None:
    """Tell text from numbers; None where a column holds nothing that would tell."""
    if not _is_column(value):
        return "text" if isinstance(value, str) else "number"
    known = value.dropna()
    if known.empty or value.dtype.kind in "iufb":
        return None if known.empty else "number"
    return "text" if all(isinstance(one, str) for one in known) else None


def _held(column: pd.Series, wanted: Sequence[Any] = ()) -> str:
    """List the first few values of a column; of many numbers, the least and the greatest, of many names near ones."""
    values = column.dropna().unique().tolist()
    if len(values) > SHOWN_VALUES and _kind(column) == "number":
        return f"{min(values):.6g} to {max(values):.6g}"
    if len(values) > SHOWN_VALUES and _kind(column) == "text":
        near = [one for text in wanted for one in difflib.get_close_matches(str(text), values)]
        values = list(dict.fromkeys([*near, *values]))
    return elided(values, SHOWN_VALUES, show=repr)


def _is_column(value: object) -> bool:
    return not isinstance(value, bool | int | float | str)


def _in_range(value: bool | int | float | str) -> bool | int | float | str:
    """Return a literal as it is; a whole number beyond 64 bits, which no column holds, as a float."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def _said(node: ast.expr) -> str:
    """Return part of a condition as text, cut short."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return "a power"
    names = {ast.Call: "a call", ast.Attribute: "an attribute", ast.Subscript: "a subscript", ast.Lambda: "a function"}
    if type(node) in names:
        return names[type(node)]
    if isinstance(node, ast.Name | ast.Constant):
        text = ast.unparse(node)
        return text if len(text) <= 60 else f"{text[:60]}..."
    return f"a part ({type(node).__name__})"
