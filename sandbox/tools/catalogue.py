"""Which tools there are, how each is built, and where its official release is. Versions are pinned in the go.mod files."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).resolve().parent
# A machine's architecture, as Go calls it and as Pulumi's archives do.
ARCHITECTURES = {"x86_64": {"arch": "amd64", "x64": "x64"}, "aarch64": {"arch": "arm64", "x64": "arm64"}}


@dataclass(frozen=True, kw_only=True)
class Release:
    """Where an official executable is published: templates over name, version (v1.35.4), number (1.35.4), arch and x64."""

    url: str
    checksums: str
    """File with its SHA-256, alone or in a list; may begin with {url}."""
    member: str = ""
    """The executable's path in a .tar.gz; empty when the executable itself is published."""

    def of(self, tool: "Tool", machine: str) -> "Release | None":
        """The release of the tool's version for a machine (`x86_64`); None when there is none."""
        if machine not in ARCHITECTURES:
            return None
        facts = {"name": tool.name, "version": tool.version, "number": tool.version.removeprefix("v"), **ARCHITECTURES[machine]}
        url = self.url.format(**facts)
        return Release(url=url, checksums=self.checksums.format(url=url, **facts), member=self.member.format(**facts))


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One executable, the Go package it is built from and the module directory that pins it."""

    name: str
    module: str
    package: str
    pinned: str = ""
    """Go module whose version is the tool's; empty for our own code."""
    released_as: str = ""
    """The release that the pinned module is, where its version does not say so."""
    version_command: tuple[str, ...] = ()
    """Arguments that make the tool print its version; empty when it has none."""
    version_variables: tuple[str, ...] = ()
    """Go variables that carry the version, set when linking."""
    constants: tuple[tuple[str, str], ...] = ()
    tags: str = ""
    unoptimized: str = ""
    """Packages that hardly run and are many: compiled without optimization and debugging information, in a fifth less time."""
    release: Release | None = None
    """Official executables of the same version; without one it is always built."""

    @property
    def official(self) -> Release | None:
        """The official release for this machine."""
        return self.release.of(self, platform.machine()) if self.release else None

    @property
    def directory(self) -> Path:
        """Where its go.mod lies."""
        return MODULES / self.module

    @property
    def version(self) -> str:
        """The pinned version, such as v1.35.4; `sandbox` for our own code."""
        if self.released_as:
            return self.released_as
        if not self.pinned:
            return "sandbox"
        pin = re.search(rf"^\s*(?:require )?{re.escape(self.pinned)} (v\S+)", self.go_mod, re.MULTILINE)
        if pin is None:
            raise ValueError(f"{self.directory / 'go.mod'} does not pin {self.pinned}")
        return pin.group(1)

    @property
    def go_mod(self) -> str:
        """Content of its go.mod."""
        return (self.directory / "go.mod").read_text()

    @property
    def flags(self) -> list[str]:
        """Arguments of `go build` that decide what the executable does."""
        values = [(variable, self.version) for variable in self.version_variables] + list(self.constants)
        link = " ".join(["-s", "-w", *(f"-X {variable}={value}" for variable, value in values)])
        tags = ["-tags", self.tags] if self.tags else []
        quick = [f"-gcflags={self.unoptimized}=-N -l -dwarf=false"] if self.unoptimized else []
        return [*tags, *quick, "-ldflags", link]

    def prints_its_version(self, output: str) -> bool:
        """Whether what the version command printed is the pinned version and no other."""
        return (
            re.search(
                rf"(?<![\w.]){re.escape(self.version.removeprefix('v'))}(?![\w.-])",
                re.sub(r"\bv(?=\d)|CoreDNS-", " ", output),
            )
            is not None
        )


def _kubernetes(name: str, *version_command: str) -> Tool:
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    facts = (
        ("gitMajor", "1"),
        ("gitMinor", "35"),
        ("gitTreeState", "clean"),
        ("gitCommit", "0000"),
        ("buildDate", "1970-01-01T00:00:00Z"),
    )
    return Tool(
        name=name,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        pinned="k8s.io/kubernetes",
        version_command=version_command or ("--version",),
        version_variables=tuple(f"{package}.gitVersion" for package in packages),
        constants=tuple((f"{package}.{fact}", value) for package in packages for fact, value in facts),
        release=Release(url="https://dl.k8s.io/release/{version}/bin/linux/{arch}/{name}", checksums="{url}.sha256"),
    )


TOOLS = (
    # The longest first: everything else of Kubernetes is quick once its packages are compiled.
    _kubernetes("kube-apiserver"),
    _kubernetes("kubectl", "version", "--client"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kubelet"),
    _kubernetes("kube-proxy"),
    Tool(
        name="etcd",
        module="etcd",
        package="go.etcd.io/etcd/server/v3",
        pinned="go.etcd.io/etcd/server/v3",
        version_command=("--version",),
        release=Release(
            url="https://github.com/etcd-io/etcd/releases/download/{version}/etcd-{version}-linux-{arch}.tar.gz",
            checksums="https://github.com/etcd-io/etcd/releases/download/{version}/SHA256SUMS",
            member="etcd-{version}-linux-{arch}/etcd",
        ),
    ),
    Tool(
        name="coredns",
        module="coredns",
        package=".",
        pinned="github.com/coredns/coredns",
        version_command=("-version",),
        release=Release(
            url="https://github.com/coredns/coredns/releases/download/{version}/coredns_{number}_linux_{arch}.tgz",
            checksums="{url}.sha256",
            member="coredns",
        ),
    ),
    Tool(name="pause", module="pause", package="."),
    Tool(
        name="pulumi",
        module="pulumi",
        package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        pinned="github.com/pulumi/pulumi/pkg/v3",
        version_command=("version",),
        version_variables=("github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",),
        tags="osusergo",
        # One file of it only: with the archive's language hosts beside the engine, the sandbox's own would not be used.
        release=Release(
            url="https://get.pulumi.com/releases/sdk/pulumi-{version}-linux-{x64}.tar.gz",
            checksums="https://get.pulumi.com/releases/sdk/pulumi-{number}-checksums.txt",
            member="pulumi/pulumi",
        ),
    ),
    Tool(
        name="pulumi-resource-kubernetes",
        module="pulumi_kubernetes",
        package=".",
        pinned="github.com/pulumi/pulumi-kubernetes/provider/v4",
        released_as="4.25.0",
        version_variables=("github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version",),
        unoptimized="github.com/pulumi/pulumi-kubernetes/sdk/v4/go/...",
    ),
)

HELM = Tool(
    name="helm",
    module="helm",
    package="helm.sh/helm/v3/cmd/helm",
    pinned="helm.sh/helm/v3",
    version_command=("version", "--short"),
    version_variables=("helm.sh/helm/v3/internal/version.version",),
    release=Release(
        url="https://get.helm.sh/helm-{version}-linux-{arch}.tar.gz",
        checksums="{url}.sha256sum",
        member="linux-{arch}/helm",
    ),
)
"""Only tests render charts with it: the provider renders them by itself. So nobody waits for it on the way up."""

KWOK = Tool(
    name="kwok",
    module="kwok",
    package="sigs.k8s.io/kwok/cmd/kwok",
    pinned="sigs.k8s.io/kwok",
    version_command=("--version",),
)
"""Only tests with fake nodes need it, so it is none of `TOOLS`, and nobody waits for it on the way up."""
