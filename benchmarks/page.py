"""Size of the page and time to open it, for results of many classes, epochs and layers: `python -m benchmarks.page`.

The tables are made up; their sizes are those of an analysis. Opening is timed in headless Chromium, of the machine or
as `make data` unpacks it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featlab.hierarchy.labelspace import HYPONYM
from featlab.metrics.trees.linkage import linkage_tree
from featlab.report.html import render_report
from featlab.results.schema import control_columns, control_place_columns, table_columns
from featlab.results.tables import Results
