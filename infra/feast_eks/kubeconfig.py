"""How an EKS cluster is reached: with a token that the AWS command line makes anew for every connection.

Pure.
"""

import json

EXEC_API = "client.authentication.k8s.io/v1"


def eks_kubeconfig(*, name: str, region: str, endpoint: str, certificate_authority: str) -> str:
    """A kubeconfig without any secret in it, as JSON. `certificate_authority` is base64, as EKS gives it."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": endpoint, "certificate-authority-data": certificate_authority}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": EXEC_API,
                            "command": "aws",
                            "args": ["eks", "get-token", "--cluster-name", name, "--region", region, "--output", "json"],
                            "interactiveMode": "Never",
                        }
                    },
                }
            ],
        }
    )
