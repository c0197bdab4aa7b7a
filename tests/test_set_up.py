"""Set-up: the lock is complete and honest, and nothing long starts on a machine that cannot finish."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HOME = Path(__file__).resolve().parent.parent


def pins(name: str) -> dict[str, str]:
    """Package -> version of a lock file; every line that is not a comment must be an exact pin."""
    found = {}
    for line in (HOME / name).read_text().splitlines():
        requirement = line.split("#")[0].strip()
        if requirement:
            package, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", requirement).groups()
            found[canonicalize_name(package)] = version
    return found


LOCKED = pins("requirements.lock")


def test_every_dependency_of_the_project_is_locked_within_its_range() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)]), requirement


def test_what_locked_packages_need_is_locked_too() -> None:
    """The lock is installed with --no-deps: a missing line would be a missing package."""
    everything = LOCKED | pins("requirements-test.lock")
    # opencv-python-headless: the one dependency left out on purpose, cv2/ belongs to mediapipe's opencv
    # nvidia and triton packages: come with torch, one set a platform
    allowed = {"opencv-python-headless", "triton", "cuda-bindings", "cuda-toolkit"}
    missing = set()
    for package in everything:
        for text in importlib.metadata.requires(package) or []:
            need = Requirement(text)
            name = canonicalize_name(need.name)
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and name not in everything:
                missing.add(name)
    assert not {name for name in missing - allowed if not name.startswith("nvidia-")}


def test_the_running_environment_is_the_locked_one() -> None:
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in LOCKED}
    assert installed == LOCKED


def test_cv2_has_one_owner() -> None:
    owners = [name for name in importlib.metadata.packages_distributions()["cv2"] if name.startswith("opencv")]
    assert set(owners) == {"opencv-contrib-python"}


def test_set_up_stops_before_anything_long_when_a_library_cannot_be_installed(tmp_path: Path) -> None:
    """As on a machine without root: no environment is begun, and the last line is the command."""
    program = (
        "import sys; sys.argv = ['set_up.py', sys.argv[1]]; sys.path.insert(0, 'scripts'); import set_up; "
        "from emo_model import doctor; doctor.SYSTEM_LIBRARIES['libno-such-thing.so.9'] = 'libnosuch9'; "
        "set_up._succeeds = lambda *command: False; set_up.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "venv")], cwd=HOME, capture_output=True, text=True
    )
    assert done.returncode == 1 and not (tmp_path / "venv").exists()
    assert done.stderr.splitlines()[-1].endswith("apt-get install -y --no-install-recommends libnosuch9")


@pytest.mark.parametrize("version", [(3, 10), (3, 13)])
def test_another_python_is_told_which_one_is_wanted(version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "scripts"))
    import set_up

    monkeypatch.setattr(set_up.sys, "version_info", (*version, 0))
    with pytest.raises(SystemExit, match="set-up wants Python 3.11 or 3.12"):
        set_up.check_python()
