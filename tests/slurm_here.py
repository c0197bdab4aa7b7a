"""A Slurm of one node on this machine: the real daemons, without systemd, in a folder of their own."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
INSTALL = f"apt-get install -y --no-install-recommends {PACKAGES}"
CONFIG = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=2
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there is no Slurm here and the command that brings it; as root on Debian it is brought now."""
    if _complete():
        return None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(INSTALL.split(), env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
    return None if _complete() else f"Slurm's daemons are not installed; run as root: {INSTALL}"


def _complete() -> bool:
    return all(shutil.which(name, path=_PATH) for name in ("munged", "slurmctld", "slurmd", "sbatch"))


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch, squeue and scancel speak to a cluster of this machine's cores, while it runs."""
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host, cpus = socket.gethostname().partition(".")[0], len(os.sched_getaffinity(0))
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, ports=_free_ports(2), user=_user(), cpus=cpus))
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(config), "PATH": _PATH}
    files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
    munge = [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(["munged", "--foreground", "--force", *munge], environment, folder))
        _wait(lambda: (folder / "munge.socket").exists(), "munged")
        daemons.enter_context(_daemon(["slurmctld", "-D"], environment, folder))
        daemons.enter_context(_daemon(["slurmd", "-D"], environment, folder))
        _wait(lambda: "idle" in _said(["sinfo", "-h", "-o", "%T"], environment), "slurmd")
        try:
            yield environment
        finally:
            _said(["scancel", f"--user={_user()}"], environment)
            _wait(lambda: not _said(["squeue", "-h"], environment), "the end of all jobs")


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    bound = ["setpriv", "--pdeathsig", "KILL", *command]  # they end with the tests, however those end
    with (folder / f"{command[0]}.out").open("w") as output:
        process = subprocess.Popen(bound, env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def _wait(until: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if until():
            return
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {seconds} s")
