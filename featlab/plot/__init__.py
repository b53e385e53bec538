"""Figures as objects: one description of what is drawn, and two libraries that draw it."""
