"""The pinned command line tools: taken where they are found, built from their Go modules where not.

A tool is looked for in the cache, then on PATH in exactly the pinned version, and else built from `tools/<module>/go.mod`. A build is
cached under the digest of everything that decides its content, and appears there only when it is complete and has run once.
"""

from sandbox.tools.build import Built, Toolbox, obtain
from sandbox.tools.catalogue import HELM, KWOK, TOOLS, Tool

__all__ = ["HELM", "KWOK", "TOOLS", "Built", "Tool", "Toolbox", "obtain"]
