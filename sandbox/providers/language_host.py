"""The language host: lets the engine run Python programs and policy packs.

Each program runs in a process of its own with its project's interpreter, as under the official host: a second run in one
command (`up` previews first) must not meet modules the first one imported.
"""

# ruff: noqa: D102, N802, ARG002 - gRPC names the methods and their arguments; the engine documents them

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format

from sandbox.providers import plugin
from sandbox.providers.program import ERROR_WAS_SHOWN
from sandbox.providers.proto import language_pb2, language_pb2_grpc, plugin_pb2

_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAM_RUNNER = Path(__file__).with_name("program.py")

# A policy pack must not outlive the host, even one that is killed: 1 is PR_SET_PDEATHSIG, 9 is SIGKILL.
_POLICY_PACK = "import ctypes, runpy; ctypes.CDLL(None).prctl(1, 9); runpy.run_module('pulumi.policy', run_name='__main__', alter_sys=True)"


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers the engine about Python programs; what concerns generating code is left unimplemented."""

    def __init__(self, engine: plugin.Engine) -> None:
        self._engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=plugin.sdk_version())

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:
        version = ".".join(map(str, sys.version_info[:3]))
        return language_pb2.AboutResponse(executable=sys.executable, version=version)

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:
        # Resources name the version of their plugin themselves; nothing is to be acquired in advance.
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.GetProgramDependenciesResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        message = b"nothing to install: `make install` prepares the environment of program and policies\n"
        yield language_pb2.InstallDependenciesResponse(stdout=message)

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:
        directory = request.info.program_directory or request.pwd
        environment = _inherited_environment()
        environment["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        environment["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        command = [
            _interpreter(request.info, directory),
            "-u",
            "-P",  # the runner's own directory must not shadow the standard library's modules
            str(_PROGRAM_RUNNER),
            f"--monitor={request.monitor_address}",
            f"--engine={request.args[0] if request.args else self._engine.address}",
            f"--project={request.project}",
            f"--stack={request.stack}",
            f"--organization={request.organization or 'organization'}",
            f"--root-directory={request.info.root_directory or directory}",
            f"--parallel={request.parallel}",
            *(["--dry-run"] if request.dryRun else []),
            str(Path(directory, request.info.entry_point or ".")),
        ]
        with self._child(command, cwd=request.pwd or directory, env=environment, stdout=self._engine.stdout) as child:
            context.add_callback(child.terminate)
            code = child.wait()
        if code == ERROR_WAS_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with exit status {code}" if code else "")

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Runs a policy pack and passes on what it writes; its first line is its port."""
        directory = request.info.program_directory
        if request.kind not in ("analyzer", ""):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the sandbox's language host runs policy packs, not {request.kind}s")
        environment = _inherited_environment(dict(entry.split("=", 1) for entry in request.env))
        command = [_interpreter(request.info, directory), "-u", "-c", _POLICY_PACK, *request.args, directory]
        with self._child(command, cwd=request.pwd or directory, env=environment, stdout=subprocess.PIPE) as child:
            context.add_callback(child.kill)
            assert child.stdout is not None
            for line in child.stdout:
                yield language_pb2.RunPluginResponse(stdout=line)
            yield language_pb2.RunPluginResponse(exitcode=child.wait())

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        for child in list(self._children):
            child.terminate()
        return empty_pb2.Empty()

    @contextlib.contextmanager
    def _child(self, command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, **options) as child:
            self._children.add(child)
            try:
                yield child
            finally:
                child.kill()  # a no-op once it has ended
                self._children.discard(child)


def _interpreter(info: Any, directory: str) -> str:
    """The interpreter of the virtual environment the project names, else the one this host runs in."""
    options = json_format.MessageToDict(info.options) if info.HasField("options") else {}
    environment = options.get("virtualenv")
    if not environment:
        return sys.executable
    interpreter = Path(info.root_directory or directory, environment, "bin", "python")
    if not interpreter.exists():
        raise plugin.ProviderError(f"virtualenv: {environment!r} in the project's runtime options has no bin/python; run `make install`")
    return str(interpreter)


def _inherited_environment(environment: dict[str, str] | None = None) -> dict[str, str]:
    """The environment without what the launcher added for this host alone."""
    inherited = dict(os.environ if environment is None else environment)
    paths = inherited.pop("PYTHONPATH", "").split(os.pathsep)
    if paths[0] == str(_REPOSITORY):
        paths = paths[1:]
    if any(paths):
        inherited["PYTHONPATH"] = os.pathsep.join(paths)
    return inherited


def main() -> None:
    """Serves the plugin until the engine is done with it."""
    # Programs get a signal themselves: they are of the same process group.
    plugin.serve(lambda server, engine: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageHost(engine), server))


if __name__ == "__main__":
    main()
