"""The figures that the README quotes, each printed by one command."""
