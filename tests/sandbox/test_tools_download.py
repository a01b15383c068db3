"""Official releases: downloaded whole and as published, or else built; nobody waits for a host that does not answer."""

import gzip
import hashlib
import io
import os
import socket
import ssl
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox import certificates, cloud
from sandbox.certificates import Identity
from sandbox.progress import Progress, SandboxError
from sandbox.tools import TOOLS, Downloads, Release, Tool, catalogue
from sandbox.tools.download import SWITCH, Limits, digest_of
from tests.waiting import wait_until

PATIENT = Limits(answer_seconds=60, stall_seconds=60, whole_seconds=60)
TOOL = b"#!/bin/sh\necho tool v1.2.3 as published\n"
FILE, CHECKSUM = "/v1.2.3/tool", "/v1.2.3/tool.sha256"
EVERY_TOOL = {tool.name: tool for tool in [*TOOLS, *(value for value in vars(catalogue).values() if isinstance(value, Tool))]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def host(authority, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Host(authority) as host:
        host.publishes(FILE, TOOL)
        yield host


class Authority:
    """Signs the host's certificate; `trust` knows it and nobody else."""

    def __init__(self, directory):
        key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        own = certificates._certificate(Identity("ca", "authority"), key, None, key)
        server = Identity("server", "localhost", names=("localhost",), addresses=("127.0.0.1",))
        certificates._save(directory, "ca", key, own)
        certificates._save(directory, "server", server_key, certificates._certificate(server, server_key, own, key))
        self.trust = ssl.create_default_context(cafile=directory / "ca.crt")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(directory / "server.crt", directory / "server.key")


class Host:
    """Publishes files over TLS, or does with a path what the test says; keeps what it was asked for."""

    def __init__(self, authority):
        self.files = {}
        self.asked = []
        self.ending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients that hang up are the tests' matter
        self._server.socket = authority.server.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self._server.server_port}"
        self.name = f"localhost:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.asked.append(self.path)
                answer = host.files.get(self.path)
                if callable(answer):
                    answer(self)
                elif answer is None:
                    self.send_error(404)
                else:
                    answer_with(self, answer)

            def do_HEAD(self):
                host.asked.append("/")
                self.send_error(404)

            def log_message(self, *_):
                pass

        return Handler

    def publishes(self, path, content):
        self.files[path] = content
        self.files[f"{path}.sha256"] = hashlib.sha256(content).hexdigest().encode()

    def release(self, member="", file=FILE):
        version_too = file.replace("v1.2.3", "{version}")
        return Release(url=f"{self.url}{version_too}", checksums="{url}.sha256", member=member)


def answer_with(request, content, length=None):
    request.send_response(200)
    request.send_header("Content-Length", str(length or len(content)))
    request.end_headers()
    request.wfile.write(content)


def redirect_to(url):
    def answer(request):
        request.send_response(302)
        request.send_header("Location", url)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def trickle(request):
    """A thousand bytes, twenty seconds."""
    answer_with(request, b"#", length=1000)
    for _ in range(999):
        time.sleep(0.02)
        request.wfile.write(b"#")


def archive_of(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def kept(workshop):
    """Every file of the cache, by the directory it is in."""
    cache = workshop.directory / "cache"
    return {directory.name: sorted(file.name for file in directory.iterdir()) for directory in cache.iterdir()}


def lines_about(workshop, name="tool"):
    return [line for line in (workshop.directory / "log").read_text().splitlines() if line.startswith(f"{name}: ")]


@pytest.mark.parametrize(
    ("name", "machine", "url", "checksums", "member"),
    [
        (
            "kube-apiserver",
            "x86_64",
            "https://dl.k8s.io/release/{v}/bin/linux/amd64/kube-apiserver",
            "https://dl.k8s.io/release/{v}/bin/linux/amd64/kube-apiserver.sha256",
            "",
        ),
        (
            "kubectl",
            "aarch64",
            "https://dl.k8s.io/release/{v}/bin/linux/arm64/kubectl",
            "https://dl.k8s.io/release/{v}/bin/linux/arm64/kubectl.sha256",
            "",
        ),
        (
            "etcd",
            "x86_64",
            "https://github.com/etcd-io/etcd/releases/download/{v}/etcd-{v}-linux-amd64.tar.gz",
            "https://github.com/etcd-io/etcd/releases/download/{v}/SHA256SUMS",
            "etcd-{v}-linux-amd64/etcd",
        ),
        (
            "coredns",
            "aarch64",
            "https://github.com/coredns/coredns/releases/download/{v}/coredns_{n}_linux_arm64.tgz",
            "https://github.com/coredns/coredns/releases/download/{v}/coredns_{n}_linux_arm64.tgz.sha256",
            "coredns",
        ),
        (
            "pulumi",
            "x86_64",
            "https://get.pulumi.com/releases/sdk/pulumi-{v}-linux-x64.tar.gz",
            "https://get.pulumi.com/releases/sdk/pulumi-{n}-checksums.txt",
            "pulumi/pulumi",
        ),
        (
            "pulumi",
            "aarch64",
            "https://get.pulumi.com/releases/sdk/pulumi-{v}-linux-arm64.tar.gz",
            "https://get.pulumi.com/releases/sdk/pulumi-{n}-checksums.txt",
            "pulumi/pulumi",
        ),
        (
            "helm",
            "x86_64",
            "https://get.helm.sh/helm-{v}-linux-amd64.tar.gz",
            "https://get.helm.sh/helm-{v}-linux-amd64.tar.gz.sha256sum",
            "linux-amd64/helm",
        ),
    ],
)
def test_releases_are_where_their_projects_publish_them(name, machine, url, checksums, member):
    tool = EVERY_TOOL[name]
    facts = {"v": tool.version, "n": tool.version.removeprefix("v")}
    expected = Release(url=url.format(**facts), checksums=checksums.format(**facts), member=member.format(**facts))
    assert tool.release.of(tool, machine) == expected


def test_no_release_is_asked_for_without_tls_or_without_a_way_to_tell_its_version():
    published = [tool for tool in EVERY_TOOL.values() if tool.release]
    assert published
    for tool in published:
        release = tool.release.of(tool, "x86_64")
        assert release.url.startswith("https://"), tool.name
        assert release.checksums.startswith("https://"), tool.name
        assert tool.version_command, f"{tool.name}: what is downloaded must be asked for its version"


def test_a_machine_that_nobody_publishes_for_has_no_release():
    assert EVERY_TOOL["kubectl"].release.of(EVERY_TOOL["kubectl"], "riscv64") is None


@pytest.mark.parametrize(
    ("checksums", "found"),
    [
        (f"{'a' * 64}", True),
        (f"{'A' * 64}\n", True),
        (f"{'b' * 64}  other.tgz\n{'a' * 64}  file.tgz\n", True),
        (f"{'a' * 64} *file.tgz\n", True),
        (f"{'a' * 64}  other.tgz\n", False),
        (f"{'a' * 64}  file.tgz.sig\n{'b' * 64}  a-file.tgz\n", False),
        (f"{'a' * 64}  file.tgz\n{'b' * 64}  file.tgz\n", False),
        (f"{'a' * 63}  file.tgz\n", False),
        ("<html>not found</html>", False),
        ("", False),
    ],
)
def test_a_checksum_is_the_one_published_for_this_very_file(checksums, found):
    assert digest_of("file.tgz", checksums) == ("a" * 64 if found else None)


def test_a_published_executable_is_downloaded_and_nothing_is_built(workshop, authority, host):
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT))
    path = toolbox.path("tool")
    assert path.read_bytes() == TOOL
    assert os.access(path, os.X_OK)
    assert toolbox.summary() == "1 downloaded"
    assert workshop.count == 0
    assert lines_about(workshop) == [f"tool: downloaded from {host.url}{FILE}"]


