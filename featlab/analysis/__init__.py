"""From a stored run to results: plan, run, assemble. The only room that knows runs and tables at once."""
