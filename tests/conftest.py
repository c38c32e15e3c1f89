"""Settings of the whole suite."""

import gc
import logging
import os

# Before torch is imported, and for the processes that tests start: models are tiny, and threads would only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # tests are offline

import pytest
from hypothesis import settings

# The same examples on every run, and no example fails because the machine is busy.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("suite")

LONG = """
test_clusters test_onnx test_server_page test_command_line test_hosts test_kills test_fsdp test_docs test_notebooks
test_accuracy test_distributed test_ray_train test_small_model test_site test_mcp
""".split()
"""Files whose slow tests take longest. They start in this order, so that no process begins one when the others end."""


def pytest_addoption(parser):
    help_text = "round as another machine might; any seed is one"
    parser.addoption("--other-machine", type=int, metavar="SEED", help=help_text)


def pytest_configure(config):
    seed = config.getoption("--other-machine")
    if seed is not None:
        import other_machine

        other_machine.move_to(seed)


@pytest.fixture
def four_threads():
    """Let PyTorch run four threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    import torch

    # torch.manual_seed formats the stack for each kind of device that is missing, which takes as long as a short test.
    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def same_log_whatever_ran_before():
    """A command that runs in this process chooses what is logged."""
    logger = logging.getLogger("span_marker")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_look_through():
    """Each training collects garbage, which takes half a second if it looks through all imported libraries."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Imported libraries stay, and looking for garbage among them takes a third of the time of all imports."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Tests have no examples in docstrings, and looking for them imports what other processes run, with Ray."""
    return [collector for collector in (yield) if type(collector) is pytest.Module]
