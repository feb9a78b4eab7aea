"""Starting a command quickly. Rule: while modules are loaded nobody looks for garbage: what they make, stays."""

from __future__ import annotations

import gc


def begin() -> None:
    """Look for no garbage from here on: for a process that is about to load most of what it will ever hold."""
    gc.disable()


def done() -> None:
    """Set what was loaded apart and look for garbage again. Does nothing in a process that never called `begin`."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
