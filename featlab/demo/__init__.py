"""Demonstrations on data that is at hand: real, planted, or installed by the system."""
