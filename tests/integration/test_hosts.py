"""Two hosts on one machine, each with a network address of its own, train what one process trains, although one dies.

Where the kernel lets us, the hosts are network namespaces, between which nothing but TCP over a virtual cable is
shared; otherwise they are two addresses of the loopback device.
"""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import elastic_worker
import pytest
import torch
from test_distributed import check
from train_worker import make_trainer, train

pytestmark = pytest.mark.slow

SPACES = ("span-marker-0", "span-marker-1")
CABLES = ("sm-veth0", "sm-veth1")

NEW_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Gives processes that are started again a store of their own, without the addresses of those that are gone."""


@contextmanager
def two_hosts():
    """Yield for each host a prefix of commands that run on it, its address, and its network device."""
    ip = shutil.which("ip")
    if ip is not None:
        for space in SPACES:  # of a run that was killed
            subprocess.run([ip, "netns", "delete", space], capture_output=True, check=False)
    if ip is None or subprocess.run([ip, "netns", "add", SPACES[0]], capture_output=True, check=False).returncode:
        yield [([], "127.0.0.1", "lo"), ([], "127.0.0.2", "lo")]
        return
    try:
        hosts = []
        for command in (f"netns add {SPACES[1]}", f"link add {CABLES[0]} type veth peer name {CABLES[1]}"):
            subprocess.run([ip, *command.split()], check=True)
        for number, (space, cable) in enumerate(zip(SPACES, CABLES, strict=True)):
            address = f"10.77.0.{number + 1}"
            subprocess.run([ip, *f"link set {cable} netns {space}".split()], check=True)
            for command in (f"addr add {address}/24 dev {cable}", f"link set {cable} up", "link set lo up"):
                subprocess.run([ip, "-n", space, *command.split()], check=True)
            hosts.append(([ip, "netns", "exec", space], address, cable))
        yield hosts
    finally:
        for space in SPACES:
            subprocess.run([ip, "netns", "delete", space], check=False)


def launch(hosts, folder):
    """Run the worker with a process on each host, under torchrun, as the documentation says."""
    processes = []
    for number, (prefix, address, device) in enumerate(hosts):
        environment = {
            **os.environ,
            **{
                "OMP_NUM_THREADS": "1",
                "PYTHONWARNINGS": "ignore",
                "HF_HOME": str(folder),
                "GLOO_SOCKET_IFNAME": device,
                **NEW_STORE,
            },
        }
        command = [
            *(*prefix, sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
            *("--rdzv-backend=c10d", f"--rdzv-endpoint={hosts[0][1]}:29400", "--rdzv-id=span-marker"),
            "--max-restarts=3",
            # By its name, which the hosts share, none of them could tell that the address of the meeting is its own.
            *(f"--rdzv-conf=is_host={number == 0}", f"--local-addr={address}", elastic_worker.__file__, str(folder)),
        ]
        with (folder / f"host{number}.log").open("wb") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    try:
        codes = [process.wait(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(folder / f"host{number}.log").read_text(errors="replace")[-3000:] for number in range(2)]
    assert codes == [0, 0], "\n".join(logs)
    return logs


def check_restart(folder, one):
    """That a process was killed, and all went on from the checkpoint before, to the same end."""
    two = torch.load(folder / "results.pt", weights_only=True)
    assert (folder / "killed").exists()
    assert two["resumed"]
    check(one, two)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What one process learns that nobody kills."""
    return train(make_trainer(tmp_path_factory.mktemp("one"), 4, None, max_steps=elastic_worker.STEPS))


def test_processes_of_a_host_go_on_from_a_checkpoint_after_one_is_killed(tmp_path, uninterrupted):
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HOME": str(tmp_path)}
    environment = {**os.environ, **quiet, **NEW_STORE}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "--max-restarts=3", elastic_worker.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    check_restart(tmp_path, uninterrupted)


def test_hosts_go_on_from_a_checkpoint_after_a_process_is_killed(tmp_path, uninterrupted):
    with two_hosts() as hosts:
        launch(hosts, tmp_path)
    check_restart(tmp_path, uninterrupted)
