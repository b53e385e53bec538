"""Pure functions on arrays, one file a theme; siblings never import each other."""
