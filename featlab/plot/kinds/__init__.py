"""Kinds of figures, one a file: each makes a chart of tables. `featlab.plot.registry` lists them."""
