"""Selection of samples and epochs, and the space that they take."""
