"""From a live model to the store: the only room, with the demo, that knows torch."""
