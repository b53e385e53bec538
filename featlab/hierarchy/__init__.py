"""Taxonomies over classes, and the label spaces cut from them."""
