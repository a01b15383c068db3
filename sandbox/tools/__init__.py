"""The pinned command line tools: taken where they are found, downloaded where they are published, else built from their Go modules.

A tool is looked for in the cache, then on PATH in exactly the pinned version, then downloaded from its official release, and else built
from `tools/<module>/go.mod`. Both are cached under the digest of everything that decides their content, and appear there only when they
are complete and have run once.
"""

from sandbox.tools.build import Built, Toolbox, obtain
from sandbox.tools.catalogue import HELM, KWOK, TOOLS, Release, Tool
from sandbox.tools.download import Downloads

__all__ = ["HELM", "KWOK", "TOOLS", "Built", "Downloads", "Release", "Tool", "Toolbox", "obtain"]