def test_only_the_executable_is_taken_out_of_an_archive(workshop, authority, host):
    host.publishes("/tool.tar.gz", archive_of({"tool-v1.2.3/tool-language-python": b"no", "tool-v1.2.3/tool": TOOL, "README": b"no"}))
    release = host.release(member="tool-{version}/tool", file="/tool.tar.gz")
    path = workshop.toolbox(workshop.tool(release=release), downloads=Downloads(authority.trust, PATIENT)).path("tool")
    assert path.read_bytes() == TOOL
    assert os.access(path, os.X_OK)
    assert kept(workshop) == {path.parent.name: ["tool"]}, "language hosts beside it would be used by the engine"


def test_a_release_may_be_kept_by_another_host_over_https(workshop, authority, host):
    host.files["/elsewhere"] = host.files[FILE]
    host.files[FILE] = redirect_to(f"{host.url}/elsewhere")
    assert workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT)).path("tool").exists()
    assert workshop.count == 0


def test_what_was_downloaded_is_cached_and_no_host_is_asked_again(workshop, authority, host):
    tool = workshop.tool(release=host.release())
    first = workshop.toolbox(tool, downloads=Downloads(authority.trust, PATIENT)).path("tool")
    host.asked.clear()
    second = workshop.toolbox(tool, downloads=Downloads(authority.trust, PATIENT))
    assert second.path("tool") == first
    assert second.summary() == "1 cached"
    assert host.asked == []


