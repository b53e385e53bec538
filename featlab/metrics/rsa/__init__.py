"""Representational similarity analysis: distances of classes compared with those of a taxonomy."""
