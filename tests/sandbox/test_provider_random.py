"""Passwords: their shape, and that wrong wishes are refused."""

import inspect
import string

import pulumi_random
import pytest

from sandbox.providers import random, wire


def reasons(**inputs):
    return [failure.property_path for failure in random.problems(inputs)]


def test_a_password_has_the_length_asked_for_and_only_enabled_classes():
    text = random.generate({"length": 200, "special": False, "upper": False})

    assert len(text) == 200
    assert set(text) <= set(string.ascii_lowercase + string.digits)


def test_two_passwords_differ():
    assert random.generate({"length": 20}) != random.generate({"length": 20})


@pytest.mark.parametrize(
    ("inputs", "property_path"),
    [
        ({}, "length"),
        ({"length": 0}, "length"),
        ({"length": "ten"}, "length"),
        ({"length": 8, "minUpper": 1}, "minUpper"),
        ({"length": 8, "upper": False, "lower": False, "numeric": False, "special": False}, "special"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_by_name(inputs, property_path):
    assert reasons(**inputs) == [property_path]


def test_a_good_wish_is_accepted_and_so_is_a_length_that_is_not_known_yet():
    assert reasons(length=32, special=False) == []
    assert reasons(length=wire.UNKNOWN) == []


def test_every_input_is_one_of_the_sdk():
    assert set(random.INPUTS) <= set(inspect.signature(pulumi_random.RandomPassword._internal_init).parameters)
