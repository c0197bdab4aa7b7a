"""Set-up, run by the system's own Python: system libraries first, then the environment as the lock says.

    python scripts/set_up.py VENV

Nothing long starts before the system libraries are there. `make` fetches weights and samples afterwards.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))
from emo_model.doctor import PYTHONS, install_command, missing_system_libraries  # noqa: E402  (needs no package)

LOCKS = ("requirements.lock", "requirements-test.lock")


def check_python() -> None:
    """Stop unless this is a Python the lock was made for."""
    if sys.version_info[:2] not in PYTHONS:
        sys.exit(f"set-up wants Python 3.11 or 3.12, this is {sys.version.split()[0]}; run: make PYTHON=python3.11")


def check_system_libraries() -> None:
    """Install what mediapipe and cv2 load where we may; otherwise print the command and stop."""
    missing = missing_system_libraries()
    if not missing:
        return
    command = install_command(missing)
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not root or _succeeds("sudo", "-n", "true")):
        print(f"installing system libraries: {command}", flush=True)
        _succeeds(*root, "apt-get", "update", "-qq")  # old package lists may do; what counts is looked at below
        _succeeds(*root, *command.split())
    if still := missing_system_libraries():
        sys.exit(f"missing system libraries: {', '.join(still)}; run as root, then make again: {command}")


def install(venv: Path) -> None:
    """The environment: torch with its own dependencies, all else exactly as locked, this project editable."""
    lock = HOME / LOCKS[0]
    pins = [line.split()[0] for name in LOCKS for line in (HOME / name).read_text().splitlines() if "==" in line]
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    # Not compiled here: two minutes of a slow core, mostly for files that nothing imports. The first import compiles.
    quietly = ("--quiet", "--no-compile", "--disable-pip-version-check")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", *quietly]
    _run("creating the environment", sys.executable, "-m", "venv", str(venv))
    # With dependencies: with a GPU those are the CUDA libraries. The lock holds the others to its versions.
    _run(f"installing {torch}", *pip, torch, "--constraint", str(lock))
    everything = [word for name in LOCKS for word in ("-r", str(HOME / name))]
    _run(f"installing {len(pins)} pinned packages", *pip, "--no-deps", *everything)
    _run("installing this project", *pip, "--no-deps", "--no-build-isolation", "--editable", str(HOME))


def _succeeds(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command).returncode == 0


def _run(what: str, *command: str) -> None:
    print(f"set-up: {what}", flush=True)
    if subprocess.run(command).returncode:
        sys.exit(f"set-up failed while {what}; mend what is said above, then run the same make again")


def main() -> None:
    """All steps, the cheap ones that can fail first."""
    check_python()
    check_system_libraries()
    install(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
