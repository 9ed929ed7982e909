"""The end of a command: status and output as ever, the exit functions run, objects are not taken apart."""

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from speakerlab.bin import entry, session_arguments

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}  # what is printed waits


@pytest.fixture
def program(tmp_path):
    """The command of a program whose ``main`` has this body."""

    def write(body):
        lines = [
            "import sys, os, atexit, threading, time, tempfile, multiprocessing",
            "from speakerlab.bin import entry",
            "from speakerlab.errors import SpeakerLabError",
            "def main(arguments):",
            textwrap.indent(textwrap.dedent(body), "    "),
            "if __name__ == '__main__':",
            "    entry.run(main, entry.parser('A program.'))",
        ]
        (tmp_path / "program.py").write_text("\n".join(lines))
        return [sys.executable, str(tmp_path / "program.py")]

    return write


def run(command, stdout=subprocess.PIPE):
    return subprocess.run(
        command, env=ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('a text')", 1, "a text\n"),
        ("raise SpeakerLabError('a.wav: no such file')", 1, "program: a.wav: no such file\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_status_and_message(program, body, status, said):
    done = run(program(body))
    assert (done.returncode, done.stderr, done.stdout) == (status, said, "")


def test_wrong_usage_and_a_bug_are_told_apart(program):
    command = program("print('before')\nraise RuntimeError('a bug')")
    usage, bug = run([*command, "--surplus"]), run(command)
    assert (usage.returncode, bug.returncode) == (2, 1)
    assert "unrecognized arguments: --surplus" in usage.stderr
    assert bug.stderr.startswith("Traceback")
    assert bug.stdout == "before\n"


def test_output_is_whole_in_a_pipe_and_in_a_file(program, tmp_path):
    command = program("for n in range(50_000): print(n)\nsys.stderr.write('no newline')\nsys.exit(4)")
    expected = "".join(f"{n}\n" for n in range(50_000))
    piped = run(command)
    assert (piped.returncode, piped.stdout, piped.stderr) == (4, expected, "no newline")
    with (tmp_path / "out").open("w") as out:
        assert run(command, stdout=out).returncode == 4
    assert (tmp_path / "out").read_text() == expected


def test_what_is_registered_for_the_exit_runs(program):
    """A folder that nobody removed, a thread that still writes, a worker, a function; in Python's order."""
    done = run(
        program(
            """
            global folder, worker
            folder = tempfile.TemporaryDirectory()
            worker = multiprocessing.Process(target=time.sleep, args=(30,), daemon=True)
            worker.start()
            atexit.register(print, "function")
            threading.Thread(target=lambda: (time.sleep(0.5), print("thread"))).start()
            print(folder.name, worker.pid, sep="\\n")
            sys.exit(3)
            """
        )
    )
    folder, pid, *rest = done.stdout.splitlines()
    assert (done.returncode, rest) == (3, ["thread", "function"])
    assert not Path(folder).exists()
    assert not Path("/proc", pid).exists()


def test_objects_are_left_to_the_system(program):
    """What costs the time: with torch there are half a million of them."""
    body = "global kept\nclass Kept:\n    def __del__(self): os.write(1, b'taken apart')\nkept = Kept()"
    assert run(program(body)).stdout == ""


def test_no_garbage_is_collected_while_a_command_starts():
    collected = []

    def note(phase, info):
        collected.append((phase, info["generation"]))

    gc.callbacks.append(note)
    try:
        with pytest.raises(KeyError), entry.starting():
            kept = [[] for _ in range(5000)]  # seven times what sets off a collection
            assert not gc.isenabled()
            raise KeyError
        assert not collected
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(kept)
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()


def test_memory_is_kept_for_the_next_layer(program):
    body = """
    import resource
    import numpy as np
    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            layers = [np.ones(2_000_000) for _ in range(5)]
            del layers
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    faults()
    print(faults())
    """
    assert int(run(program(body)).stdout) < 1000  # of 25 x 4,000 pages


def test_output_that_finds_no_room_is_one_line(program):
    with Path("/dev/full").open("w") as full:
        for body in ("print('x')", "print('x'); sys.exit(3)", "print('x' * 100000)"):
            done = run(program(body), stdout=full)
            assert (done.returncode, done.stderr) == (
                1,
                "program: standard output: No space left on device\n",
            )


def test_a_file_that_may_not_be_read_is_one_line(program):
    done = run(program("raise PermissionError(13, 'Permission denied', 'm/bundle.json')"))
    said = "program: m/bundle.json: Permission denied; change its permissions\n"
    assert (done.returncode, done.stderr, done.stdout) == (1, said, "")
    assert run(program("raise PermissionError(1, 'Not permitted')")).stderr.startswith("Traceback")


def test_an_error_that_is_not_of_the_output_is_left_alone(program):
    done = run(program("raise OSError(110, 'Connection timed out')"))
    assert done.returncode == 1
    assert done.stderr.endswith("TimeoutError: [Errno 110] Connection timed out\n")


def test_a_reader_that_has_seen_enough_is_no_traceback(program):
    command = program("for n in range(100000): print(n, flush=n % 100 == 0)")
    writer = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout.readline() == b"0\n"
    writer.stdout.close()
    assert writer.stderr.read() == b""
    assert writer.wait() == 1


@pytest.mark.parametrize(
    ("asked", "threads"), [("3", 3), ("3,1", 3), (" 2 ", 2), ("", 5), ("many", 5), ("0", 5), ("-1", 5)]
)
def test_threads_are_those_of_the_launcher_or_a_thread_per_core(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(session_arguments, "num_cores", lambda: 5)
    assert session_arguments.default().num_threads == threads
