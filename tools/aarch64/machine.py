"""An aarch64 machine in a folder: Debian's Python for arm64 and wheels, extracted, not installed, and run by qemu.

Nothing outside the folder is touched: apt-get works on lists and a cache of its own, and needs no root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .resolving import PIP, ROOT, System, build_wheel, resolve

QEMU = ("qemu-aarch64-static", "qemu-aarch64")
INSTALL_QEMU = "sudo apt-get install --no-install-recommends qemu-user-static"
# What qemu emulates: of the cores that it knows, the one nearest to Orin's Cortex-A78AE.
CORE = "cortex-a76"
# Without a file of this form, /proc/cpuinfo is the x86 host's, and importing ONNX Runtime for aarch64 crashes.
CPU_INFO = """processor\t: {number}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 0

"""
PACKAGES = ("python3", "libstdc++6", "libgomp1")
REQUIREMENTS = "[onnx]"
APT = """APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""


class Unavailable(Exception):
    """This machine cannot emulate one; the message says what to type."""


@dataclass(frozen=True)
class Machine:
    """An emulated machine.

    Attributes:
        folder: everything that it is made of.
        qemu: the emulator.
    """

    folder: Path
    qemu: str

    def run(self, *arguments: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """Run its Python with these arguments, as `python ARGUMENTS`."""
        root = self.folder / "root"
        command = [self.qemu, "-cpu", CORE, "-L", str(root), str(root / "usr/bin/python3")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {
            "PYTHONHOME": str(root / "usr"),
            "PYTHONPATH": f"{self.folder / 'package'}:{self.folder / 'wheels'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=environment, timeout=timeout_s, check=False
        )


def make(folder: Path) -> Machine:
    """Put a machine together; what is there from an earlier call is kept, but for the package itself.

    Raises:
        Unavailable: qemu, apt-get or Debian's packages for arm64 are missing here.
        CalledProcessError: pip fails.
    """
    qemu = next(filter(None, map(shutil.which, QEMU)), None)
    if qemu is None:
        raise Unavailable(f"{QEMU[0]} is not found; type: {INSTALL_QEMU}")
    if not (folder / "root").is_dir():
        _extract_debian(folder)
    machine = Machine(folder, qemu)
    _install_wheels(folder, _system(machine))
    return machine


def _extract_debian(folder: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None or shutil.which("dpkg-deb") is None:
        raise Unavailable("apt-get is not found: Python for arm64 comes from Debian's packages")
    own = folder.absolute() / "apt"
    for place in ("state/lists/partial", "cache/archives/partial"):
        (own / place).mkdir(parents=True, exist_ok=True)
    (own / "status").touch()
    # apt-get as root would fetch as another user, who may not write here.
    (own / "apt.conf").write_text(APT.format(folder=own, user="root" if os.geteuid() == 0 else "_apt"))
    download = ("install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)
    for arguments in (("update",), download):
        done = subprocess.run(
            [apt, "--quiet", *arguments],
            env={**os.environ, "APT_CONFIG": str(own / "apt.conf")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"apt-get finds no packages of {', '.join(PACKAGES)} for arm64: {done.stderr.strip()}")
    part = folder / "root.partial"
    shutil.rmtree(part, ignore_errors=True)
    for package in sorted((own / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(part)], check=True)
    (part / "proc").mkdir()
    (part / "proc/cpuinfo").write_text("".join(CPU_INFO.format(number=number) for number in range(2)))
    part.rename(folder / "root")


def _system(machine: Machine) -> System:
    """Its Python and glibc, as it tells them itself."""
    code = "import os, sys; print('%d.%d' % sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION').split('.')[-1])"
    done = machine.run("-c", code)
    if done.returncode:
        raise Unavailable(f"{machine.qemu} cannot run Debian's Python: {done.stderr.strip()}")
    python, glibc = done.stdout.split()
    return System(python, int(glibc))


def _install_wheels(folder: Path, system: System) -> None:
    """The package as its wheel has it, and the wheels that it needs."""
    package = folder / "package"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir()
    wheel = build_wheel(package)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(package)
    needed = (ROOT / "pyproject.toml").read_text()
    stamp = folder / "wheels" / "pyproject.toml"
    if stamp.is_file() and stamp.read_text() == needed:
        return
    pinned = [
        name.replace(" ", "==")
        for name in resolve([f"{wheel}{REQUIREMENTS}"], system, extra=REQUIREMENTS.strip("[]"))
        if not name.startswith("trm-deploy ")
    ]
    shutil.rmtree(folder / "wheels", ignore_errors=True)
    options = ["--no-deps", "--no-compile", "--target", str(folder / "wheels")]
    subprocess.run([*PIP, "install", *options, *system.pip_options, *pinned], check=True)
    stamp.write_text(needed)
