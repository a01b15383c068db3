"""Runs one Pulumi program for the language host, in the program's own interpreter.

Needs nothing but the Pulumi SDK. Exits 0, or 32 when the error has been shown to the user already.
"""

import argparse
import asyncio
import ctypes
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# What the engine's hosts agree on: the error is on the screen, do not add "exited with a non-zero status".
ERROR_WAS_SHOWN = 32
_PR_SET_PDEATHSIG = 1
_ENGINE_STOPPED = "resource monitor shut down"


def main() -> int:
    """Runs the program; returns the exit status."""
    arguments = _arguments()
    # A host that is killed must not leave a program behind that talks to nobody.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    import pulumi  # noqa: PLC0415 - after the signal is set: the import takes its time
    import pulumi.runtime  # noqa: PLC0415

    pulumi.runtime.set_all_config(pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env())
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            monitor=arguments.monitor,
            engine=arguments.engine,
            project=arguments.project,
            stack=arguments.stack,
            parallel=arguments.parallel,
            dry_run=arguments.dry_run,
            organization=arguments.organization,
            root_directory=arguments.root_directory,
        )
    )
    program = Path(arguments.program)
    directory = str(program if program.is_dir() else program.parent)
    # For good, not only while the main module runs: functions given to `apply` may import later.
    sys.path.insert(0, directory)
    sys.argv = [arguments.program]
    # Futures nobody awaits are normal when a deployment ends early.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(arguments.parallel, 1) * 4))
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: runpy.run_path(arguments.program, run_name="__main__")))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return ERROR_WAS_SHOWN
    except Exception as error:  # noqa: BLE001 - any error of the program is shown as one
        if _ENGINE_STOPPED in str(error):  # the engine has said why
            return ERROR_WAS_SHOWN
        pulumi.log.error("The program failed with an unhandled exception:\n" + _own_frames(directory))
        return ERROR_WAS_SHOWN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("monitor", "engine", "project", "stack", "organization", "root-directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("program")
    return parser.parse_args()


def _own_frames(directory: str) -> str:
    """The traceback from the program's first frame on; the frames before it are the runner's."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    for index, frame in enumerate(frames):
        if frame.filename.startswith(directory):
            return traceback.format_exc(limit=index - len(frames))
    return traceback.format_exc()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads of gRPC calls that the engine will not answer any more would keep the interpreter.
    os._exit(code)
