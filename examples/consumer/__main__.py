"""An application that reads features: configured by the feature store's outputs, not by copies of its addresses.

    pulumi config set feature_store organization/feast-eks/dev
    pulumi config set kubernetes:context CONTEXT
    pulumi up
    kubectl -n attrition logs job/predict

`feature_store` is the stack of the feature store, in the same state backend: organization/project/stack.
"""

from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

SERVICE = "attrition_model_v1"
CLIENT = Path(__file__).resolve().parent.parent / "client.py"

store = pulumi.StackReference(pulumi.Config().require("feature_store"))
services = store.require_output("feature_services")

namespace = kubernetes.core.v1.Namespace(
    "namespace",
    metadata={
        "name": "attrition",
        "labels": {
            # The feature store's network policies let pods of such namespaces in, and no others.
            "feast.dev/feature-client": "true",
            "pod-security.kubernetes.io/enforce": "restricted",
        },
    },
)

configuration = kubernetes.core.v1.ConfigMap(
    "configuration",
    metadata={"namespace": namespace.metadata.name},
    data={
        "feature_store.yaml": store.require_output("client_feature_store_yaml"),
        "feature_services.json": pulumi.Output.json_dumps(services),
        "client.py": CLIENT.read_text(),
    },
)

kubernetes.batch.v1.Job(
    "predict",
    metadata={"name": "predict", "namespace": namespace.metadata.name, "annotations": {"pulumi.com/replaceUnready": "true"}},
    spec={
        "backoffLimit": 2,
        "activeDeadlineSeconds": 300,
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "predict",
                        # Any image with Feast will do; the feature store's own is at hand.
                        "image": store.require_output("image"),
                        "command": ["python3", "/app/client.py", SERVICE, "employee_id", "101", "202", "303"],
                        # Feast makes an (empty) registry file beside its configuration, in the working directory.
                        "workingDir": "/tmp",
                        "env": [{"name": "HOME", "value": "/tmp"}],
                        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [{"name": "app", "mountPath": "/app"}, {"name": "tmp", "mountPath": "/tmp"}],
                    }
                ],
                "volumes": [{"name": "app", "configMap": {"name": configuration.metadata.name}}, {"name": "tmp", "emptyDir": {}}],
            }
        },
    },
)

# What a model's code is compared with before it is rolled out: a contract that changed is another sha256.
pulumi.export("contract", services[SERVICE]["sha256"])
