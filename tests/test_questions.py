"""The five questions of docs/measures.md: the command of each, and the same numbers from the rows by NumPy alone."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import pytest
import reference
from click.testing import CliRunner
from scipy import stats

import featlab
from featlab.demo.planted import PlantedCourse, planted_tree, write_course
from featlab.hierarchy.labelspace import controls
from featlab_cli.show import command as show_command

EPOCHS = np.arange(6.0)
FAMILIES = np.repeat([0, 1, 2], 9)  # of the 27 classes: their first number
KINDS = np.repeat(np.arange(9), 3)  # and their first two


@pytest.fixture(scope="module")
def course():
    tree = planted_tree(depth=3, branching=3, dim=48, samples_per_class=20, noise=0.25)
    return PlantedCourse(tree, onsets=(1, 2, 4), epochs=5)


@pytest.fixture(scope="module")
def saved(course, tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    for _ in write_course(folder / "run.zarr", course):
        pass
    results = featlab.analyze(folder / "run.zarr", hierarchy=course.tree.taxonomy, permutations=99)
    results.save(folder / "run.results")
    return folder / "run.results"


@pytest.fixture
def show(saved):
    def call(*arguments):
        outcome = CliRunner().invoke(show_command, [str(saved), *arguments, "--format", "csv"])
        assert outcome.exit_code == 0, outcome.output
        return pd.read_csv(io.StringIO(outcome.stdout), dtype={"node": str, "group_name": str, "predicted_name": str})

    return call


@pytest.fixture(scope="module")
def predictions(course):
    """Class that the classifier gives each row, by epoch."""
    return [course.snapshot(int(epoch))[1].astype(np.float32).argmax(axis=1) for epoch in EPOCHS]


def accuracy_onset(labels, predictions, groups):
    share = [(groups[labels] == groups[predicted]).mean() for predicted in predictions]
    return reference.onset(EPOCHS, share, 0.5)


def test_when_was_each_level_learned_and_is_broad_before_specific(course, show, predictions):
    table = show("precedence", "--where", "series == 'accuracy' and fraction == 0.5").set_index("space")
    labels = course.tree.labels
    classes = accuracy_onset(labels, predictions, np.arange(27))
    for space, groups in (("level1", FAMILIES), ("level2", KINDS)):
        mine = accuracy_onset(labels, predictions, groups)
        assert table.difference[space] == pytest.approx(classes - mine)
        drawn = [
            accuracy_onset(labels, predictions, control.labels)
            for control in controls(featlab.LabelSpace.from_groups(space, groups.astype(str)), 20, seed=0)
        ]
        assert table.control_difference[space] == pytest.approx(np.median(drawn) - mine)
        assert table.control_low[space] == pytest.approx(min(drawn) - mine)
        assert 0 < table.low[space] <= table.difference[space] <= table.high[space]


def cdnv(features, groups):
    """Mean over pairs of groups of the sum of their scatters over twice the squared distance of their means."""
    parts = [features[groups == group] for group in range(groups.max() + 1)]
    means = [part.mean(axis=0) for part in parts]
    scatters = [np.square(part - mean).sum(axis=1).mean() for part, mean in zip(parts, means, strict=True)]
    return np.mean(
        [
            (scatters[i] + scatters[j]) / (2 * np.square(means[i] - means[j]).sum())
            for i, j in itertools.combinations(range(len(parts)), 2)
        ]
    )


def test_did_neural_collapse_come_earlier_in_broad_label_spaces(course, show):
    where = "series == 'nc1_cdnv' and fraction == 0.5 and layer == 'layer3'"
    table = show("onset", "--where", where).set_index("space")
    features = [course.snapshot(int(epoch))[0]["layer3"].astype(np.float32).astype(float) for epoch in EPOCHS]

    def onset(groups):
        return reference.onset(EPOCHS, [cdnv(rows, groups[course.tree.labels]) for rows in features], 0.5)

    space = featlab.LabelSpace.from_groups("level2", KINDS.astype(str))
    drawn = [onset(control.labels) for control in controls(space, 20, seed=0)]
    for name, groups in (("hyponym", np.arange(27)), ("level2", KINDS)):
        assert table.onset[name] == pytest.approx(onset(groups), abs=1e-4)
    assert table.control_onset["level2"] == pytest.approx(np.median(drawn), abs=1e-4)
    assert table.control_low["level2"] == pytest.approx(min(drawn), abs=1e-4)
    earlier = np.sum(np.array(drawn) <= onset(KINDS) + 1e-9)
    assert table.control_p["level2"] == pytest.approx((1 + earlier) / 21)


def test_which_layer_follows_the_hierarchy_and_was_that_learned(course, show):
    where = "score == 'rsa_spearman' and metric == 'cosine' and taxonomy_distance == 'path'"
    table = show("alignment_change", "--where", where, "--sort", "rank").set_index("layer")
    ways = np.array([name.split(".") for name in course.tree.classes])
    shared = (ways[:, None] == ways).cumprod(axis=2).sum(axis=2)  # levels down to the lowest common ancestor
    path = 2 * (3 - shared)[np.triu_indices(27, 1)]

    def spearman(epoch, layer):
        features = course.snapshot(epoch)[0][layer].astype(np.float32).astype(float)
        means = np.stack([features[course.tree.labels == k].mean(axis=0) for k in range(27)])
        means -= means.mean(axis=0)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return stats.spearmanr(1 - (means @ means.T)[np.triu_indices(27, 1)], path).statistic

    for layer in course.layers:
        first, last = spearman(0, layer), spearman(5, layer)
        assert table.loc[layer, ["first", "last", "change"]].tolist() == pytest.approx([first, last, last - first])
    order = sorted(course.layers, key=lambda layer: -spearman(5, layer))
    assert table.index.tolist()[0] == order[0]
    assert (table.change_p == 0.01).all()


def test_which_classes_are_confused_with_which_superclass(course, show, predictions):
    groups = show("groups", "--where", "space == 'level1'", "--sort=-epoch,recall")
    confusion = show("confusion", "--where", "space == 'level1' and epoch == 3")
    labels = course.tree.labels
    for row in groups.itertuples():
        mine = FAMILIES[labels] == row.group
        taken = FAMILIES[predictions[row.epoch]] == row.group
        assert (row.rows, row.predicted) == (mine.sum(), taken.sum())
        assert row.recall == pytest.approx((mine & taken).sum() / mine.sum())
        if taken.any():
            assert row.precision == pytest.approx((mine & taken).sum() / taken.sum())
        assert row.accuracy == pytest.approx((labels == predictions[row.epoch])[mine].mean())
    counted = np.zeros((3, 3), int)
    np.add.at(counted, (FAMILIES[labels], FAMILIES[predictions[3]]), 1)
    found = {(row.group, row.predicted_group): row.rows for row in confusion.itertuples()}
    assert found == {(i, j): counted[i, j] for i, j in np.argwhere(counted)}


def test_which_hypernym_was_learned_first_which_last(course, show, predictions):
    table = show("node_onset", "--where", "fraction == 0.5 and series == 'told_apart'", "--sort", "rank").set_index(
        "node"
    )
    labels, names = course.tree.labels, np.array(course.tree.classes)
    onsets = {}
    for node in table.index:
        below = np.array([name == node or name.startswith(f"{node}.") for name in names])
        inside = below[labels]
        told = [below[predicted][inside].mean() - below[predicted][~inside].mean() for predicted in predictions]
        onsets[node] = reference.onset(EPOCHS, told, 0.5)
        assert table.onset[node] == pytest.approx(onsets[node], nan_ok=True)
    assert table["rank"].tolist() == pytest.approx(stats.rankdata([onsets[node] for node in table.index]))
    assert table.index[0] in {"1", "2", "3"}
    assert len(table.index[-1]) == 5  # a class
