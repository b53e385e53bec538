"""The featlab command line: parse, call, print."""
