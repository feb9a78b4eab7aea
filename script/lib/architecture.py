"""The generated parts of ARCHITECTURE.md. ONE RULE: diagrams come from tables, jobs from docstrings.

`architecture.py` writes them; `architecture.py --check` only says whether they are current (exit code 1 if not).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from gpufair.protocol.lifecycle import ATTEMPT, JOB, LEASE, mermaid

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "ARCHITECTURE.md"
ROOMS = ("protocol", "provider", "client")
LEFT_OUT = re.compile(r"_pb2|/migrations/|/__init__\.py$")


def diagrams() -> str:
    """The three state machines as Mermaid."""
    drawn = {LEASE.name: mermaid(LEASE), JOB.name: mermaid(JOB), ATTEMPT.name: mermaid(ATTEMPT)}
    parts = [f"**{name.capitalize()}**\n\n```mermaid\n{text}\n```" for name, text in drawn.items()]
    return "\n\n".join(parts)


def files() -> str:
    """Every module with the first sentence of its docstring, folder by folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *ROOMS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folders: dict[str, list[str]] = {}
    for name in sorted(listed.stdout.split()):
        path = ROOT / name
        if not name.endswith(".py") or LEFT_OUT.search(name) or not path.exists():
            continue
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = " ".join(doc.split("Rule:")[0].split()).rstrip(".")
        folders.setdefault(str(Path(name).parent), []).append(f"| `{Path(name).name}` | {first} |")
    blocks = [f"**{folder}/**\n\n| file | its job |\n|---|---|\n" + "\n".join(rows) for folder, rows in folders.items()]
    return "\n\n".join(blocks)


def current(text: str) -> str:
    """The page with its generated parts made anew."""
    for name, made in (("states", diagrams()), ("files", files())):
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, rest = text.split(begin, 1)
        _, after = rest.split(end, 1)
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def main() -> int:
    """Write the page, or with --check compare it."""
    have = TARGET.read_text(encoding="utf-8")
    want = current(have)
    if "--check" in sys.argv:
        if have != want:
            print("ARCHITECTURE.md is not current: run script/docs", file=sys.stderr)
        return int(have != want)
    TARGET.write_text(want, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
