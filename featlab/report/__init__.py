"""Figures of results, and the one-page report."""
