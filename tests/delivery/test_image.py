"""The runtime image of a commit: one for all stacks, built once, and never a digest that nobody pushed."""

import json
import subprocess

import pytest
import yaml

from delivery import image
from feast_eks.runtime_image import source_tag

from .conftest import PROJECT

DIGEST = f"sha256:{'ab12' * 16}"
MISSING = "ERROR: 123.dkr.ecr.eu-west-1.amazonaws.com/feature-runtime:0123: not found"


class Docker:
    """What docker would say, and what it was asked."""

    def __init__(self, inspected=MISSING, built=DIGEST):
        self.inspected, self.built, self.asked = inspected, built, []

    def __call__(self, command):
        self.asked.append(command[2])
        if command[2] == "imagetools":
            there = self.inspected.startswith("sha256")
            return subprocess.CompletedProcess(command, 0 if there else 1, json.dumps({"digest": self.inspected}), self.inspected)
        with open(command[command.index("--metadata-file") + 1], "w") as metadata:  # noqa: PTH123
            json.dump({"containerimage.digest": self.built} if self.built else {}, metadata)
        return subprocess.CompletedProcess(command, 0 if self.built else 1, "", "no space left on device")


def test_an_image_that_is_there_is_not_built_again(capsys):
    docker = Docker(inspected=DIGEST)
    assert image.main(["ensure"], docker) == 0
    assert docker.asked == ["imagetools"]
    said = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert said["digest"] == DIGEST
    assert said["tag"] == source_tag(PROJECT / "runtime"), "the tag that the program takes by itself"
    assert said["note"] == ""


def test_an_image_that_is_missing_is_built_for_a_deployment(capsys):
    docker = Docker()
    assert image.main(["ensure"], docker) == 0
    assert docker.asked == ["imagetools", "build"]
    assert f"digest={DIGEST}\n" in capsys.readouterr().out


def test_a_preview_never_builds_and_says_what_stands_for_the_digest(capsys):
    docker = Docker()
    assert image.main(["find"], docker) == 0
    assert docker.asked == ["imagetools"], "code of a pull request may not push images"
    out = capsys.readouterr().out
    assert f"digest={image.NOT_BUILT}\n" in out
    assert "note=runtime/ changes" in out


@pytest.mark.parametrize("verb", ["find", "ensure"])
def test_a_registry_that_cannot_be_asked_is_not_an_absent_image(verb, capsys):
    docker = Docker(inspected="ERROR: failed to do request: dial tcp: connection refused")
    assert image.main([verb], docker) == 1
    assert docker.asked == ["imagetools"], "building again would give the tag a second digest"
    assert "did not say whether" in capsys.readouterr().err


def test_a_build_that_fails_is_told(capsys):
    assert image.main(["ensure"], Docker(built=None)) == 1
    assert "no space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("digest", [image.NOT_BUILT, "sha256:12", "latest"])
def test_what_is_no_digest_of_an_image_is_never_deployed(digest, capsys):
    assert image.main(["ensure"], Docker(built=digest)) == 1
    assert "no digest" in capsys.readouterr().err


def test_the_stacks_name_one_repository():
    assert image.repository(PROJECT / "stacks"), "the image is built once and deployed to all of them"


def test_stacks_with_several_repositories_are_refused(tmp_path):
    for name, where in (("dev", "a"), ("staging", "a"), ("prod", "b")):
        (tmp_path / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": {"feast-eks:runtime_image": {"repository": where}}}))
    with pytest.raises(image.ImageError, match="prod: b"):
        image.repository(tmp_path)
