"""`python -m sandbox VERB`: up, cloud, down, status, env."""

import argparse
import os
import signal
import sys
import traceback
from types import FrameType

from sandbox import cloud, environment, machine, rollout, s3, state, testing
from sandbox.progress import Progress, SandboxError, duration
from sandbox.summary import summary

VERBS = {
    "up": "bring the cloud up and roll the feature store out onto it",
    "cloud": "bring up everything that the program needs, without the program",
    "down": "remove everything from this machine except the cache",
    "test": "run all tests on a sandbox of their own",
    "status": "say which parts run",
    "env": "print the shell exports with which pulumi, kubectl and feast act on the sandbox",
}
INTERRUPTED = 130
PROGRAM_STEPS = 2


def main() -> int:
    """Run one verb; the exit status is 0 when it did what it says."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A cloud on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, purpose in VERBS.items():
        verbs.add_parser(verb, help=purpose, description=purpose)
    verb = parser.parse_args().verb
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        return {"up": _up, "cloud": _cloud, "down": _down, "test": _test, "status": _status, "env": _env}[verb]()
    except SandboxError as error:
        _say_to_user(f"\n{verb}: {error}")
        return 1
    except KeyboardInterrupt:
        _say_to_user(f"\n{verb}: interrupted; run it again and it goes on from here")
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - whatever it is, the user gets one line and the developer the rest
        _say_to_user(f"\n{verb}: unexpected error: {_keep_traceback()}")
        return 1


def _up() -> int:
    machine.require_possible()
    with state.locked("up"):
        progress = Progress(_cloud_steps() + PROGRAM_STEPS)
        cloud.bring_up(progress, _context())
        with progress.step("Feature repo") as step:
            rollout.prepare_feature_repo(step)
        with progress.step("Feature store") as step:
            rollout.roll_out(environment.variables(), step)
        s3.mark_rolled_out()
        progress.say(summary(environment.variables()))
        progress.say(f"Done in {duration(progress.elapsed)}.")
    return 0


def _cloud() -> int:
    machine.require_possible()
    with state.locked("cloud"):
        progress = Progress(_cloud_steps())
        cloud.bring_up(progress, _context())
        progress.say(f"The cloud is up ({duration(progress.elapsed)}).")
    return 0


def _down() -> int:
    machine.require_possible()
    with state.locked("down", remove=True):
        progress = Progress(len(cloud.DOWN_STEPS))
        cloud.take_down_everything(progress)
        progress.say(f"Nothing of the sandbox is left on this machine except the cache {state.CACHE}.")
    return 0


def _test() -> int:
    machine.require_possible()
    if state.owner():
        Progress(0).say("A sandbox is up: it is taken down first, the tests bring up their own.")
        _down()
    try:
        if missing := machine.missing_packages(machine.TEST_PACKAGES):
            Progress(0).say(f"Installing what the tests need: {', '.join(missing)}")
            machine.install(missing, state.LOGS / "packages.log")
        return testing.run_tests()
    finally:
        _down()


def _status() -> int:
    runs, lines = cloud.status()
    sys.stdout.write("\n".join([*lines, ""]))
    return 0 if runs else 1


def _env() -> int:
    sys.stdout.write(f"{environment.exports()}\n")
    if not state.owner():
        _say_to_user("env: the sandbox is not up; `make up` brings it up")
    return 0


def _say_to_user(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _context() -> str:
    return os.environ.get("KUBECONTEXT", "").strip()


def _cloud_steps() -> int:
    return cloud.STEPS_BORROWED if _context() else cloud.STEPS


def _keep_traceback() -> str:
    error = sys.exc_info()[1]
    try:
        state.write(state.LOGS / "unexpected-error.log", traceback.format_exc(), 0o644)
    except OSError:
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__}: {error} (where: {state.LOGS / 'unexpected-error.log'})"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
