"""The command `feature-runtime VERB`.

Promises: exactly one line of JSON on stdout (the result, or `{"error": …}` and a non-zero exit), everything else on
stderr, no password in either, no traceback for what can be expected to go wrong.
"""

import argparse
import atexit
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from types import FrameType, ModuleType
from typing import NoReturn, TextIO

from feature_runtime.feast_import import without_type_checks
from feature_runtime.masking import Mask, MaskedStream, environment_mask
from feature_runtime.refusal import Refusal
from feature_runtime.settings import require_aws_role

VERBS = {
    "prepare-registry": "create or alter the database roles and what they may do",
    "check": "compare the definitions with what is in use, and refuse what breaks it",
    "apply": "make the registry say what the feature repo says, and prove it",
    "materialize": "load feature values from the offline into the online store",
    "serve": "answer requests for feature vectors",
    "smoke": "prove on every replica that the vectors are right",
    "skew": "compare what is served with the history, and record the difference",
    "train-set": "write the vectors that a model is trained on",
    "lock": "write contract.lock.json from the feature repo",
    "sample-data": "write the example's history of employees",
}
DECLARED = ("materialize", "serve", "smoke", "skew", "train-set")
"""Verbs that work with what `lock` and `apply` have found to be right."""
UNEXPECTED = 70
TERMINATED = 128 + signal.SIGTERM


def main() -> NoReturn:
    """Run the verb that the command line names, and end the process with its exit code."""
    mask = environment_mask()
    result_stream = _keep_stdout_for_the_result(mask)

    def finish(result: dict[str, object], code: int) -> NoReturn:
        print(json.dumps(mask.within(result)), file=result_stream, flush=True)
        logging.shutdown()
        sys.stderr.flush()
        # Not the usual exit: it waits for the threads of the data frame library, which may never end.
        atexit._run_exitfuncs()  # noqa: SLF001  what `os._exit` skips
        os._exit(code)

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        # As process 1 of a container Python would ignore the signal, and the pod would be killed 30 s later.
        finish({"error": "terminated from outside before it was done. Running it again is safe."}, TERMINATED)

    signal.signal(signal.SIGTERM, terminated)

    try:
        require_aws_role()
        verb, arguments = _parse(sys.argv[1:])
        result = verb.run(arguments)
        code = result.pop("exit_code", 0)
    except Refusal as refusal:
        result, code = {"error": str(refusal), **refusal.details}, refusal.exit_code
    except KeyboardInterrupt:
        result, code = {"error": "interrupted"}, 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001  the last place that can report it
        # Nobody expected this one: the traceback is the only thing that helps.
        traceback.print_exc()
        result, code = {"error": f"unexpected {type(error).__name__}: {error}"}, UNEXPECTED
    finish(result, code)


def _keep_stdout_for_the_result(mask: Mask) -> TextIO:
    """Send to stderr, masked, what Feast and its libraries print; return the real stdout."""
    sys.stdout.flush()
    result_stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stderr = MaskedStream(sys.__stderr__, mask)  # type: ignore[arg-type]
    sys.stdout = sys.stderr
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return result_stream


def _parse(arguments: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    # Two steps: a verb's module is imported only when it is asked for, since most of them import Feast.
    parser = argparse.ArgumentParser(
        prog="feature-runtime",
        description="What runs inside the pods of the feature store.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="verbs:\n" + "\n".join(f"  {verb:<18}{what}" for verb, what in VERBS.items()),
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    verb = parser.parse_args(arguments[:1]).verb
    if verb in DECLARED:
        without_type_checks()
    module = importlib.import_module(f"feature_runtime.{verb.replace('-', '_')}")
    verb_parser = argparse.ArgumentParser(prog=f"feature-runtime {verb}", description=(module.__doc__ or "").partition("\n")[0])
    module.add_arguments(verb_parser)
    return module, verb_parser.parse_args(arguments[1:])


if __name__ == "__main__":
    main()
