"""Colours: told apart by eyes with every common deficiency, on white paper and in the dark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featlab import report
from featlab.plot.palette import BAND_SHARE, GROUPS, IN_DARK, MIXED, colour, ordered_colours, scale_stops

# Linear RGB as people without long, middle or short cones see it (Machado, Oliveira, Fernandes 2009, severity 1).
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Linear RGB to cone responses, and their cube roots to lightness and two opponent colours (Ottosson 2020).
CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
OPPONENT = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
NOTICED = 0.1  # distance in that space; the ten colours that these replaced came down to 0.021


def linear(colours: list[str]) -> np.ndarray:
    channels = np.array([[int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)] for text in colours])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def nearest(colours: list[str], deficiency: str) -> float:
    seen = np.clip(linear(colours) @ np.array(DEFICIENCIES[deficiency]).T, 0, 1)
    places = np.cbrt(seen @ CONES.T) @ OPPONENT.T
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    return float(distances[~np.eye(len(colours), dtype=bool)].min())


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_groups_and_mixed_branches_are_told_apart(deficiency: str) -> None:
    assert nearest([*GROUPS, MIXED], deficiency) > NOTICED
    assert nearest([*_in_dark(), MIXED], deficiency) > NOTICED


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_five_ordered_lines_are_told_apart(deficiency: str) -> None:
    assert nearest(ordered_colours(5), deficiency) > 0.035


@pytest.mark.parametrize("paper", ["#ffffff", "#0d1117"])
def test_colours_stand_out_on_white_and_in_the_dark(paper: str) -> None:
    light = linear([paper, MIXED, *GROUPS, *ordered_colours(9)]) @ [0.2126, 0.7152, 0.0722] + 0.05
    contrast = np.maximum(light[1:] / light[0], light[0] / light[1:])
    assert contrast.min() > 2


def test_groups_are_clear_in_the_dark() -> None:
    light = linear(["#0d1117", MIXED, *_in_dark()]) @ [0.2126, 0.7152, 0.0722] + 0.05
    assert (light[1:] / light[0]).min() > 3


def test_the_page_has_the_same_colours_in_the_dark() -> None:
    script = Path(report.__file__).with_name("fitting.js").read_text(encoding="utf-8")
    assert all(f'"{on_paper}": "{in_dark}"' in script for on_paper, in_dark in IN_DARK.items())
    assert f"BAND = {BAND_SHARE};" in script
    assert colour("dark") not in script


def _in_dark() -> list[str]:
    return [IN_DARK.get(tint, tint) for tint in GROUPS]


def test_lightness_of_the_sequential_colours_rises_all_along() -> None:
    light = linear([shade for _, shade in scale_stops("sequential")]) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all()


def test_groups_come_round_again() -> None:
    assert [colour("group", place) for place in (0, len(GROUPS))] == [GROUPS[0], GROUPS[0]]
