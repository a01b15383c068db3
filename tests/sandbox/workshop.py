"""A place to make tools in: a pinned module, and a Go that does what the test says."""

import os
import textwrap

import pytest

from sandbox.tools import Tool, Toolbox

GOOD = 'printf "#!/bin/sh\\necho tool v1.2.3\\n" > "$out"; chmod +x "$out"'


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    return Workshop(tmp_path, monkeypatch)


class Workshop:
    """A pinned module, and a Go that does what the test says and counts its builds."""

    def __init__(self, directory, monkeypatch):
        self.directory = directory
        self.module = directory / "module"
        self.module.mkdir()
        (self.module / "go.mod").write_text("module m\n\nrequire example.com/tool v1.2.3\n")
        (self.module / "go.sum").write_text("")
        self.builds = directory / "builds"
        self.bin = directory / "bin"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.go_that(GOOD)

    def go_that(self, builds, version="go1.26.9"):
        script = f"""\
            #!/bin/sh
            [ "$1" = version ] && {{ echo "go version {version} linux/amd64"; exit 0; }}
            echo build >> {self.builds}
            while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
            {builds}
        """
        self.executable("go", textwrap.dedent(script))

    def executable(self, name, content):
        (self.bin / name).write_text(content)
        (self.bin / name).chmod(0o755)

    def tool(self, name="tool", release=None):
        return Tool(
            name=name,
            module=str(self.module),
            package="example.com/tool",
            pinned="example.com/tool",
            version_command=("version",),
            release=release,
        )

    def toolbox(self, *tools, downloads=None):
        box = Toolbox(self.directory / "cache", self.directory / "log", tools or [self.tool()], os.environ["PATH"], downloads)
        box.start()
        return box

    @property
    def count(self):
        return len(self.builds.read_text().splitlines()) if self.builds.exists() else 0
