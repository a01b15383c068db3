"""How a decision is made from values that are known only while the program runs."""

from collections.abc import Callable
from typing import TypeVar

import pulumi

Result = TypeVar("Result")


def computed(decision: Callable[..., Result], **wires: pulumi.Input[object]) -> pulumi.Output[Result]:
    """What a pure function makes of wires, each handed to it by name."""
    return pulumi.Output.all(**wires).apply(lambda values: decision(**values))
