"""The shell environment in which pulumi, kubectl and feast act on the sandbox."""

import os
import shlex

from sandbox import addresses as at
from sandbox.state import BIN, CLONE, KUBECONFIG, PULUMI_BACKEND, PULUMI_HOME


def variables() -> dict[str, str]:
    """What has to be set, PATH included."""
    first = [str(BIN), str(CLONE / ".venv" / "bin")]
    rest = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry and entry not in first]
    return {
        "PATH": os.pathsep.join(first + rest),
        "KUBECONFIG": str(KUBECONFIG),
        "PULUMI_HOME": str(PULUMI_HOME),
        "PULUMI_BACKEND_URL": f"file://{PULUMI_BACKEND}",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_STACK": "local",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        # What the program asks of its provider (`enable_patch_force`): release 4.25 knows it by this name only.
        "PULUMI_K8S_ENABLE_PATCH_FORCE": "true",
        "AWS_ENDPOINT_URL": at.S3_URL,
        "AWS_REGION": at.REGION,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",  # moto takes anything; nothing here opens a real account
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def exports() -> str:
    """`export NAME='value'` lines for a shell to evaluate."""
    return "\n".join(f"export {name}={_quoted(value)}" for name, value in variables().items())


def _quoted(value: str) -> str:
    quoted = shlex.quote(value)
    return quoted if quoted.startswith("'") else f"'{quoted}'"
