"""Features that people bring in files of other libraries."""
