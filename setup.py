"""Names the three rooms as packages of the `gpufair` namespace; everything else is in pyproject.toml.

`packages.find` would yield `provider`, not `gpufair.provider`, and a hand-kept list silently drops the next folder.
"""

from setuptools import find_namespace_packages, setup

ROOMS = ["protocol", "protocol.*", "provider", "provider.*", "client", "client.*"]

setup(packages=[f"gpufair.{name}" for name in find_namespace_packages(include=ROOMS)])
