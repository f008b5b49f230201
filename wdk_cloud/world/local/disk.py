"""The disk under a database: is it one of this machine?

SQLite's write-ahead log is memory that all its users map, and our own word on who is gone holds for one machine: over a
network, each machine would see a log of its own, and they would write over each other. So such a disk is refused before
anything is made on it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

from wdk_cloud.errors import WorldConfigurationError

FAR = frozenset(
    {
        # Linux: file systems that the kernel speaks itself. 9p is how virtual machines and WSL show their host's disks.
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "lustre", "gpfs", "beegfs", "glusterfs"),
        *("ncpfs", "orangefs", "pvfs2", "vboxsf", "vmhgfs", "prl_fs"),
        # macOS.
        *("afpfs", "webdav", "ftp"),
    }
)
"""Kinds of file systems that other machines write too."""

FAR_IN_USER_SPACE = frozenset(
    {
        *("sshfs", "ceph", "ceph-fuse", "glusterfs", "lizardfs", "mfs", "moosefs", "juicefs", "seaweedfs", "davfs"),
        *("curlftpfs", "smbnetfs", "rclone", "s3fs", "gcsfuse", "goofys", "mountpoint-s3", "blobfuse", "blobfuse2"),
        *("grpcfuse", "osxfs", "vmhgfs-fuse"),
    }
)
"""What follows `fuse.` there; other file systems in user space, such as encrypted folders, lie on a disk of ours."""

DESCRIPTORS = "/proc/self/fdinfo"
MOUNTS = "/proc/self/mountinfo"

MOUNT_COMMAND = "/sbin/mount"  # of macOS, whose Python does not tell the kind of a file system


def refuse_network_disk(path: Path) -> None:
    """Raise WorldConfigurationError if the database would lie on a disk that other machines share. Where the system
    does not tell, nothing is refused."""
    kind = _kind(path)
    if kind is not None and is_far(kind):
        raise WorldConfigurationError(
            f"the database {path} would lie on a network disk ({kind}), where processes of several machines damage it; "
            "set WDK_LOCAL_PATH to a file on a disk of this machine"
        )


def is_far(kind: str) -> bool:
    if kind.startswith("fuse."):
        return kind.removeprefix("fuse.") in FAR_IN_USER_SPACE
    return kind in FAR


def _kind(path: Path) -> str | None:
    """The name of the file system of a file, or of the folder that is there and will hold it."""
    if sys.platform == "win32":
        return kind_on_windows(str(path))
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    try:
        if sys.platform == "darwin":
            listed = subprocess.run([MOUNT_COMMAND], capture_output=True, text=True, errors="replace")  # noqa: S603
            return kind_on_macos(listed.stdout, str(path))
        mount = _mount_of(path)
        return None if mount is None else kind_on_linux(Path(MOUNTS).read_text(errors="replace"), mount)
    except OSError:
        return None


# -- Linux ------------------------------------------------------------------------------------------------------------


def _mount_of(path: Path) -> int | None:
    """The kernel's number of the mount that a path lies on. Comparing paths would meet mounts that others hide."""
    if not sys.platform.startswith("linux"):
        return None
    # O_PATH opens nothing: closing any other descriptor of a database would drop the locks that SQLite holds on it for
    # another world of this process.
    there = os.open(path, os.O_PATH)
    try:
        lines = Path(DESCRIPTORS, str(there)).read_text().splitlines()
    finally:
        os.close(there)
    return next((int(line.split()[1]) for line in lines if line.startswith("mnt_id:")), None)


def kind_on_linux(mounts: str, mount: int) -> str | None:
    """From the text of `mountinfo`: a number, the parent's, the device, root and mount point, options, any number of
    further fields up to a dash, then the kind. proc_pid_mountinfo(5)."""
    for line in mounts.splitlines():
        ours, _, theirs = line.partition(" - ")
        if ours.split(" ", 1)[0] == str(mount) and theirs:
            return theirs.split(" ", 1)[0]
    return None


# -- other systems ----------------------------------------------------------------------------------------------------


def kind_on_macos(listed: str, path: str) -> str | None:
    """From what `mount` prints, lines like `//me@server/share on /Volumes/share (smbfs, nodev)`: the kind of the mount
    with the longest path above this one."""
    kinds: dict[str, str] = {}
    for line in listed.splitlines():
        where, _, words = line.rpartition(" (")
        _, _, point = where.partition(" on ")
        if point == "/" or path == point or path.startswith(f"{point}/"):
            kinds[point] = words.rstrip(")").split(",")[0]
    return kinds[max(kinds, key=len)] if kinds else None


def kind_on_windows(path: str) -> str | None:
    r"""`smbfs` for `\\server\share\…`, which is also what a resolved path on a drive of the network begins with."""
    return "smbfs" if PureWindowsPath(path).drive.startswith("\\\\") else None
