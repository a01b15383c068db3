"""What looks like a secret is never repeated.

The engine masks what it knows to be secret. This is the second net, for what somebody wrote into a plain setting, a
name or an error message. It prefers to hide too much: a reviewer can read the file, a leaked password cannot be unread.
"""

import math
import re
from collections import Counter
from itertools import pairwise

SECRET = "[secret]"

SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"  # PEM
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS access keys
    r"|\bgh[a-z]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"  # GitHub tokens
    r"|\bxox[a-z]-[A-Za-z0-9-]{10,}|\bpul-[0-9a-f]{40}\b"  # Slack and Pulumi tokens
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"  # JSON web tokens
    r"|\bv1:[A-Za-z0-9+/=]{8,}:[A-Za-z0-9+/=]{8,}",  # ciphertext of a Pulumi stack
    re.DOTALL,
)
IN_ADDRESS = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/@\"']*:[^\s/@\"']*@")
WORDS = r"pass(?:word|wd|phrase)?|secret|token|credentials?|(?:private|access|api|secret)[_-]?(?:access[_-]?)?key|dsn|bearer"
ASSIGNED = re.compile(
    rf"(?P<name>(?:\b|_)(?:{WORDS})\\*[\"']?\s*(?:[:=]|=>)\s*)(?P<value>\\*\"[^\"]*\"|'[^']*'|[^\s,;)}}\]]+)", re.IGNORECASE
)
AUTHORIZATION = re.compile(r"(?P<name>\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._-]{12,}", re.IGNORECASE)
HARMLESS = frozenset({"true", "false", "null", "none", "[secret]", '"[secret]"', ""})

SENSITIVE_KEY = re.compile(rf"(?:^|[^a-z])(?:{WORDS}|auth)$", re.IGNORECASE)
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
NAMES_OF_SECRETS = frozenset({"existing-secret", "image-pull-secret", "online-store-secret", "registry-secret"})
"""Keys whose value is the name of a Secret object, which is no secret."""

TOKEN = re.compile(r"[A-Za-z0-9+/=_]{32,}")
RANDOM_ENOUGH = 4.2
"""Bits for each character above which a long word is taken for a key: random base64 has 5 or more, names have less than 4."""

OFTEN_ENOUGH = 0.3
"""How often, for each character, such a word changes between capitals, small letters and digits; aPhraseLikeThis does half as often."""


def redact(text: str) -> str:
    """The text without what looks like a password, key or token."""
    text = SHAPES.sub(SECRET, text)
    text = IN_ADDRESS.sub(lambda found: f"{found['scheme']}{SECRET}@", text)
    text = AUTHORIZATION.sub(lambda found: f"{found['name']}{SECRET}", text)
    text = ASSIGNED.sub(_assigned, text)
    return TOKEN.sub(_token, text)


def is_sensitive_key(key: str) -> bool:
    """Whether what stands under this key is a secret by its name: `password`, `REDIS_TOKEN`, `secretAccessKey`."""
    words = CAMEL.sub("-", key).replace("_", "-").lower()
    return words not in NAMES_OF_SECRETS and SENSITIVE_KEY.search(words) is not None


def _assigned(found: re.Match[str]) -> str:
    return found[0] if found["value"].lower() in HARMLESS else f"{found['name']}{SECRET}"


def _token(found: re.Match[str]) -> str:
    word = found[0]
    if word in (word.lower(), word.upper()):
        return word
    counts = Counter(word)
    bits = -sum(n / len(word) * math.log2(n / len(word)) for n in counts.values())
    kinds = [(c.isupper(), c.isdigit()) for c in word]
    changes = sum(one != other for one, other in pairwise(kinds)) / len(word)
    return SECRET if bits >= RANDOM_ENOUGH and changes >= OFTEN_ENOUGH else word
