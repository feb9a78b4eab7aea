"""A picture out of words. Rule: it begins as its seed's noise and nothing else."""

from __future__ import annotations

from gpufair.provider.inference.tasks.setting import Setting, Start


def begin(setting: Setting) -> Start:
    """Noise, as strong as the scheduler takes it."""
    return Start(setting.noise() * setting.scheduler.init_noise_sigma)
