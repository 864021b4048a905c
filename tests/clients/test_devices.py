import numpy as np
import pytest

from tff_nlp import errors
from tff_nlp.clients import devices

HEADER = "client,examples_per_second,download_mbits,upload_mbits,memory_gb,from_hour,to_hour\n"


def _file(tmp_path, text):
    path = tmp_path / "devices.csv"
    path.write_text(text)
    return path


def test_the_rows_of_a_file_belong_to_the_clients(tmp_path):
    path = _file(tmp_path, HEADER + "b,10,8,4,2,22,6\na,20,16,8,,,\n")
    found = devices.read(path, ["a", "b"], seed=0)
    assert found.examples_per_second.tolist() == [20, 10]
    assert found.download.tolist() == [2e6, 1e6]
    assert found.upload.tolist() == [1e6, 5e5]
    assert found.memory.tolist() == [np.inf, 2e9]
    assert found.failure_rate.tolist() == [0, 0]
    # The hours of b are those over midnight.
    for hour, available in ((0, True), (5.9, True), (6, False), (21.9, False), (22, True)):
        assert found.available(hour * 3600).tolist() == [True, available]
    # 4 MB down, 100 examples, 1 MB up.
    np.testing.assert_allclose(
        found.seconds(np.array([100.0, 100.0]), 4_000_000, 1_000_000), [2 + 5 + 1, 4 + 10 + 2]
    )


def test_rows_without_clients_are_given_out_at_random(tmp_path):
    path = _file(tmp_path, "examples_per_second,download_mbits,upload_mbits\n1,1,1\n2,1,1\n")
    ids = [str(number) for number in range(100)]
    found = devices.read(path, ids, seed=0).examples_per_second
    assert 20 < (found == 1).sum() < 80
    assert (found == devices.read(path, ids, seed=0).examples_per_second).all()
    assert (found != devices.read(path, ids, seed=1).examples_per_second).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client,download_mbits\n", "there is no column examples_per_second"),
        (HEADER, "there is no row"),
        (HEADER + "a,10,8,4,2,22,6\n", "no row for the client b"),
        (HEADER + "a,10,8,4,2,22,6\nb,-1,8,4,2,22,6\n", "line 3: examples_per_second is '-1'"),
        (HEADER + "a,10,8,4,2,25,6\nb,1,8,4,2,22,6\n", "line 2: from_hour is '25'"),
        (HEADER.replace("memory_gb", "memory"), "unknown column memory; there are client, "),
    ],
)
def test_mistakes_in_a_file_are_refused(tmp_path, text, message):
    with pytest.raises(errors.UserError, match="device_profiles=.*" + message):
        devices.read(_file(tmp_path, text), ["a", "b"], seed=0)


def test_a_file_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="device_profiles=.*No such file"):
        devices.read(tmp_path / "none.csv", ["a"], seed=0)


def test_made_up_phones_differ_and_derive_from_the_seed():
    phones, equal = (devices.drawn(name, 1000, 0) for name in devices.PROFILES)
    slow, median = np.quantile(phones.examples_per_second, [0.01, 0.5])
    assert 5 < median / slow < 15
    assert 0.2 < np.mean([phones.available(hour * 3600.0).mean() for hour in range(24)]) < 0.5
    assert len(set(equal.examples_per_second)) == 1
    assert equal.available(0).all()
    again = devices.drawn("phones", 1000, 0)
    assert (again.examples_per_second == phones.examples_per_second).all()
