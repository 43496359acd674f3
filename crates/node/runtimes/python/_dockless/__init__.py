"""The launcher of Python functions. Private: nothing in here is for user code."""
