"""Measures that are computed only when they are asked for, featlab's own and those of other packages."""

from featlab.measures.class_means import ClassMeans
from featlab.measures.measure import ClassMeasure, Measure, RowMeasure, Rows
from featlab.measures.setting import Setting
from featlab.results.definitions import Definition
from featlab.statistics.gather import Request

__all__ = ["ClassMeans", "ClassMeasure", "Definition", "Measure", "Request", "RowMeasure", "Rows", "Setting"]
