"""The base image: Python 3.11 alone. ONE RULE: the ordinary image where a registry answers, else Debian's packages.

Every worker image has the same Python, whatever the host's: results are compared bit for bit between providers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import debian
import store
from engine import Engine
from house import StepError, digest, is_root, machine, run, say, succeeds

PYTHON = "3.11"
PULLED = f"python:{PYTHON}-slim"
SUITE = "bookworm"  # the Debian release whose own Python is 3.11
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# pip comes with the second of them; it is needed while the worker image is built.
PACKAGES = ("python3", "python3-venv")
# Not needed in a container, and half of what debootstrap leaves.
DROPPED = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale")


def base_image(engine: Engine, *, yes: bool) -> str:
    """The tag of the base image in this engine: there already, loaded from the cache, pulled, or bootstrapped."""
    if named := os.environ.get("GPUFAIR_BASE_IMAGE"):
        return named
    tag = f"gpufair-base:{digest([PULLED, machine(), *PACKAGES, *DROPPED])}"
    if store.find(engine, tag):
        return tag
    # A registry that can't be reached fails in a second; one that answers slowly gets its time.
    if succeeds(["docker", "-H", engine.host, "pull", PULLED], timeout=300):
        say(f"base image: pulled {PULLED}")
        engine.docker("tag", PULLED, tag)
    else:
        _bootstrap(engine, tag, yes=yes)
    store.save(engine, tag)
    return tag


def _bootstrap(engine: Engine, tag: str, *, yes: bool) -> None:
    if not is_root():
        raise StepError(
            f"the registry doesn't give {PULLED}, and building a base image from Debian's packages needs root",
            f"docker pull {PULLED} where a registry can be reached, or set GPUFAIR_BASE_IMAGE to an image with Python",
        )
    lacking = debian.missing(["debootstrap"]) + ([] if KEYRING.exists() else ["debian-archive-keyring"])
    if lacking:
        if not debian.agreed(lacking, yes=yes):
            raise StepError("no base image without debootstrap", f"apt-get install {' '.join(lacking)}")
        debian.install(lacking)
    say(f"base image: no registry answers, so it is made from Debian's packages ({SUITE}; about a minute)")
    mirror = os.environ.get("GPUFAIR_DEBIAN_MIRROR", MIRROR)
    # Not in the cache folder: debootstrap needs a file system with device files and without nosuid.
    root = Path(tempfile.mkdtemp(prefix="gpufair-base-"))
    try:
        tree = root / "tree"
        run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, tree, mirror],
            # A tree that is thrown away needn't survive a power cut: a third less time.
            env={"DPKG_FORCE": "unsafe-io"},
            log="debootstrap",
            timeout=900,
        )
        for name in DROPPED:
            shutil.rmtree(tree / name, ignore_errors=True)
            (tree / name).mkdir(parents=True)
        (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")  # as in the ordinary image
        archive = root / "base.tar"
        run(["tar", "-C", tree, "-cf", archive, "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "."])
        engine.docker("import", archive, tag)
    finally:
        shutil.rmtree(root, ignore_errors=True)
