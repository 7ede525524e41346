"""A Slurm of one node, for the tests alone: its daemons are children of this process."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["no_slurm", "slurm_node"]

# Snakemake hides the variables of Slurm from its jobs, and SLURM_CONF with them: what a job starts
# looks here.
SYSTEM = Path("/etc/slurm/slurm.conf")
DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "scancel", "sinfo", "squeue", "srun")
PATIENCE = 30.0  # seconds for a daemon to answer


def no_slurm() -> str:
    """Why a Slurm of one node cannot be started here; empty if it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root can start the daemons of Slurm"
    if missing := [name for name in (*DAEMONS, *CLIENTS) if _program(name) is None]:
        return f"{', '.join(missing)} not found: install slurm-wlm and munge"
    if SYSTEM.exists():
        return f"{SYSTEM} is there: this machine belongs to a cluster already"
    return ""


@contextmanager
def slurm_node(folder: Path) -> Iterator[None]:
    """Run the daemons, and let every Slurm command find them.

    Args:
        folder: An empty one for keys, logs and state; its path has to be short, for sockets.

    Raises:
        TimeoutError: A daemon does not answer; its last lines tell why.
    """
    with ExitStack() as stack:
        key, answers = folder / "key", folder / "munge.socket"
        folder.chmod(0o755)
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {"key-file": key, "socket": answers, "pid-file": folder / "munged.pid"}
        files |= {"log-file": folder / "munged.log", "seed-file": folder / "munged.seed"}
        munged = ["munged", "--foreground", *(f"--{name}={path}" for name, path in files.items())]
        stack.enter_context(_daemon(munged, folder))
        _wait(answers.exists, folder, "munged")
        configuration = folder / "slurm.conf"
        configuration.write_text(_configuration(folder, answers))
        stack.enter_context(_known_to_all(configuration))
        for name in ("slurmctld", "slurmd"):
            stack.enter_context(_daemon([name, "-D", "-f", str(configuration)], folder))
        _wait(_is_idle, folder, "slurmctld and slurmd")
        yield


def _configuration(folder: Path, munge_socket: Path) -> str:
    node = socket.gethostname().partition(".")[0]
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    controller, worker = _free_ports(2)
    # Processes are found by their parents, and no memory limit is enforced: cgroups need not exist.
    return f"""\
ClusterName=one
SlurmctldHost={node}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
SlurmctldPort={controller}
SlurmdPort={worker}
StateSaveLocation={folder / "state"}
SlurmdSpoolDir={folder / "spool"}
SlurmctldPidFile={folder / "slurmctld.pid"}
SlurmdPidFile={folder / "slurmd.pid"}
NodeName={node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=8000
PartitionName=debug Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _known_to_all(configuration: Path) -> Iterator[None]:
    if SYSTEM.is_symlink():  # left by a test that was killed: where it led is gone
        SYSTEM.unlink()
    SYSTEM.parent.mkdir(exist_ok=True)
    SYSTEM.symlink_to(configuration)
    try:
        yield
    finally:
        SYSTEM.unlink()


@contextmanager
def _daemon(command: list[str], folder: Path) -> Iterator[None]:
    name, *options = command
    with open(folder / f"{name}.out", "wb") as out:
        process = subprocess.Popen(
            [_program(name), *options], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _is_idle() -> bool:
    told = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True)
    return told.stdout.strip() == "idle"


def _wait(answers, folder: Path, names: str) -> None:
    until = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > until:
            logs = "\n".join(path.read_text()[-500:] for path in sorted(folder.glob("*.out")))
            raise TimeoutError(f"{names}: no answer within {PATIENCE:.0f} s\n{logs}")
        time.sleep(0.1)
