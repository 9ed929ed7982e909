#!/usr/bin/env bash
# On Linux too, importing onnxruntime makes a lasting device id and queues a telemetry event.
# Guess: the wheels for Linux collect nothing (telemetry is a matter of Windows), and importing a library writes no
# files.
# What happens: the import makes Microsoft/DeveloperTools/.onnxruntime/deviceid, an id that stays, and
# onnxruntime.db, with an event in it, in XDG_CACHE_HOME or ~/.cache. disable_telemetry_events() comes too late: it
# can be called only after the import. Privacy.md in the wheel documents the collection and how to stop it.
# What follows: set ORT_DISABLE_TELEMETRY=1 before the process starts (jobs, containers, tests); tests that list a
# cache folder meet two files more.
# Seen with: onnxruntime 1.31.1, Python 3.11, Linux x86-64.
# Usage: bash findings/onnxruntime_telemetry.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 onnxruntime==1.31.1
cd "$work"
venv/bin/python - <<'END'
import os
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print("onnxruntime", version("onnxruntime"))


def after(name, code, **settings):
    """Files in a new cache folder after ``code``, by name."""
    cache = Path(name)
    cache.mkdir()
    env = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    env.update(XDG_CACHE_HOME=str(cache.resolve()), **settings)
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    found = {path.name: path for path in cache.rglob("*") if path.is_file()}
    print(f"{name}: {sorted(found) or 'nothing'} written")
    return found


off = "import onnxruntime; onnxruntime.disable_telemetry_events()"
plain = after("import", "import onnxruntime")
late = after("import, then disable_telemetry_events()", off)
early = after("import with ORT_DISABLE_TELEMETRY=1", "import onnxruntime", ORT_DISABLE_TELEMETRY="1")
database = sqlite3.connect(plain.get("onnxruntime.db", ":memory:"))
(tables,) = database.execute("select count(*) from sqlite_master where name = 'events'").fetchone()
events = database.execute("select count(*) from events").fetchone()[0] if tables else 0
print(f"events in onnxruntime.db after the import, if not yet sent: {events}")
as_recorded = "deviceid" in plain and "deviceid" in late and not early
sys.exit(0 if as_recorded else "this has changed")
END
