"""`--where` is a condition on rows and nothing else: no code runs, nothing hangs, and what is no condition is said."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hostile_cases import CONDITIONS

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import OptionError
from featlab_cli.main import main


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    tree = planted_tree(depth=2, branching=2, dim=8)
    folder = tmp_path_factory.mktemp("conditions")
    for epoch in (0, 1):
        featlab.write_epoch(
            folder / "run.zarr", epoch=epoch, features={"a": tree.features}, labels=tree.labels, classes=tree.classes
        )
    featlab.analyze(folder / "run.zarr", permutations=0, cache=False).save(folder / "run.results")
    return str(folder / "run.results")


@pytest.mark.defect("C14", "`show --where` ran code, hung, or printed nonsense for what is no condition")
@pytest.mark.parametrize("name", [name for name in CONDITIONS if name not in ("a power", "powers of texts")])
def test_what_is_no_condition_is_refused_in_one_sentence(results, tmp_path, name):
    mark = tmp_path / "mark"
    where = CONDITIONS[name].replace("{mark}", str(mark))
    outcome = CliRunner().invoke(main, ["show", results, "collapse", "--format", "csv", "--where", where])
    assert not mark.exists()
    assert isinstance(outcome.exception, OptionError), outcome.output
    message = str(outcome.exception)
    assert "--where" in message
    assert len(message.splitlines()) == 1
    assert len(message) < 700


@pytest.mark.defect("C14", "`compare --where` ran code")
def test_compare_runs_no_code_either(results, tmp_path):
    mark = tmp_path / "mark"
    where = f"epoch.to_csv({str(mark)!r}) == 0"
    CliRunner().invoke(main, ["compare", results, results, "--table", "collapse", "--where", where])
    assert not mark.exists()
