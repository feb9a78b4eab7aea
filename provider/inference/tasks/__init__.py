"""The tasks by name, and the inputs that each needs. Rule: a task is one file beside this one, and one line here.

The file holds `begin(setting: Setting) -> Start` (`setting.py`) and is imported when the first such job comes: the
null worker reads this table too, and has no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from gpufair.protocol.frames import IMAGE, IMAGE_TO_IMAGE, INPAINT, MASK, TEXT_TO_IMAGE

if TYPE_CHECKING:
    from gpufair.provider.inference.tasks.setting import Begin

TASKS: Final[dict[str, tuple[str, ...]]] = {
    TEXT_TO_IMAGE: (),
    IMAGE_TO_IMAGE: (IMAGE,),
    INPAINT: (IMAGE, MASK),
}
"""A task's name is its file's; the kinds of its inputs stand in the order in which a Run names them."""


def begin(name: str) -> Begin:
    """How pictures of a known task begin."""
    return cast("Begin", import_module(f"{__name__}.{name}").begin)
