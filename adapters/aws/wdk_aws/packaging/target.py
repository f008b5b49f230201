"""The machine that the zip is for: a Python and an architecture, and how the tools call them."""

from __future__ import annotations

from dataclasses import dataclass

from wdk_cloud.errors import WorldConfigurationError

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ARCHITECTURES = ("arm64", "x86_64")

_MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

_ELF_MACHINES = {"arm64": 183, "x86_64": 62}
"""EM_AARCH64 and EM_X86_64, as they stand in an ELF header."""

# What the standard library lost and gained between the Pythons above: this machine's may be another one than Lambda's.
_REMOVED = {
    "3.12": ("asynchat", "asyncore", "distutils", "imp", "smtpd"),
    "3.13": (
        *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis"),
        *("nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"),
    ),
}
_ADDED = {"3.14": ("annotationlib", "compression")}


@dataclass(frozen=True, slots=True)
class Target:
    """`python` is one of PYTHONS, `architecture` one of ARCHITECTURES, as Lambda names them."""

    python: str
    architecture: str

    @staticmethod
    def of(python: str, architecture: str) -> Target:
        """Raises WorldConfigurationError for one that Lambda does not have."""
        if python not in PYTHONS or architecture not in ARCHITECTURES:
            raise WorldConfigurationError(
                f"a function on Python {python} and {architecture} is not to be had; there are Python "
                f"{', '.join(PYTHONS)} on {' and '.join(ARCHITECTURES)}"
            )
        return Target(python, architecture)

    @property
    def _minor(self) -> int:
        return int(self.python.partition(".")[2])

    @property
    def runtime(self) -> str:
        return f"python{self.python}"

    @property
    def machine(self) -> str:
        """As Linux and the tags of wheels have it."""
        return _MACHINES[self.architecture]

    @property
    def elf_machine(self) -> int:
        return _ELF_MACHINES[self.architecture]

    @property
    def abi(self) -> str:
        return f"cpython-3{self._minor}"

    @property
    def glibc(self) -> int:
        """Of 2.x: Python 3.11 runs on Amazon Linux 2 (2.26), the later ones on Amazon Linux 2023 (2.34)."""
        return 26 if self._minor < 12 else 34

    @property
    def uv_platform(self) -> str:
        """The newest that uv knows and that is not newer than the machine's."""
        return f"{self.machine}-manylinux_2_{17 if self.glibc < 28 else self.glibc}"

    @property
    def pip_platforms(self) -> list[str]:
        """Newest first; pip does not know that a newer system takes wheels for an older one."""
        return [
            *(f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, 16, -1)),
            f"manylinux2014_{self.machine}",
        ]

    def standard_library(self, here: frozenset[str]) -> frozenset[str]:
        """Top-level names of the target's, from those of the Python that runs here."""
        removed = {name for version, names in _REMOVED.items() if self._at_least(version) for name in names}
        kept = {name for version, names in _REMOVED.items() if not self._at_least(version) for name in names}
        added = {name for version, names in _ADDED.items() if self._at_least(version) for name in names}
        return (here - removed) | kept | added

    def _at_least(self, version: str) -> bool:
        return self._minor >= int(version.partition(".")[2])
