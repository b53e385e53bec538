"""Trees over classes: linkage, its ties, and how far a dendrogram agrees with a taxonomy."""
