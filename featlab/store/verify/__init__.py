"""Checks that everything in a run is as it was written, and repairs what can be."""

from featlab.store.verify.run import Finding, Verification, verify_run

__all__ = ["Finding", "Verification", "verify_run"]
