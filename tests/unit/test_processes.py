"""Forked processes predict rather than wait forever for threads that only their parent has; threads share theirs."""

import contextvars
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_submodules
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

from span_marker.core import forks
from span_marker.preprocessing import processes

TESTS = Path(__file__).parents[1]

FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import torch
from tiny import SENTENCES, build_model
from span_marker import pipeline

torch.set_num_threads(2)
model = build_model("bert", entity_max_length=4)
pipe = pipeline("span-marker", model=model, device="cpu")
texts = [" ".join(words) for words in SENTENCES if words] * 20
ways = {
    "predict": lambda: model.predict(texts),
    "predict_stream": lambda: list(model.predict_stream(texts)),
    "pipeline": lambda: pipe(texts),
    "explain": lambda: model.explain(" ".join(texts), (0, 6)),
    "from_pretrained": lambda: type(model).from_pretrained(sys.argv[1]).predict(texts),
}
model.save_pretrained(sys.argv[1])
model.predict(texts)
torch.rand(4_000_000).exp()  # by both threads
for name, run in ways.items():
    child = os.fork()
    if not child:
        run()
        os._exit(0 if torch.get_num_threads() == 1 else 3)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print(torch.get_num_threads())
"""

WAYS = ["predict", "predict_stream", "pipeline", "explain", "from_pretrained"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
def test_a_forked_process_predicts_after_its_parent(tmp_path):
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": paths}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    command = [sys.executable, "-c", FORK, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [*(f"{way} 0" for way in WAYS), "2"], done.stderr[-2000:]


def test_a_process_that_was_not_forked_keeps_its_threads(monkeypatch):
    set_to = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    processes.enter_process(torch.device("cpu"))
    assert set_to == []
    monkeypatch.setattr(forks, "_imported_in", -1)
    processes.enter_process(torch.device("cpu"))
    assert set_to == [1]


@pytest.mark.parametrize(("quota", "is_warned"), [(None, False), (4, False), (2, True)])
def test_more_threads_than_the_container_may_use_are_a_warning(monkeypatch, caplog, quota, is_warned):
    monkeypatch.setattr(processes, "quota_cpus", lambda: quota)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    processes.warn_of_quota.cache_clear()
    for _ in range(2):
        processes.enter_process(torch.device("cpu"))
    messages = [message for message in caplog.messages if "set OMP_NUM_THREADS=2" in message]
    assert len(messages) == is_warned
    processes.warn_of_quota.cache_clear()


def test_a_forked_process_cannot_share_a_device(monkeypatch):
    monkeypatch.setattr(forks, "_imported_in", -1)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(RuntimeError, match="the model is on device='cuda:1', .* leave n_process out of nlp.pipe"):
        processes.enter_process(torch.device("cuda:1"))


def test_a_model_returns_to_training_when_its_last_reader_is_done():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout().eval())
    entered, may_leave = threading.Event(), threading.Event()

    def read():
        with processes.evaluating(model):
            entered.set()
            may_leave.wait(10)
            return [module.training for module in model.modules()]

    with ThreadPoolExecutor(1) as pool:
        with processes.evaluating(model):
            other = pool.submit(read)
            assert entered.wait(10)
        assert not model.training
        may_leave.set()
        assert other.result() == [False] * 3
    assert [module.training for module in model.modules()] == [True, True, False]
    with pytest.raises(ZeroDivisionError), processes.evaluating(model), processes.evaluating(model):
        assert 1 / 0
    assert model.training
    assert not processes._evaluated


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used: "):
        processes.move_to_device(torch.nn.Linear(1, 1), device)
    assert processes.move_to_device(torch.nn.Linear(1, 1), "cpu").weight.device.type == "cpu"


def threads_of_a_new_thread():
    """PyTorch's number of threads in a thread of Python that begins now."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(torch.get_num_threads).result()


def _numbers(count):
    """Threads of PyTorch of each worker, and of a thread that begins meanwhile."""
    with processes.sharing_threads(torch.nn.Linear(1, 1), count) as workers:
        together = threading.Barrier(workers.count)
        results = [
            workers.start(lambda: (together.wait(timeout=30), torch.get_num_threads())[1]) for _ in range(workers.count)
        ]
        return [result() for result in results], threads_of_a_new_thread()


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("count", "expected"), [(0, [4]), (1, [4]), (2, [2, 2]), (3, [1] * 3), (9, [1] * 4)])
def test_workers_share_the_threads(count, expected):
    assert _numbers(count) == (expected, 4)
    assert torch.get_num_threads() == 4
    assert threads_of_a_new_thread() == 4


@pytest.mark.usefixtures("four_threads")
def test_there_is_one_worker_on_an_accelerator_and_for_one_thread(monkeypatch):
    monkeypatch.setattr(processes, "enter_process", lambda device: None)
    with processes.sharing_threads(torch.nn.Linear(1, 1, device="meta"), 9) as workers:
        assert workers.count == 1
    torch.set_num_threads(1)
    with processes.sharing_threads(torch.nn.Linear(1, 1), 9) as workers:
        assert workers.count == 1


