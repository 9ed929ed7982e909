"""Exit 0 if this Python satisfies requirement files, else 1 and say what is missing on stderr.

Standard library only, because it runs before anything is installed. Knows the forms the files here
use: ``name``, ``name>=1.2``, ``name[extra]>=1.2``, ``name==1.2``.
Example: python3 check_requirements.py requirements/core.txt
"""

import re
import sys
from importlib import metadata
from pathlib import Path


def numbers(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` as (2, 13, 0), for comparison."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:4])


def problem(line: str) -> str:
    """Why this environment does not satisfy one requirement line, or an empty string."""
    name, operator, wanted = re.findall(r"^([\w-]+)(?:\[\w+\])?(?:(>=|==)([\w.]+))?$", line)[0]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    if operator == ">=" and numbers(found) < numbers(wanted):
        return f"{name} {found} is older than {wanted}"
    if operator == "==" and numbers(found) != numbers(wanted):
        return f"{name} {found} is not {wanted}"
    return ""


def main(arguments: list[str]) -> bool:
    """Check every file named in ``arguments``; ``--quiet`` leaves only the exit status."""
    quiet = "--quiet" in arguments
    problems = [] if (3, 10) <= sys.version_info[:2] <= (3, 14) else ["Python is not 3.10 to 3.14"]
    for path in (a for a in arguments if a != "--quiet"):
        text = Path(path).read_text(encoding="utf-8")
        lines = (line.split("#")[0].strip() for line in text.splitlines())
        problems += filter(None, (problem(line) for line in lines if line))
    if problems and not quiet:
        print("\n".join(problems), file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
