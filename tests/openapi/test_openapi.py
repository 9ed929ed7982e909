"""No request that schemathesis makes of the description gets a 5xx, or an answer that is not described."""

import os
import re
import subprocess
import sys
import threading
import time

from conftest import save_tiny

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def start(folder):
    """A server on a free port with a tiny model: (process, port, lines of its log)."""
    save_tiny(folder / "m", threshold=0.5)
    command = [sys.executable, "-m", "speakerlab.cli", "serve", "--cpu", "--port", "0", "--model", "m"]
    command += ["--max-audio", "10", "--legacy-routes", "all"]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in server.stderr:
        lines.append(line)
        if found := re.search(r"listening at http://127\.0\.0\.1:(\d+)/", line):
            threading.Thread(target=lambda: lines.extend(server.stderr), daemon=True).start()
            return server, found[1], lines
    raise AssertionError("".join(lines))


def test_no_request_is_answered_with_a_fault_of_the_server(tmp_path):
    server, port, lines = start(tmp_path)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json",
        "--checks", CHECKS, "--phases", "coverage,fuzzing,stateful", "--max-examples", "20", "--seed", "1",
        "--max-time", "120", "--suppress-health-check", "filter_too_much", "--no-color",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": os.environ["PEERS"]}
    try:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        time.sleep(0.5)
        assert server.poll() is None, "the server ended"
    finally:
        server.terminate()
        server.wait(60)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    told = re.search(r"([\d,]+) generated, ([\d,]+) passed", done.stdout)
    assert told, done.stdout[-2000:]
    generated, passed = (int(number.replace(",", "")) for number in told.groups())
    assert generated == passed > 1000
    assert not any("Traceback" in line for line in lines)
    assert sum("POST /v1/identify" in line for line in lines) > 20
