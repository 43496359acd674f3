"""Defines no handler: no function, and not served either."""

SECRET = "only for functions"
