"""Sufficient statistics of class geometry, chunk by chunk, and the Dask graph that gathers them."""
