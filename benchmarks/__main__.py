"""`script/bench [NAME…] [--json] [--quick]`. ONE RULE: stdout holds rows alone, progress goes to stderr."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.registry import BENCHMARKS
from benchmarks.rows import Row, table
from benchmarks.running import NotHereError, Options, say


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    about = "\n".join(f"  {e.name:10} {e.about}{' (only when named)' * e.by_name_only}" for e in BENCHMARKS)
    parser = argparse.ArgumentParser(
        prog="script/bench", epilog=f"benchmarks:\n{about}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run (default: all that need not be named)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not to quote")
    parser.add_argument("--folder", type=Path, help="measure on the disk of this folder (default: the temporary one)")
    chosen = parser.parse_args(words)
    known = {entry.name for entry in BENCHMARKS}
    if unknown := sorted(set(chosen.names) - known):
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(sorted(known))}")
    return chosen


def main(words: list[str]) -> int:
    """Run what was asked for; 0 if all of it could run, whether goals were met or not."""
    chosen = parse(words)
    wanted = [e for e in BENCHMARKS if e.name in chosen.names or (not chosen.names and not e.by_name_only)]
    rows: list[Row] = []
    complete = True
    for entry in wanted:
        say(f"{entry.name}: {entry.about}")
        with tempfile.TemporaryDirectory(prefix=f"gpufair-bench-{entry.name}-", dir=chosen.folder) as folder:
            try:
                for row in entry.run(Options(chosen.quick, Path(folder))):
                    rows.append(row)
                    if chosen.json:
                        print(row.to_json(), flush=True)
            except NotHereError as why:
                complete = False
                say(f"{entry.name} can't run here: {why}")
    if not chosen.json and rows:
        print(table(rows))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
