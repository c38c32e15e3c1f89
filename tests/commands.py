"""The command ``span-marker``: as a real process, or quickly, in a fork of a process that has imported everything."""

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile

import huggingface_hub.constants

from span_marker_cli import main

PATIENCE = 300.0

FORKS = sys.platform == "linux"
"""Whether a process that has imported so much may fork: on macOS, its libraries may not survive it."""

SETTINGS = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Variables of the environment of all commands. A fork must not use the threads that its parent has."""


def start(*arguments, program=("-m", "span_marker_cli"), **options):
    """Start the command in a process of its own, which takes seconds to import what it needs."""
    command = [sys.executable, *program, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **SETTINGS}, **pipes, **options)


class Fork:
    """A fork of this process that runs the command, with files as its standard streams; it can be killed."""

    def __init__(self, *arguments, input_text=""):
        self.files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115
        self.files[0].write(input_text.encode())
        self.files[0].seek(0)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=self._run, args=([*map(str, arguments)],))
        self.process.start()

    def _run(self, arguments):
        for descriptor, file in enumerate(self.files):
            os.dup2(file.fileno(), descriptor)
        streams = (open(number, mode, closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115
        sys.stdin, sys.stdout, sys.stderr = streams
        logging.getLogger().handlers.clear()  # those of pytest
        os.environ |= SETTINGS
        huggingface_hub.constants.HF_HUB_OFFLINE = True  # which was read when it was imported
        try:
            main(arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def wait(self):
        """Wait for its end; return its status, its output and its errors."""
        self.process.join(PATIENCE)
        if hangs := self.process.is_alive():
            self.process.kill()  # pytest would wait for it forever
            self.process.join()
        output, errors = (os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in self.files[1:])
        for file in self.files:
            file.close()
        assert not hangs, f"it does not end within {PATIENCE} seconds: {errors[-3000:]!r}"
        return self.process.exitcode, output.decode(), errors.decode()


def run(*arguments, status=0, input_text=""):
    """Run the command, in a fork if possible; return what it writes."""
    if FORKS:
        found, output, errors = Fork(*arguments, input_text=input_text).wait()
    else:
        process = start(*arguments, stdin=subprocess.PIPE)
        output, errors = process.communicate(input_text, timeout=PATIENCE)
        found = process.returncode
    assert found == status, errors
    return output, errors
