"""Settings of the whole suite."""

from hypothesis import settings

# The same examples on every run, and no example fails because the machine is busy.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