def test_what_was_built_is_not_downloaded(workshop, authority, host):
    built = workshop.toolbox().path("tool")
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT))
    assert toolbox.path("tool") == built
    assert host.asked == []


def test_a_release_of_another_version_or_place_is_another_tool(workshop, authority, host):
    tool = workshop.tool(release=host.release())
    first = workshop.toolbox(tool, downloads=Downloads(authority.trust, PATIENT)).path("tool")
    host.publishes("/moved/v1.2.3/tool", TOOL)
    moved = workshop.tool(release=host.release(file="/moved/v1.2.3/tool"))
    assert workshop.toolbox(moved, downloads=Downloads(authority.trust, PATIENT)).path("tool") != first


def test_the_pinned_version_on_path_comes_before_a_download(workshop, authority, host):
    workshop.executable("tool", "#!/bin/sh\necho tool v1.2.3\n")
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT))
    assert toolbox.path("tool") == workshop.bin / "tool"
    assert host.asked == []


def test_a_tool_that_nobody_publishes_is_built_beside_those_that_are_downloaded(workshop, authority, host):
    toolbox = workshop.toolbox(workshop.tool("ours"), workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT))
    toolbox.path("ours")
    assert toolbox.summary().startswith("1 downloaded, 1 built (ours ")
    assert lines_about(workshop, "ours") == ["ours: built"]


def wrong_checksum(host):
    host.files[CHECKSUM] = b"0" * 64


def truncated(host):
    host.files[FILE] = lambda request: answer_with(request, TOOL[:20], length=len(TOOL))


def missing(host):
    del host.files[FILE]


def without_checksum(host):
    del host.files[CHECKSUM]


def checksum_of_others(host):
    host.files[CHECKSUM] = hashlib.sha256(TOOL).hexdigest().encode() + b"  another-tool\n"


def endless_checksums(host):
    host.files[CHECKSUM] = b"0" * (2**20 + 1)


def downgraded(host):
    host.files[FILE] = redirect_to(f"http://{host.name}{FILE}")


def downgraded_checksum(host):
    host.files[CHECKSUM] = redirect_to(f"http://{host.name}{CHECKSUM}")


def another_version(host):
    host.publishes(FILE, b"#!/bin/sh\necho tool v1.2.4\n")


def no_executable(host):
    host.publishes(FILE, b"<html>maintenance</html>")


def too_large(host):
    host.publishes(FILE, TOOL + b"#" * 4096)


def broken(host):
    host.files[FILE] = lambda request: request.wfile.write(b"not HTTP\r\n\r\n")


def in_a_circle(host):
    host.files[FILE] = redirect_to(f"{host.url}{FILE}")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (wrong_checksum, "the SHA-256 of tool is"),
        (truncated, f"tool ended {len(TOOL) - 20} bytes too early"),
        (missing, "404 Not Found for tool"),
        (without_checksum, "404 Not Found for tool.sha256"),
        (checksum_of_others, "tool.sha256 has no SHA-256 of tool"),
        (endless_checksums, "tool.sha256 is larger than 1048576 bytes"),
        (downgraded, "which is not https"),
        (downgraded_checksum, "which is not https"),
        (another_version, "does not run as v1.2.3"),
        (no_executable, "does not run as v1.2.3"),
        (too_large, "tool is larger than 2048 bytes"),
        (broken, "not HTTP"),
        (in_a_circle, "302 "),
    ],
)
def test_what_is_not_as_published_is_built_and_nothing_of_it_is_kept(workshop, authority, host, damage, why):
    damage(host)
    limits = Limits(answer_seconds=60, stall_seconds=60, whole_seconds=60, file_bytes=2048)
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, limits))
    path = toolbox.path("tool")
    assert path.read_bytes() != TOOL
    assert toolbox.summary().startswith("1 built (tool ")
    (line,) = lines_about(workshop)
    assert why in line
    assert line.startswith("tool: not downloaded (")
    assert line.endswith("), built")
    assert kept(workshop) == {path.parent.name: ["tool"]}


