"""The few calls of GitHub's REST API that are needed: list, write and change comments and issues.

What is ours is known by its first line, a hidden marker, and by its author: somebody who quotes the marker is not edited.
"""

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PAGE = 100
MOST_PAGES = 100
RETRIED = frozenset({429, 500, 502, 503, 504})
REFUSED = 403
ATTEMPTS = 5
LONGEST_WAIT = 60.0
LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost)(:\d+)?(/.*)?")


class GitHubError(Exception):
    """GitHub refused, or could not be reached."""


class RetryableError(GitHubError):
    """It may work next time, after `wait` seconds."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the address that it was meant for and nowhere else."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Do not follow."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on GitHub as the holder of a token sees it."""

    name: str
    token: str
    author: str
    api: str = "https://api.github.com"
    pause: float = 1.0
    """Seconds before the first repetition; it doubles."""

    def put_comment(self, number: int, body: str) -> str:
        """Write the comment on a pull request, or change ours if there is one; further ones of ours are removed. Returns its address."""
        return self._repeat(lambda: self._put_comment(number, body))

    def put_issue(self, title: str, body: str) -> str:
        """Open the issue, or change ours that is open. Returns its address."""
        return self._repeat(lambda: self._put_issue(title, body))

    def close_issue(self, marker: str, farewell: str) -> str:
        """Close our open issue of that marker with a last word; empty if there is none."""
        return self._repeat(lambda: self._close_issue(marker, farewell))

    def _put_comment(self, number: int, body: str) -> str:
        marker = marker_of(body)
        ours = [comment for comment in self._pages(f"issues/{number}/comments") if self._is_ours(comment, marker)]
        for superfluous in ours[1:]:
            self._call("DELETE", f"issues/comments/{int(superfluous['id'])}")
        if ours:
            return _address(self._call("PATCH", f"issues/comments/{int(ours[0]['id'])}", {"body": body}))
        return _address(self._call("POST", f"issues/{number}/comments", {"body": body}))

    def _put_issue(self, title: str, body: str) -> str:
        open_one = self._open_issue(marker_of(body))
        if open_one:
            return _address(self._call("PATCH", f"issues/{int(open_one['number'])}", {"title": title, "body": body}))
        return _address(self._call("POST", "issues", {"title": title, "body": body}))

    def _close_issue(self, marker: str, farewell: str) -> str:
        open_one = self._open_issue(marker)
        if not open_one:
            return ""
        number = int(open_one["number"])
        self._call("POST", f"issues/{number}/comments", {"body": farewell})
        return _address(self._call("PATCH", f"issues/{number}", {"state": "closed", "state_reason": "completed"}))

    def _open_issue(self, marker: str) -> dict[str, Any] | None:
        issues = self._pages("issues", state="open")
        return next((issue for issue in issues if "pull_request" not in issue and self._is_ours(issue, marker)), None)

    def _is_ours(self, item: dict[str, Any], marker: str) -> bool:
        author = (item.get("user") or {}).get("login")
        return author == self.author and str(item.get("body") or "").lstrip().split("\n", 1)[0].strip() == marker

    def _pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page until one is not full."""
        for page in range(1, MOST_PAGES + 1):
            items = self._call("GET", f"{path}?{urllib.parse.urlencode({**query, 'per_page': PAGE, 'page': page})}")
            if not isinstance(items, list):
                raise GitHubError(f"{path}: a list was expected")
            yield from (item for item in items if isinstance(item, dict))
            if len(items) < PAGE:
                return

    def _repeat(self, action: Any) -> str:
        """Do the whole action again when a part of it failed in passing: it looks first what is there, so nothing is written twice."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return str(action())
            except RetryableError as error:
                if attempt == ATTEMPTS:
                    raise GitHubError(f"{error} (tried {ATTEMPTS} times)") from error
                time.sleep(min(max(error.wait, self.pause * 2 ** (attempt - 1)), LONGEST_WAIT))
        raise AssertionError

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        address = f"{self.api.rstrip('/')}/repos/{self.name}/{path}"
        if not address.startswith("https://") and not LOCAL.fullmatch(address):
            raise GitHubError(f"{self.api} is no https address")
        request = urllib.request.Request(  # noqa: S310 - https, checked above
            address,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "User-Agent": "feast-eks-delivery",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=30) as answer:
                content = answer.read()
                return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            raise _refusal(f"{method} {path.partition('?')[0]}", error) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ValueError) as error:
            raise RetryableError(f"{method} {path.partition('?')[0]}: {error}", 0) from None


def marker_of(body: str) -> str:
    """The hidden first line by which a text is found again.

    Raises:
        GitHubError: there is none, so that the text would be written anew each time.
    """
    first = body.split("\n", 1)[0].strip()
    if not re.fullmatch(r"<!-- feast-eks [a-z]+: [a-z0-9-]+ -->", first):
        raise GitHubError("the text does not begin with a marker of feast-eks")
    return first


def _refusal(what: str, error: urllib.error.HTTPError) -> GitHubError:
    try:
        said = str(json.loads(error.read()).get("message", ""))
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        said = ""
    message = f"{what}: {error.code} {said or error.reason}"
    headers = error.headers
    limited = error.code == REFUSED and (
        "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or "rate limit" in said.lower()
    )
    if error.code in RETRIED or limited:
        return RetryableError(message, _seconds(headers.get("retry-after"), headers.get("x-ratelimit-reset")))
    return GitHubError(message)


def _seconds(retry_after: str | None, reset: str | None) -> float:
    try:
        return float(retry_after) if retry_after else max(0.0, float(reset) - time.time()) if reset else 0.0
    except ValueError:
        return 0.0


def _address(item: Any) -> str:
    return str(item.get("html_url", "")) if isinstance(item, dict) else ""
