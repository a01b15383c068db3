"""A cloud on this machine: Kubernetes, S3 and everything the program needs to run for real, without an account.

`python -m sandbox up` brings it up and rolls the feature store out, `down` leaves nothing behind.

    state         places on disk, and the lock that lets one command work at a time
    machine       can the sandbox run here, and what has to be installed first
    progress      what the user sees while waiting, and when something fails
    tools         Kubernetes, etcd, CoreDNS, Pulumi and its Kubernetes provider: found, downloaded, or built from their Go modules
    daemons       processes that outlive the command that started them
    network, certificates, control_plane, node, dns, storage    the cluster, one module per part
    s3            S3, IAM and STS
    image, charts, providers    what runs on the cluster, and what the engine deploys it with
    cloud         all of the above in order: bring it up, take it down, say how it is
    rollout       the program itself, rolled out onto that cloud
"""

import sys
from pathlib import Path

# infra/ is run as a script directory, so it is no package: its decisions are imported from beside it.
sys.path.append(str(Path(__file__).resolve().parent.parent / "infra"))