@pytest.mark.parametrize(
    "archive",
    [archive_of({"tool-language-python": TOOL}), gzip.compress(b"no archive"), archive_of({"tool": TOOL})[:-40], b"not even compressed"],
    ids=["without it", "no archive", "half an archive", "not compressed"],
)
def test_an_archive_without_the_executable_is_not_kept(workshop, authority, host, archive):
    host.publishes("/tool.tar.gz", archive)
    toolbox = workshop.toolbox(
        workshop.tool(release=host.release(member="tool", file="/tool.tar.gz")), downloads=Downloads(authority.trust, PATIENT)
    )
    path = toolbox.path("tool")
    assert lines_about(workshop) == [f"tool: not downloaded ({host.name}: tool.tar.gz has no executable tool), built"]
    assert kept(workshop) == {path.parent.name: ["tool"]}


def test_a_download_that_fails_in_a_way_nobody_thought_of_is_built(workshop, host):
    class Faulty(Downloads):
        def fetch(self, *_):
            raise RuntimeError("disk on fire")

    workshop.toolbox(workshop.tool(release=host.release()), downloads=Faulty(limits=PATIENT)).path("tool")
    assert lines_about(workshop) == ["tool: not downloaded (disk on fire), built"]


def test_a_link_in_an_archive_is_not_followed(workshop, authority, host):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("tool")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/true"
        archive.addfile(entry)
    host.publishes("/tool.tar.gz", packed.getvalue())
    release = host.release(member="tool", file="/tool.tar.gz")
    workshop.toolbox(workshop.tool(release=release), downloads=Downloads(authority.trust, PATIENT)).path("tool")
    assert "tool.tar.gz has no executable tool" in lines_about(workshop)[0]


def test_a_host_with_a_certificate_of_somebody_else_is_not_used(workshop, host):
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(limits=PATIENT))
    toolbox.path("tool")
    assert f"({host.name}: its certificate is refused: " in lines_about(workshop)[0]
    assert host.asked == []


def test_a_download_that_stalls_is_given_up(workshop, authority, host):
    def half(request):
        answer_with(request, TOOL[:20], length=len(TOOL))
        request.wfile.flush()
        host.ending.wait(60)

    host.files[FILE] = half
    limits = Limits(answer_seconds=60, stall_seconds=0.3, whole_seconds=60)
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, limits))
    path = toolbox.path("tool")
    assert lines_about(workshop) == [f"tool: not downloaded ({host.name}: no byte for 0.3 s), built"]
    assert kept(workshop) == {path.parent.name: ["tool"]}


def test_a_download_that_trickles_is_given_up(workshop, authority, host):
    host.files[FILE] = trickle
    limits = Limits(answer_seconds=60, stall_seconds=60, whole_seconds=0.3)
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, limits))
    began = time.monotonic()
    toolbox.path("tool")
    assert "not whole within 0.3 s" in lines_about(workshop)[0]
    assert time.monotonic() - began < 15, "it is not waited for until its end"


