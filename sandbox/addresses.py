"""The sandbox's fixed addresses and names. Stack files and tests rely on them, so they are constants and not settings."""

NETWORK_NAMESPACE = "feast-eks"
HOST_INTERFACE = "feast-eks-h"
NODE_INTERFACE = "feast-eks-n"
HOST_ADDRESS = "10.200.0.1"
NODE_ADDRESS = "10.200.0.2"
POD_BRIDGE = "cni0"
POD_GATEWAY = "10.244.0.1"
POD_GATEWAY_HARDWARE = "0a:58:0a:f4:00:01"
POD_RANGE = "10.244.0.0/24"
CLUSTER_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"

API_PORT = 6443
API_URL = f"https://{HOST_ADDRESS}:{API_PORT}"
# Not etcd's own 2379 and 2380, so that an etcd of the machine's owner is not in the way.
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
DNS_READY_PORT = 8181

S3_PORT = 5566
S3_URL = f"http://{HOST_ADDRESS}:{S3_PORT}"
REGION = "eu-west-1"
AWS_READY_URL = f"{S3_URL}/moto-api/feast-eks"  # answered by our own server only, not by any moto
EKS_CLUSTERS = ("feast-dev", "feast-staging", "feast-prod")  # in AWS from the start; each is the sandbox's Kubernetes

CONTEXT = "feast-eks-sandbox"
NODE = "sandbox-node"
PAUSE_IMAGE = "localhost/feast-eks/pause:1"
STORAGE_CLASS = "sandbox"
