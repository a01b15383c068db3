"""Put a text on GitHub once: as the comment of a pull request, or as an open issue.

    python -m delivery.publish --repo owner/name --pr 12 --file comment.md
    python -m delivery.publish --repo owner/name --issue "prod differs from the program" --file drift.md
    python -m delivery.publish --repo owner/name --resolved --file drift.md

The token is read from GITHUB_TOKEN, the API's address from GITHUB_API_URL, as on a runner.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from delivery.github import GitHubError, Repository, marker_of
from delivery.markdown import LIMIT

BOT = "github-actions[bot]"
"""Who a workflow's own token writes as."""
RESOLVED = "A later run found no difference."


def _body(path: Path) -> str:
    body = path.read_text(encoding="utf-8")
    if len(body) > LIMIT:
        raise GitHubError(f"{path} has {len(body)} characters, more than {LIMIT}")
    return body


def main(arguments: list[str]) -> int:
    """Publish; 0 if it is there."""
    parser = argparse.ArgumentParser(prog="python -m delivery.publish", description="Put a text on GitHub, once.")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--pr", type=int, metavar="N")
    where.add_argument("--issue", metavar="TITLE")
    where.add_argument("--resolved", action="store_true", help="close the issue with the file's marker")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--author", default=BOT, help="whose comments are ours (%(default)s)")
    options = parser.parse_args(arguments)
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", options.repo):
        parser.error(f"{options.repo!r} is no OWNER/NAME")
    token = os.environ.get("GITHUB_TOKEN", "")
    if not token:
        parser.error("GITHUB_TOKEN is not set")
    repository = Repository(name=options.repo, token=token, author=options.author, api=os.environ.get("GITHUB_API_URL") or Repository.api)
    try:
        body = _body(options.file)
        if options.pr is not None:
            address = repository.put_comment(options.pr, body)
        elif options.issue:
            address = repository.put_issue(options.issue, body)
        else:
            address = repository.close_issue(marker_of(body), RESOLVED)
    except (GitHubError, OSError) as error:
        sys.stderr.write(f"not published: {error}\n")
        return 1
    sys.stdout.write(f"{address or 'nothing to close'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
