"""The messages of the engine's protocol, from the SDK's own generated modules.

`pulumi.runtime.proto` by another name: under its own, Python imports all of the SDK first, in every plugin that is started.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

_SDK = importlib.util.find_spec("pulumi")
if _SDK is None or not _SDK.submodule_search_locations:
    raise ImportError("the Pulumi SDK is not installed; run `make install`")
__path__ = [str(Path(place, "runtime", "proto")) for place in _SDK.submodule_search_locations]

if TYPE_CHECKING:

    def __getattr__(module: str) -> Any: ...
