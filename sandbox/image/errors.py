"""What stops an image build: one sentence with the remedy, never a traceback."""

from sandbox.progress import SandboxError


class ImageBuildError(SandboxError):
    """The image cannot be built; the message says why, the remedy what to do."""
