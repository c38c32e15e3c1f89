"""A process knows whether it was forked, even if it imports PyTorch only afterwards."""

import multiprocessing

import pytest
from fresh import printed_by
from tiny import build_model

from span_marker.core import forks

FORK = """
import os, sys
from span_marker.bulk import Reader

reader = Reader({folder!r}, num_threads=2)
assert "span_marker.preprocessing.processes" not in sys.modules
for is_loaded in (False, True):
    model = reader.load() if is_loaded else None
    child = os.fork()
    if not child:
        print(reader.load() is model, torch.get_num_threads(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
def test_a_forked_process_runs_one_thread_although_it_imports_pytorch_itself(tmp_path):
    assert not forks.was_forked()
    build_model().save_pretrained(tmp_path)
    assert printed_by(f"import torch\n{FORK.format(folder=str(tmp_path))}").split() == ["False", "1", "True", "1"]
