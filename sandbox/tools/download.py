"""Official releases: the executable of a pinned version, downloaded whole and with the published checksum, or not at all.

Certificates and proxies are the system's. A host that once did not answer is not asked again in the same run.
"""

import hashlib
import http.client
import io
import re
import shutil
import ssl
import tarfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from sandbox.progress import SandboxError
from sandbox.tools.catalogue import Release

SWITCH = "SANDBOX_DOWNLOADS"
MIB = 2**20
CHUNK = 256 * 1024
HEADERS = {"User-Agent": "feast-eks"}  # some content networks refuse urllib's own


class NotDownloaded(Exception):
    """Why a release could not be had: the host, and what it did."""


@dataclass(frozen=True)
class Limits:
    """How long and how large a download may become before building is the better way."""

    answer_seconds: float = 3.0
    """Until a host answers, from its name to TLS."""
    stall_seconds: float = 15.0
    """Without a byte."""
    whole_seconds: float = 300.0
    """For one file. kube-apiserver, about 90 MB, needs a line of 2.5 Mbit/s."""
    file_bytes: int = 512 * MIB
    checksums_bytes: int = MIB


class Downloads:
    """The downloads of one run, with what it has learned about the hosts."""

    def __init__(self, trust: ssl.SSLContext | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._opener = urllib.request.build_opener(_Https(trust or ssl.create_default_context(), self._limits.stall_seconds), _HttpsOnly())
        self._silent: dict[str, str] = {}

    @classmethod
    def chosen(cls, environment: Mapping[str, str]) -> "Downloads | None":
        """Downloads as the environment wants them; None when it wants none, SandboxError when it says neither."""
        choice = environment.get(SWITCH, "").strip() or "auto"
        if choice not in ("auto", "never"):
            raise SandboxError(
                f"{SWITCH}={choice}: must be auto or never",
                remedy=f"unset {SWITCH} to download official releases where they can be had; `{SWITCH}=never` builds every tool",
            )
        return cls() if choice == "auto" else None

    def ask(self, releases: Iterable[Release]) -> None:
        """Find out, of all hosts at the same time, which ones answer. It takes no longer than one of them may."""
        deadline = time.monotonic() + self._limits.answer_seconds
        hosts = {urlsplit(url).netloc for release in releases for url in (release.url, release.checksums)}
        # Not a pool: its threads would be waited for at exit, and a name server that is silent holds them for half a minute.
        asking = {host: threading.Thread(target=self._ask, args=(host,), daemon=True) for host in hosts}
        for thread in asking.values():
            thread.start()
        for host, thread in asking.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._silent[host] = self._no_answer

    def fetch(self, release: Release, executable: Path, stopped: Callable[[], bool] = lambda: False) -> None:
        """Put the release's executable there, once its checksum is right. NotDownloaded may leave files beside it."""
        expected = self._published_digest(release, stopped)
        host, file = urlsplit(release.url).netloc, _file(release.url)
        download = executable.with_name(f"{executable.name}.download")
        with download.open("wb") as target:
            actual = self._save(release.url, target, self._limits.file_bytes, stopped)
        if actual != expected:
            raise NotDownloaded(f"{host}: the SHA-256 of {file} is {actual[:12]}…, published is {expected[:12]}…")
        if release.member:
            if not _take(release.member, download, executable, self._limits.file_bytes):
                raise NotDownloaded(f"{host}: {file} has no executable {release.member}")
            download.unlink()
        else:
            download.rename(executable)
        executable.chmod(0o755)

    @property
    def _no_answer(self) -> str:
        return f"no answer within {self._limits.answer_seconds:g} s"

    def _ask(self, host: str) -> None:
        try:
            self._open(f"https://{host}/", method="HEAD").close()
        except Exception:  # noqa: BLE001 - silence is remembered, any status is an answer, anything else shows when a file is asked for
            return

    def _published_digest(self, release: Release, stopped: Callable[[], bool]) -> str:
        text = io.BytesIO()
        self._save(release.checksums, text, self._limits.checksums_bytes, stopped)
        digest = digest_of(_file(release.url), text.getvalue().decode(errors="replace"))
        if digest is None:
            raise NotDownloaded(f"{urlsplit(release.checksums).netloc}: {_file(release.checksums)} has no SHA-256 of {_file(release.url)}")
        return digest

    def _save(self, url: str, target: IO[bytes], most: int, stopped: Callable[[], bool]) -> str:
        """Write the file's bytes; gives their SHA-256."""
        host, file = urlsplit(url).netloc, _file(url)
        deadline = time.monotonic() + self._limits.whole_seconds
        digest = hashlib.sha256()
        size = 0
        with self._open(url) as response:
            while chunk := self._read(response, host):
                if stopped():
                    raise NotDownloaded(f"{host}: stopped")
                if time.monotonic() > deadline:
                    raise self._give_up(host, f"{file} not whole within {self._limits.whole_seconds:g} s")
                size += len(chunk)
                if size > most:
                    raise NotDownloaded(f"{host}: {file} is larger than {most} bytes")
                digest.update(chunk)
                target.write(chunk)
            if response.length:
                raise NotDownloaded(f"{host}: {file} ended {response.length} bytes too early")
        return digest.hexdigest()

    def _open(self, url: str, method: str = "GET") -> http.client.HTTPResponse:
        host = urlsplit(url).netloc
        if host in self._silent:
            raise NotDownloaded(f"{host}: {self._silent[host]}")
        try:
            request = urllib.request.Request(url, method=method, headers=HEADERS)  # noqa: S310 - https: the catalogue's tests hold it to that
            response: http.client.HTTPResponse = self._opener.open(request, timeout=self._limits.answer_seconds)
        except HTTPError as error:
            error.close()
            raise NotDownloaded(f"{host}: {error.code} {_said(error.reason)} for {_file(url)}") from None
        except URLError as error:
            raise self._give_up(host, self._no_answer if isinstance(error.reason, TimeoutError) else _said(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._give_up(host, self._why(error)) from None
        return response

    def _read(self, response: http.client.HTTPResponse, host: str) -> bytes:
        try:
            return response.read1(CHUNK)  # not `read`, which waits for all of the chunk: the deadline is looked at in between
        except (OSError, http.client.HTTPException) as error:
            raise self._give_up(host, self._why(error)) from None

    def _why(self, error: Exception) -> str:
        return f"no byte for {self._limits.stall_seconds:g} s" if isinstance(error, TimeoutError) else _said(error)

    def _give_up(self, host: str, why: str) -> NotDownloaded:
        self._silent[host] = why
        return NotDownloaded(f"{host}: {why}")


class _Connection(http.client.HTTPSConnection):
    """One time limit for connecting, another for what comes after."""

    stall_seconds: float

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.stall_seconds)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, trust: ssl.SSLContext, stall_seconds: float) -> None:
        super().__init__(context=trust)
        self._trust = trust
        self._stall_seconds = stall_seconds

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connection(host: str, **options: Any) -> _Connection:
            made = _Connection(host, context=self._trust, **options)
            made.stall_seconds = self._stall_seconds
            return made

        return self.do_open(connection, req)


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows from https to https. A question (HEAD) is answered by a redirect as by anything else."""

    def redirect_request(  # noqa: PLR0917 - urllib's own signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.get_method() == "HEAD":
            return None
        if urlsplit(newurl).scheme != "https":
            raise NotDownloaded(f"{req.host}: redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def digest_of(file: str, checksums: str) -> str | None:
    """The SHA-256 that a checksum file gives for `file`: `DIGEST  NAME` a line, or nothing but the digest of the file beside it."""
    entries = [line.split() for line in checksums.splitlines() if line.strip()]
    if len(entries) == 1 and len(entries[0]) == 1:
        digests = entries[0]
    else:
        digests = [entry[0] for entry in entries if entry[1:] in ([file], [f"*{file}"])]
    found = {digest.lower() for digest in digests if re.fullmatch(r"[0-9a-fA-F]{64}", digest)}
    return found.pop() if len(found) == 1 else None


def _take(member: str, archive: Path, executable: Path, most: int) -> bool:
    """Copy one file out of a .tar.gz, and nothing else; False when it is not in there."""
    try:
        with tarfile.open(archive, "r:gz") as files:
            for entry in files:
                if entry.name.removeprefix("./") == member and entry.isfile() and entry.size <= most:
                    content = files.extractfile(entry)
                    if content is not None:
                        with executable.open("wb") as target:
                            shutil.copyfileobj(content, target)
                        return True
    except (tarfile.TarError, EOFError, zlib.error):
        return False
    return False


def _file(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


def _said(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    said = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(said.split())[:200]  # of what is no HTTP it has the whole line, with its end
