"""Debian packages as layers: resolved and verified by the machine's own apt, unpacked without running their scripts.

apt works in directories of its own here, so the machine's package state is neither read nor changed; its sources,
keys, proxies and credentials (`/etc/apt`) are used as they are. Not running the packages' scripts is what makes the
result deterministic and needs neither mounts nor a chroot; `finish_base` does the little that they would have done.
"""

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.image.command import CommandError, Runner
from sandbox.image.errors import ImageBuildError

URI_LINE = re.compile(r"^'[^']+' (?P<file>(?P<name>[^_ ]+)_\S+\.deb) ")
USER = "feast"
USER_ID = 1001

MERGED_DIRECTORIES = ("bin", "lib", "sbin", "lib64")  # Debian keeps these as links into /usr

# Read last, so it wins over /etc/apt; the hooks are the machine's, and would tidy and refresh the machine.
APT_SETTINGS = """\
Dir::State "{directory}";
Dir::State::status "{directory}/status";
Dir::State::lists "{directory}/lists";
Dir::Cache "{directory}";
Dir::Cache::archives "{directory}/archives";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Install::Pre-Invoke;
#clear APT::Install::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
"""

# Dependencies that only maintainer scripts, translations and just-in-time compilation need.
UNUSED_PACKAGES = frozenset(
    {
        "adduser",
        "daemon",
        "debconf",
        "dpkg",
        "gcc-12-base",
        "init-system-helpers",
        "libaudit-common",
        "libc-l10n",
        "libfile-find-rule-perl",
        "libgdbm-compat4",
        "libgdbm6",
        "libjson-perl",
        "libllvm14",
        "libnumber-compare-perl",
        "libpam-modules",
        "libpam-modules-bin",
        "libperl5.36",
        "libsemanage-common",
        "libsemanage2",
        "libsepol2",
        "libtext-glob-perl",
        "libz3-4",
        "locales",
        "lsb-base",
        "passwd",
        "perl",
        "perl-base",
        "perl-modules-5.36",
        "postgresql-client-common",
        "postgresql-common",
        "sensible-utils",
        "ssl-cert",
        "sysvinit-utils",
        "tar",
        "ucf",
        "usrmerge",
    }
)

# Below the root. Licences (usr/share/doc/*/copyright) stay, as in Debian's own slim images.
UNUSED_PATHS = (
    "etc/cron.d",
    "etc/default",
    "etc/init.d",
    "etc/logrotate.d",
    "etc/redis",
    "etc/skel",
    "usr/lib/*/gconv",
    "usr/lib/postgresql/*/lib/bitcode",
    "usr/lib/postgresql/*/lib/llvmjit*",
    "usr/lib/postgresql/*/lib/pgxs",
    "usr/lib/systemd",
    "usr/lib/tmpfiles.d",
    "usr/share/applications",
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/gcc",
    "usr/share/gdb",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/pixmaps",
    "usr/share/postgresql/*/man",
    "var/log",
)


@dataclass(frozen=True)
class Package:
    """A package file that apt chose and verified."""

    name: str
    file: Path


class PackageSource:
    """Debian packages by name with everything they depend on, downloaded once per build."""

    def __init__(self, directory: Path, runner: Runner) -> None:
        self._directory = directory
        self._runner = runner
        self._update_failure = ""
        self._ready = False

    def closure(self, names: Collection[str]) -> list[Package]:
        """Download `names` and all they depend on, less the unused ones.

        Raises:
            ImageBuildError: apt on this machine does not offer one of them.
        """
        self._prepare()
        install = ["--yes", "--no-install-recommends", "install", *sorted(names)]
        try:
            # Without an archive of its own this would list only what is not downloaded yet.
            listed = self._apt("-qq", "-o", f"Dir::Cache::archives={self._directory / 'empty'}", "--print-uris", *install)
            wanted = [match.groupdict() for match in map(URI_LINE.match, listed.splitlines()) if match]
            self._apt("-q", "--download-only", *install)
        except CommandError as error:
            raise ImageBuildError(
                "apt cannot provide the Debian 12 packages that the image is made of.",
                lines=[line for line in (self._update_failure, error.reason) if line],
                log=self._runner.log,
                remedy="let /etc/apt name an archive of Debian 12 (bookworm) that this machine can reach",
            ) from error
        return [
            Package(each["name"], self._directory / "archives" / each["file"]) for each in wanted if each["name"] not in UNUSED_PACKAGES
        ]

    def _prepare(self) -> None:
        if self._ready:
            return
        for name in ("lists/partial", "archives/partial", "empty/partial"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()  # empty: apt must not count on what this machine has installed
        (self._directory / "apt.conf").write_text(APT_SETTINGS.format(directory=self._directory))
        try:
            self._apt("-q", "update")
        except CommandError as error:
            # One unreachable third-party source must not matter; if it is the archive itself, the install says so.
            self._update_failure = error.reason
        self._ready = True

    def _apt(self, *arguments: str) -> str:
        return self._runner.run(["apt-get", "--config-file", str(self._directory / "apt.conf"), *arguments])


def unpack(packages: Sequence[Package], root: Path, runner: Runner) -> None:
    """Unpack `packages` into `root`, without documentation, translations and what only a running system needs."""
    for name in MERGED_DIRECTORIES:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        runner.pipe(
            ["dpkg-deb", "--fsys-tarfile", str(package.file)],
            ["tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--directory", str(root)],
        )
    for pattern in UNUSED_PATHS:
        for path in root.glob(pattern):
            remove(path)
    for path in (root / "usr/share/doc").glob("*/*"):
        if path.name != "copyright":
            remove(path)


def finish_base(root: Path) -> None:
    """Do what the scripts of the base packages would have done: users, certificates, the shell's other names."""
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\n"
        f"{USER}:x:{USER_ID}:0:{USER}:/tmp:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    )
    (etc / "group").write_text(f"root:x:0:\n{USER}:x:{USER_ID}:\nnogroup:x:65534:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("bash")
    (root / "usr/bin/awk").symlink_to("mawk")

    certificates = etc / "ssl/certs/ca-certificates.crt"
    certificates.parent.mkdir(parents=True, exist_ok=True)
    authorities = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    certificates.write_text("".join(path.read_text().rstrip() + "\n" for path in authorities))
    remove(root / "usr/share/ca-certificates")

    for name, mode in (("tmp", 0o1777), ("run", 0o755), ("root", 0o700), ("proc", 0o555), ("sys", 0o555)):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)


def remove(path: Path) -> None:
    """Remove a file, a link or a tree."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
