"""One comment for each stack and pull request, one issue for each stack, whatever else is there and whatever fails in passing."""

import pytest

from delivery import github, publish

from .github_server import GitHub

MARKER = "<!-- feast-eks preview: prod -->"
BOT = "github-actions[bot]"


@pytest.fixture
def hub(monkeypatch):
    server = GitHub()
    monkeypatch.setenv("GITHUB_TOKEN", "a-token")
    monkeypatch.setenv("GITHUB_API_URL", server.address)
    monkeypatch.setattr(github.time, "sleep", lambda seconds: server.asked.append(("WAIT", seconds)))
    yield server
    server.server.shutdown()


@pytest.fixture
def put(tmp_path):
    def run(body, *arguments):
        (tmp_path / "body.md").write_text(body)
        return publish.main(["--repo", "owner/name", *arguments, "--file", str(tmp_path / "body.md")])

    return run


def test_the_first_comment_is_written(hub, put, capsys):
    assert put(f"{MARKER}\nhello", "--pr", "7") == 0
    assert [comment["body"] for comment in hub.comments] == [f"{MARKER}\nhello"]
    assert capsys.readouterr().out.startswith("https://")


def test_ours_is_changed_also_when_it_is_on_the_third_page(hub, put):
    for number in range(250):
        hub.add_comment(f"comment {number}")
    ours = hub.add_comment(f"{MARKER}\nold", BOT)
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert len(hub.comments) == 251, "nothing was added"
    assert ours["body"] == f"{MARKER}\nnew"


def test_a_list_that_ends_with_a_full_page_is_read_to_its_end(hub, put):
    for number in range(100):
        hub.add_comment(f"comment {number}")
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert len(hub.comments) == 101


@pytest.mark.parametrize(
    ("body", "author"),
    [
        (f"{MARKER}\nold", "somebody"),
        (f"> {MARKER}\nas it said", BOT),
        (f"look:\n{MARKER}", BOT),
        ("<!-- feast-eks preview: dev -->\nold", BOT),
        (None, BOT),
    ],
    ids=["another author", "quoted", "not in the first line", "another stack", "no body"],
)
def test_what_is_not_ours_is_never_changed(hub, put, body, author):
    other = hub.add_comment(body, author)
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert other["body"] == body
    assert len(hub.comments) == 2


def test_superfluous_ones_of_ours_are_removed(hub, put):
    for text in ("one", "two"):
        hub.add_comment(f"{MARKER}\n{text}", BOT)
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert [comment["body"] for comment in hub.comments] == [f"{MARKER}\nnew"]


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_fails_in_passing_is_tried_again(hub, put, status):
    hub.failures += [(status, {}, "try later"), (status, {}, "try later")]
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert len(hub.comments) == 1


def test_a_write_whose_answer_was_lost_is_not_repeated(hub, put):
    hub.after_write.append((502, {}, "bad gateway"))
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert len(hub.comments) == 1, "it looks what is there before it writes again"


def test_a_rate_limit_is_waited_for_as_long_as_github_says(hub, put):
    hub.failures.append((403, {"retry-after": "17"}, "You have exceeded a secondary rate limit"))
    assert put(f"{MARKER}\nnew", "--pr", "7") == 0
    assert ("WAIT", 17.0) in hub.asked


def test_a_refusal_is_told_at_once(hub, put, capsys):
    hub.failures.append((403, {}, "Resource not accessible by integration"))
    assert put(f"{MARKER}\nnew", "--pr", "7") == 1
    assert "Resource not accessible by integration" in capsys.readouterr().err
    assert len(hub.asked) == 1, "asking again would not help"


def test_it_gives_up_in_the_end(hub, put, capsys):
    hub.failures += [(500, {}, "down")] * 50
    assert put(f"{MARKER}\nnew", "--pr", "7") == 1
    assert "tried 5 times" in capsys.readouterr().err


def test_the_token_is_not_sent_elsewhere(hub, put, capsys):
    hub.failures.append((302, {"location": "http://127.0.0.1:1/"}, "moved"))
    assert put(f"{MARKER}\nnew", "--pr", "7") == 1
    captured = capsys.readouterr()
    assert "a-token" not in captured.err + captured.out


def test_an_address_without_tls_is_refused(put, monkeypatch, hub):
    monkeypatch.setenv("GITHUB_API_URL", "http://api.example.com")
    assert put(f"{MARKER}\nnew", "--pr", "7") == 1
    assert hub.asked == []


def test_a_text_without_a_marker_is_refused(hub, put):
    assert put("hello", "--pr", "7") == 1
    assert hub.comments == [], "it would be written anew at every run"


def test_an_issue_is_opened_once_and_changed_afterwards(hub, put):
    hub.add_issue("<!-- feast-eks drift: prod -->", author="somebody")
    hub.add_issue("<!-- feast-eks drift: prod -->", pull_request={})
    for text in ("first", "second"):
        assert put(f"<!-- feast-eks drift: prod -->\n{text}", "--issue", "prod differs") == 0
    assert len(hub.issues) == 3
    assert hub.issues[-1]["body"].endswith("second")


def test_an_issue_is_closed_when_it_is_resolved_and_nothing_happens_without_one(hub, put):
    body = "<!-- feast-eks drift: prod -->\nall is well"
    assert put(body, "--resolved") == 0
    assert hub.issues == []
    issue = hub.add_issue("<!-- feast-eks drift: prod -->\nit differs")
    assert put(body, "--resolved") == 0
    assert issue["state"] == "closed"
    assert issue["comments"] == ["A later run found no difference."]


def test_a_closed_issue_is_not_reopened(hub, put):
    hub.add_issue("<!-- feast-eks drift: prod -->\nold", state="closed")
    assert put("<!-- feast-eks drift: prod -->\nnew", "--issue", "prod differs") == 0
    assert [issue["state"] for issue in hub.issues] == ["closed", "open"]


def test_without_a_token_nothing_is_tried(hub, put, monkeypatch):
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(SystemExit):
        put(f"{MARKER}\nnew", "--pr", "7")
    assert hub.asked == []
