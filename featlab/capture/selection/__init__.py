"""Which samples and epochs are kept, and whether they fit."""
