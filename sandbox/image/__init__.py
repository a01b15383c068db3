"""Container images without a container engine: Debian packages and wheels become layers, layers become an archive.

`build` is the whole interface. It promises that nothing is mounted or run as a service, that what it returns is
complete, that an interrupted build leaves nothing in the way, and that only what changed is built again.
"""

from sandbox.image.build import Image, build
from sandbox.image.errors import ImageBuildError

__all__ = ["Image", "ImageBuildError", "build"]
