"""Processes to which nothing has been imported but PyTorch, quickly: forks of one that waits with it."""

import atexit
import json
import subprocess
import sys
from functools import cache

SERVER = """
import json, os, signal, sys, traceback, warnings
import torch, torch._dynamo, torch.distributed.tensor  # which transformers imports, too

warnings.simplefilter("ignore")
for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(200)  # ends it, if it hangs
        os.dup2(writing, 1)
        status = 1
        try:
            exec(json.loads(line), {"__name__": "__main__"})
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writing)
    with open(reading) as file:
        printed = file.read()
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), printed]), flush=True)
"""


@cache
def server():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen([sys.executable, "-c", SERVER], **pipes)
    atexit.register(process.kill)
    return process


def printed_by(code):
    """What code prints in a new process, in which ``torch`` has been imported."""
    process = server()
    process.stdin.write(json.dumps(code) + "\n")
    process.stdin.flush()
    status, printed = json.loads(process.stdout.readline())
    assert status == 0, printed
    return printed.strip()
