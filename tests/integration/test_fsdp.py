"""Two processes with half of the weights each train what one process trains."""

import os
import re
import subprocess
import sys
from pathlib import Path

import fsdp_worker
import pytest
import torch
from test_distributed import check
from train_worker import make_trainer, train

from span_marker import SpanMarkerModel

pytestmark = pytest.mark.slow

FAMILIES = ("bert", "albert", "deberta", "deberta-v3", "mobilebert", "modernbert")
"""A model is sharded as a whole, whatever its layers are. Families may differ in how they use a parameter: once or in
each layer, through its module or as a tensor. Those that cannot be sharded are in test_sharding.py."""
PAGE = Path(__file__).parents[2] / "docs" / "parallel.md"


def configuration():
    """The file that the documentation shows, for two processes without an accelerator."""
    (shown,) = re.findall(r"```yaml\n(.*?distributed_type: FSDP.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r"num_processes: \d+", "num_processes: 2", shown) + "use_cpu: true\nmain_process_port: 0\n"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """What two processes learned."""
    folder = tmp_path_factory.mktemp("fsdp")
    (folder / "fsdp.yaml").write_text(configuration())
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HOME": str(folder)}
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(folder / "fsdp.yaml")]
    command = [*launcher, fsdp_worker.__file__, str(folder), *FAMILIES]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, torch.load(folder / "results.pt", weights_only=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_sharded_weights_learn_what_whole_ones_learn(family, sharded, tmp_path):
    folder, results = sharded
    two, one = results[family], train(make_trainer(tmp_path, 4, 1, family))
    check(one, two)
    assert two["share"] == pytest.approx(0.5, abs=0.1)
    saved = SpanMarkerModel.from_pretrained(folder / family / "saved").state_dict()
    assert saved.keys() == one["weights"].keys()
    for name, tensor in two["weights"].items():
        assert torch.equal(saved[name], tensor), name
