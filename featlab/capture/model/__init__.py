"""Everything that looks into the model: its layers, outputs, classifier, masks and weights."""
