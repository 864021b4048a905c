"""The version check: what it accepts, its messages, and that it is cheap."""

import ast
import pathlib
import subprocess
import sys

import pytest

from tff_nlp import versions

ROOT = pathlib.Path(__file__).resolve().parents[1]


def faked(**changes):
    """Returns the versions of the lock with some changes (None means not installed)."""
    found = {pin.package: pin.install for pin in versions.PINS}
    found.update({name.replace("_", "-"): version for name, version in changes.items()})
    return found.get


def test_the_pinned_versions_pass():
    versions.check(faked(), (3, 10))
    versions.check(faked(), (3, 11))


def test_this_installation_passes():
    versions.check()


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("protobuf", "5.29.5"),
        ("protobuf", "3.19.6"),
        ("tensorflow", "2.15.0rc1"),
        ("tensorflow", "2.13.1"),
        ("keras", "3.3.3"),
        ("keras_nlp", "0.14.0"),
        ("setuptools", "81.0.0"),
        ("pyarrow", "20.0.0"),
        ("numpy", "2.1.0"),
        ("jaxlib", "0.4.30+cuda12"),
    ],
)
def test_a_wrong_version_is_named_with_pin_reason_and_repair(package, version):
    package_name = package.replace("_", "-")
    pin = next(pin for pin in versions.PINS if pin.package == package_name)
    with pytest.raises(versions.WrongVersionError) as caught:
        versions.check(faked(**{package: version}), (3, 11))
    message = str(caught.value)
    assert f"{package_name} {version} is installed" in message
    assert f"{package_name}=={pin.install}" in message
    assert pin.reason in message
    assert "scripts/setup --repair" in message
    assert f"pip install --no-deps {package_name}=={pin.install}" in message


def test_a_patch_release_or_local_build_within_the_range_passes():
    versions.check(
        faked(tensorflow="2.14.0", jaxlib="0.4.14+cuda11.cudnn86", pyarrow="19"), (3, 11)
    )


def test_missing_packages_are_named_together_and_optional_ones_are_not():
    with pytest.raises(versions.WrongVersionError) as caught:
        versions.check(faked(tensorflow_federated=None, keras_nlp=None, pyarrow=None), (3, 11))
    message = str(caught.value)
    assert "tensorflow-federated==0.87.0 is not installed" in message
    assert "keras-nlp==0.12.1 is not installed" in message
    assert "pyarrow" not in message
    assert caught.value.repair == (
        "pip install --no-deps tensorflow-federated==0.87.0 keras-nlp==0.12.1"
    )


@pytest.mark.parametrize("python", [(3, 9), (3, 12)])
def test_another_python_is_named(python):
    with pytest.raises(versions.WrongVersionError, match=r"3\.10 or 3\.11 is needed"):
        versions.check(faked(), python)


def test_pins_agree_with_setup_py():
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    declared = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    exact = dict(text.split("==") for text in declared if isinstance(text, str) and "==" in text)
    pins = {pin.package: pin for pin in versions.PINS}
    for package, version in exact.items():
        if package in pins:
            assert pins[package].install == version
    for pin in versions.PINS:
        upper = next((t for t in declared if str(t).startswith(f"{pin.package}<")), None)
        assert upper is None or upper == f"{pin.package}<{pin.below}"


def test_importing_the_package_checks_versions_quickly(tmp_path):
    # importlib.metadata reads the version from the first metadata folder on the path.
    (tmp_path / "protobuf-5.29.5.dist-info").mkdir()
    (tmp_path / "protobuf-5.29.5.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: protobuf\nVersion: 5.29.5\n"
    )
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport tff_nlp"
    wrong = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert wrong.returncode == 1
    assert "protobuf 5.29.5 is installed, protobuf==4.25.8 is needed" in wrong.stderr

    script = (
        "import sys, tff_nlp\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'jax'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    right = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert right.returncode == 0, right.stderr
    assert right.stdout.strip() == "[]"
