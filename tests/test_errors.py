"""The errors: their exit codes are the documented ones, and texts of libraries are put in words."""

from __future__ import annotations

import re

import pytest

from trm_deploy import errors


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    told = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    (?:[|` ]+-- )?(\w+) +(\d+)   ", line):
            told[match[1]] = int(match[2])
    classes = {
        name: error.exit_code
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.TrmDeployError)
    }
    assert told == classes
    assert (classes["UnverifiedAnswers"], classes["InputError"], classes["ParityFailure"]) == (5, 2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from cut.onnx failed:Protobuf parsing failed.",
            "Protobuf parsing failed",
        ),
        ("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not\nfind", "Could not find"),
        ("a plain reason", "a plain reason"),
        ("", "ValueError"),
    ],
)  # fmt: skip
def test_reasons_in_words(text: str, words: str) -> None:
    assert errors.reason(ValueError(text)) == words
