"""A server that answers as GitHub's REST API does, as far as comments and issues go: pages of at most 100, authors, errors."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class GitHub:
    """The state of one repository, and what was asked of it."""

    def __init__(self):
        self.comments = []
        self.issues = []
        self.asked = []
        self.failures = []
        """Answers to give before anything else: (status, headers, body)."""
        self.after_write = []
        """The same, for writes that took place all the same."""
        self.next_id = 1000
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=lambda: self.server.serve_forever(poll_interval=0.01), daemon=True).start()

    def add_comment(self, body, author="somebody", pull_request=7):
        self.next_id += 1
        comment = {
            "id": self.next_id,
            "body": body,
            "user": {"login": author},
            "html_url": f"https://x/c/{self.next_id}",
            "pr": pull_request,
        }
        self.comments.append(comment)
        return comment

    def add_issue(self, body, author="github-actions[bot]", **more):
        self.next_id += 1
        issue = {"number": self.next_id, "title": "", "body": body, "user": {"login": author}, "state": "open", "comments": []}
        self.issues.append(issue | {"html_url": f"https://x/i/{self.next_id}"} | more)
        return self.issues[-1]


class _Handler(BaseHTTPRequestHandler):
    github: GitHub

    def _answer(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.github.asked.append((self.command, url.path))
        if self.headers.get("authorization") != "Bearer a-token":
            return self._send(401, {"message": "Bad credentials"})
        if self.github.failures:
            status, headers, message = self.github.failures.pop(0)
            return self._send(status, {"message": message}, headers)
        status, answer = self._route(url.path.removeprefix("/repos/owner/name/"), query, body)
        if self.command != "GET" and self.github.after_write:
            status, headers, message = self.github.after_write.pop(0)
            return self._send(status, {"message": message}, headers)
        return self._send(status, answer)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _route(self, path, query, body):
        if found := re.fullmatch(r"issues/(\d+)/comments", path):
            number = int(found[1])
            issue = next((issue for issue in self.github.issues if issue["number"] == number), None)
            if self.command == "POST" and issue is not None:
                issue["comments"].append(body["body"])
                return 201, {"html_url": "https://x"}
            if self.command == "POST":
                return 201, self.github.add_comment(body["body"], "github-actions[bot]", number)
            return 200, self._page([c for c in self.github.comments if c["pr"] == number], query)
        if found := re.fullmatch(r"issues/comments/(\d+)", path):
            comment = next(c for c in self.github.comments if c["id"] == int(found[1]))
            if self.command == "DELETE":
                self.github.comments.remove(comment)
                return 204, None
            comment["body"] = body["body"]
            return 200, comment
        if path == "issues" and self.command == "POST":
            return 201, self.github.add_issue(body["body"], title=body["title"])
        if path == "issues":
            return 200, self._page([i for i in self.github.issues if i["state"] == query.get("state", "open")], query)
        if found := re.fullmatch(r"issues/(\d+)", path):
            issue = next(i for i in self.github.issues if i["number"] == int(found[1]))
            issue.update(body)
            return 200, issue
        return 404, {"message": "Not Found"}

    def _page(self, items, query):
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        return items[(page - 1) * size : page * size]

    def _send(self, status, content, headers=None):
        text = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments):
        pass
