"""Settings of the whole suite."""

import gc
import os

# Before torch is imported, and for the processes that tests start: models are tiny, and threads would only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# The same examples on every run, and no example fails because the machine is busy.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_look_through():
    """Each training collects garbage, which takes half a second if it looks through all imported libraries."""
    gc.freeze()
    yield
    gc.unfreeze()
