#!/usr/bin/env bash
# torch from the package index requires the CUDA libraries on 64-bit ARM too.
# Guess: on Linux for aarch64 pip install torch gives the CPU build; only on x86-64 does it
# bring gigabytes of CUDA.
# What happens: the wheel for aarch64 requires cuda-toolkit, cuDNN, NCCL, NVSHMEM and triton wherever the platform is
# Linux; the one for macOS on arm64 has the same list, whose markers leave it out there.
# What follows: images and disks of ARM machines without a GPU need the index of CPU builds, as x86-64 does.
# Seen with: torch 2.13.0, pip 26.3, Python 3.11.
# Usage: bash findings/torch_aarch64_cuda.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pip==26.3 packaging==26.4
cd "$work"
venv/bin/pip --version | cut -d ' ' -f 1,2
for platform in manylinux_2_28_aarch64 macosx_14_0_arm64; do
  venv/bin/pip install --quiet --dry-run --no-deps --target unused --only-binary :all: --python-version 3.12 \
    --platform "$platform" --report "$platform.json" torch==2.13.0
done
venv/bin/python - <<'END'
import json
import sys
from pathlib import Path

from packaging.requirements import Requirement

found = {}
for platform, system in (("manylinux_2_28_aarch64", "Linux"), ("macosx_14_0_arm64", "Darwin")):
    (wheel,) = json.loads(Path(f"{platform}.json").read_text())["install"]
    target = {"platform_system": system, "python_version": "3.12", "extra": ""}
    required = [Requirement(line) for line in wheel["metadata"]["requires_dist"]]
    names = [one.name for one in required if one.marker is None or one.marker.evaluate(target)]
    found[system] = [name for name in names if name.startswith(("cuda", "nvidia", "triton"))]
    print(wheel["download_info"]["url"].rsplit("/", 1)[-1])
    print(f"  on {system} requires of CUDA: {found[system] or 'nothing'}")
as_recorded = "cuda-toolkit" in found["Linux"] and "nvidia-cudnn-cu13" in found["Linux"] and not found["Darwin"]
sys.exit(0 if as_recorded else "this has changed")
END