def register_hook(model, tmp_path):
    return model[0].register_forward_hook(lambda *arguments: None).remove


def register_pre_hook(model, tmp_path):
    return model[1].register_forward_pre_hook(lambda *arguments: None).remove


def register_global_hook(model, tmp_path):
    return torch.nn.modules.module.register_module_forward_hook(lambda *arguments: None).remove


def offload(model, tmp_path):
    """Let accelerate move weights to where they are needed, and away again."""
    cpu_offload(model[1], "cpu", state_dict={name: tensor.clone() for name, tensor in model[1].state_dict().items()})
    return partial(remove_hook_from_submodules, model)


def shard(model, tmp_path):
    """Shard the weights with FSDP2, which keeps them on the CPU, and gather them, as the trainer does to tune."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)), offload_policy=CPUOffloadPolicy(pin_memory=False))
    with pytest.raises(ValueError, match="this process has only a part of the model"), processes.evaluating(model):
        pass
    model.unshard()
    return dist.destroy_process_group


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("change", [register_hook, register_pre_hook, register_global_hook, offload, shard])
def test_there_is_one_worker_if_code_of_others_runs_in_the_model(change, tmp_path):
    """It runs in the thread of the caller, one batch after the other."""
    model, rows = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)), torch.rand(3, 2)
    expected = model(rows)
    undo = change(model, tmp_path)
    try:
        with processes.sharing_threads(model, 9) as workers, torch.inference_mode():
            assert workers.count == 1
            assert workers.start(threading.get_ident)() == threading.get_ident()
            torch.testing.assert_close(workers.start(lambda: model(rows))(), expected)
    finally:
        undo()


@pytest.mark.usefixtures("four_threads")
def test_workers_compute_as_their_caller_would():
    """In its precision, and with the values of its context variables; errors reach it."""
    variable = contextvars.ContextVar("variable", default="default")
    variable.set("own")
    rows = torch.rand(2, 2)
    with torch.autocast("cpu", torch.bfloat16), processes.sharing_threads(torch.nn.Linear(1, 1), 2) as workers:
        assert workers.start(lambda: (rows @ rows).dtype)() == torch.bfloat16
        assert workers.start(variable.get)() == "own"
        with pytest.raises(ZeroDivisionError):
            workers.start(lambda: 1 / 0)()
    with processes.sharing_threads(torch.nn.Linear(1, 1), 2) as workers:
        assert workers.start(lambda: (rows @ rows).dtype)() == torch.float32


FORK_MEANWHILE = """
import os, signal, threading, torch
from span_marker.preprocessing import processes

torch.set_num_threads(4)
model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout()).eval()
with processes._setting_threads, processes._lock:
    processes._evaluated[model] = 1, []
    child = os.fork()
if not child:
    signal.alarm(20)
    executor, together = processes.begin_threads(2, 4), threading.Barrier(2)

    def look(_):
        together.wait()
        with processes.evaluating(model):
            together.wait()
            return torch.get_num_threads()

    model.train()
    assert list(executor.map(look, range(2))) == [1, 1]
    assert model.training
    with processes.sharing_threads(model, 4) as workers:
        assert workers.count == torch.get_num_threads() == 1
        assert not model.training
    os._exit(0)
assert not os.waitpid(child, 0)[1]
with processes.evaluating(model.train()):
    child = os.fork()
if not child:
    assert model.training
    os._exit(0)
assert not os.waitpid(child, 0)[1]
assert torch.get_num_threads() == 4
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork")
def test_a_process_may_be_forked_while_threads_read():
    """It waits for no lock of theirs, knows what is in training mode, and has one thread in each of its own."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK_MEANWHILE], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_threads_that_have_begun_do_not_wait_for_those_that_cannot(monkeypatch, error):
    start, begun = threading.Thread.start, []

    def start_two(thread):
        if len(begun) == 2:
            raise error("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    with pytest.raises(error):
        processes.begin_threads(4, 4)
    assert not any(thread.is_alive() for thread in begun)
    del begun[:]
    if error is RuntimeError:
        with processes.sharing_threads(torch.nn.Linear(1, 1), 4) as workers:
            assert workers.count == 1
    monkeypatch.undo()
    assert threads_of_a_new_thread() == torch.get_num_threads() == 4


AT_EXIT = """
import concurrent.futures.thread, threading, time, torch
from span_marker.preprocessing import processes

torch.set_num_threads(2)
model, has_begun = torch.nn.Linear(1, 1), threading.Event()


def read():
    with processes.sharing_threads(model, 2) as workers:
        print(workers.count, workers.start(lambda: "before")(), flush=True)
        has_begun.set()
        while not concurrent.futures.thread._shutdown:  # the main thread has ended
            time.sleep(0.01)
        print(workers.start(lambda: "after")(), flush=True)
    with processes.sharing_threads(model, 2) as workers:
        print(workers.count, workers.start(lambda: "anew")(), flush=True)


threading.Thread(target=read).start()
has_begun.wait()
"""


def test_threads_read_on_when_the_main_thread_has_ended():
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["2", "before", "after", "1", "anew"], done.stderr[-2000:]