def test_a_host_that_takes_connections_and_says_nothing_is_asked_once(workshop, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        release = Release(url=f"https://{name}/{{name}}", checksums="{url}.sha256")
        tools = [workshop.tool(each, release) for each in ("tool", "other", "third")]
        toolbox = workshop.toolbox(*tools, downloads=Downloads(limits=Limits(answer_seconds=0.3)))
        for tool in tools:
            toolbox.path(tool.name)
            assert lines_about(workshop, tool.name) == [f"{tool.name}: not downloaded ({name}: no answer within 0.3 s), built"]
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_host_that_refuses_connections_costs_no_time(workshop, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
    release = Release(url=f"https://{name}/tool", checksums="{url}.sha256")
    workshop.toolbox(workshop.tool(release=release), downloads=Downloads(limits=PATIENT)).path("tool")
    assert lines_about(workshop) == [f"tool: not downloaded ({name}: Connection refused), built"]


def test_a_host_that_hangs_up_is_left_alone_and_the_others_are_still_used(workshop, authority, host):
    with Host(authority) as failing:
        failing.files[CHECKSUM] = lambda request: None
        tools = [workshop.tool("one", failing.release()), workshop.tool("two", failing.release()), workshop.tool(release=host.release())]
        toolbox = workshop.toolbox(*tools, downloads=Downloads(authority.trust, PATIENT))
        toolbox.path("two")
        assert toolbox.summary().startswith("1 downloaded, 2 built")
        assert failing.asked == ["/", CHECKSUM]
        for tool in ("one", "two"):
            assert f"({failing.name}: " in lines_about(workshop, tool)[0]


def test_name_servers_that_say_nothing_hold_up_no_build(workshop, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    ending = threading.Event()
    asked = []

    def resolve(host, *_arguments, **_options):
        asked.append(host)
        ending.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    hosts = ("dl.example.com", "get.example.com", "example.com")
    tools = [workshop.tool(f"tool-{host}", Release(url=f"https://{host}/tool", checksums="{url}.sha256")) for host in hosts]
    began = time.monotonic()
    toolbox = workshop.toolbox(*tools, downloads=Downloads(limits=Limits(answer_seconds=0.3)))
    try:
        for tool in tools:
            toolbox.path(tool.name)
        assert time.monotonic() - began < 15
    finally:
        ending.set()
    assert sorted(asked) == sorted(hosts), "each once, and all at the same time"


def test_a_question_that_fails_in_a_way_nobody_thought_of_is_no_traceback(workshop, authority, host, monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: shown.append(arguments.exc_value))
    downloads = Downloads(authority.trust, PATIENT)
    monkeypatch.setattr(downloads._opener, "open", lambda *_, **__: 1 / 0)
    workshop.toolbox(workshop.tool(release=host.release()), downloads=downloads).path("tool")
    assert shown == []
    assert lines_about(workshop) == ["tool: not downloaded (division by zero), built"]


def test_without_name_servers_it_is_said_so(workshop, monkeypatch):
    def resolve(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    toolbox = workshop.toolbox(
        workshop.tool(release=Release(url="https://dl.example.com/tool", checksums="{url}.sha256")), downloads=Downloads(limits=PATIENT)
    )
    toolbox.path("tool")
    assert lines_about(workshop) == ["tool: not downloaded (dl.example.com: Name or service not known), built"]


def test_who_waits_sees_why_it_is_built(workshop, authority, host):
    missing(host)
    workshop.go_that("exec sleep 300")
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT))
    wanted = f"building tool ({host.name}: 404 Not Found for tool), 0 of 1 tools there"
    wait_until(lambda: toolbox.state == wanted, f"it is said: {wanted}")
    toolbox.stop()


def test_stopping_ends_a_download_and_keeps_nothing(workshop, authority, host):
    host.files[FILE] = trickle
    toolbox = workshop.toolbox(workshop.tool(release=host.release()), downloads=Downloads(authority.trust, PATIENT))
    wait_until(lambda: FILE in host.asked, "the download runs")
    toolbox.stop()
    assert kept(workshop) == {}
    assert workshop.count == 0


def test_downloads_are_the_default():
    assert Downloads.chosen({}) is not None
    assert Downloads.chosen({SWITCH: ""}) is not None
    assert Downloads.chosen({SWITCH: "auto"}) is not None


def test_never_builds_also_what_was_downloaded_before(workshop, authority, host):
    tool = workshop.tool(release=host.release())
    downloaded = workshop.toolbox(tool, downloads=Downloads(authority.trust, PATIENT)).path("tool")
    host.asked.clear()
    assert Downloads.chosen({SWITCH: "never"}) is None
    toolbox = workshop.toolbox(tool, downloads=Downloads.chosen({SWITCH: "never"}))
    assert toolbox.path("tool") != downloaded
    assert workshop.count == 1
    assert host.asked == []


def test_any_other_choice_is_refused_before_anything_is_touched(monkeypatch):
    monkeypatch.setenv(SWITCH, "Never")
    monkeypatch.setattr(cloud, "_take_over", lambda *_: pytest.fail("the sandbox was touched"))
    with pytest.raises(SandboxError) as refused:
        cloud.bring_up(Progress(1))
    assert refused.value.message == "SANDBOX_DOWNLOADS=Never: must be auto or never"
    assert "SANDBOX_DOWNLOADS=never" in refused.value.remedy


@pytest.mark.parametrize(("choice", "downloads"), [("auto", True), ("never", False)])
def test_the_choice_reaches_the_tools(monkeypatch, choice, downloads):
    given = []

    class Stop(Exception):
        pass

    def toolbox(*arguments, **_options):
        given.extend(arguments)
        raise Stop

    monkeypatch.setenv(SWITCH, choice)
    monkeypatch.setattr(cloud, "_take_over", lambda *_: None)
    monkeypatch.setattr(cloud, "Toolbox", toolbox)
    with pytest.raises(Stop):
        cloud.bring_up(Progress(1))
    assert any(isinstance(argument, Downloads) for argument in given) == downloads
