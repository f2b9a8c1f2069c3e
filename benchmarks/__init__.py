"""Measurements of speed: ratios within one run, as machines differ. Not part of the test suite."""
