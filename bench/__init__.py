"""Measures the gateway against what docs/measurements.md promises. Nothing else imports it."""
