"""A picture out of another. Rule: it begins part-way down the schedule, as the other with the noise of that place.

The more steps are skipped, the less noise there is, and the more of the other picture stays.
"""

from __future__ import annotations

from gpufair.protocol.frames import IMAGE
from gpufair.provider.inference.tasks.setting import Setting, Start


def begin(setting: Setting) -> Start:
    """The picture that was given, noised."""
    given = setting.encoded(setting.pictures[IMAGE])
    return Start(setting.noised(given, setting.noise(), 0))
