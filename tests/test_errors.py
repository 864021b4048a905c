"""How messages name arguments: Python's names in Python, flags in scripts."""

import pickle

import pytest

from tff_nlp import errors

ODD = ["a`b", "`", "``", "`x`", "`x`=`y`", "--x", "`--x`", "a\nb", "", "x``y`z`", "\\`", "a `b` c"]


@pytest.mark.parametrize("kind", [errors.UserError, errors.RunError, errors.WriteError])
def test_python_and_scripts_name_arguments_differently(kind):
    error = kind("`client_decay`=0.1: only `optimizer`=adamw uses it; give `client_column`")
    plain = "client_decay=0.1: only optimizer=adamw uses it; give client_column"
    flags = "--client_decay=0.1: only --optimizer=adamw uses it; give --client_column"
    assert (str(error), error.with_flags()) == (plain, flags)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.with_flags()) == (kind, flags)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", ["max_tokens", "x", "_y2"])
def test_no_value_breaks_the_marks(name, value):
    why = f"is not `x`=1, and '{errors.verbatim(value)}' is no file"
    error = errors.UserError(f"{errors.setting(name, value)}: {why}")
    assert str(error) == f"{name}={value}: is not x=1, and '{value}' is no file"
    assert error.with_flags() == f"--{name}={value}: is not --x=1, and '{value}' is no file"


@pytest.mark.parametrize("value", ODD)
def test_messages_inside_messages_keep_their_marks(value):
    inner = errors.UserError(f"{errors.setting('corpus', value)}: no such file")
    outer = errors.RunError(f"the run stops: {errors.message(inner)}")
    assert outer.with_flags() == f"the run stops: --corpus={value}: no such file"
    foreign = errors.RunError(f"the run stops: {errors.message(OSError(value))}")
    assert foreign.with_flags() == str(foreign) == f"the run stops: {value}"


def test_other_backticks_stay():
    text = "call `tf.function(x)` with ` or `a b`"
    assert errors.without_marks(text) == errors.with_flags(text) == text
