"""The disk under a database: one of this machine is used, one that other machines share is refused."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.world.local import LocalWorld, disk

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684092k
40 27 0:41 / /var/lib/docker/overlay2/x rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
50 27 0:42 / /home/me/on\040the\040net rw,relatime shared:7 master:3 propagate_from:2 - nfs4 server:/export rw,vers=4.2
51 27 0:43 / /mnt/c rw,noatime - 9p C:\134 rw,trans=fd
52 27 0:44 / /mnt/share rw - cifs //server/share rw
53 27 0:45 / /mnt/ssh rw - fuse.sshfs me@server:/ rw
54 27 0:46 / /mnt/secret rw - fuse.gocryptfs /home/me/.secret rw
5 27 0:47 / /mnt/smb rw - smb3 //server/share rw
"""

APART = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//me@server/share on /Volumes/a (b) on c (smbfs, nodev, nosuid, mounted by me)
server:/export on /Volumes/nfs (nfs, asynchronous)
"""


@pytest.mark.parametrize(
    ("mount", "kind", "far"),
    [
        (27, "ext4", False),
        (30, "tmpfs", False),
        (40, "overlay", False),
        (54, "fuse.gocryptfs", False),
        (50, "nfs4", True),
        (51, "9p", True),
        (52, "cifs", True),
        (53, "fuse.sshfs", True),
        (5, "smb3", True),
    ],
)
def test_the_kernels_table_of_mounts_tells_near_from_far(mount, kind, far):
    assert disk.kind_on_linux(MOUNTS, mount) == kind
    assert disk.is_far(kind) is far


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "ceph"]
)
def test_what_other_machines_write_too_is_far(kind):
    assert disk.is_far(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "fuseblk", "fuse", "fuse.mergerfs", "fuse.nfs"]
)
def test_what_lies_in_this_machine_is_near(kind):
    assert not disk.is_far(kind)


@pytest.mark.parametrize("text", ["", "\n", "27\n", "27 1 254:0 / / rw\n", "271 1 254:0 / / rw - nfs a rw\n"])
def test_a_table_without_the_mount_says_nothing(text):
    assert disk.kind_on_linux(text, 27) is None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/Users/me/.wdk", "apfs"),
        ("/Volumes/nfs/x/y", "nfs"),
        ("/Volumes/nfs", "nfs"),
        ("/Volumes/nfs2", "apfs"),
        ("/dev/x", "devfs"),
    ],
)
def test_on_macos_the_longest_mount_point_counts(path, kind):
    assert disk.kind_on_macos(APART, path) == kind
    assert disk.kind_on_macos("", path) is None


def test_on_windows_a_share_is_far_and_a_drive_is_near():
    assert disk.is_far(disk.kind_on_windows(r"\\server\share\runs.db"))
    assert disk.kind_on_windows(r"C:\Users\me\runs.db") is None


def open_and_close(path):
    async def main():
        world = LocalWorld(path)
        await world.open()
        await world.close()

    asyncio.run(main())


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the table of mounts of Linux")


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The kernel's table of mounts, with another kind for the mount that `tmp_path` lies on."""

    def change(kind):
        mount = disk._mount_of(tmp_path)
        text, changed = re.subn(rf"(?m)^({mount} .* - )\S+", rf"\g<1>{kind}", Path("/proc/self/mountinfo").read_text())
        assert changed == 1
        (tmp_path / "mountinfo").write_text(text)
        monkeypatch.setattr(disk, "MOUNTS", str(tmp_path / "mountinfo"))

    return change


@on_linux
@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_database_on_a_network_disk_is_refused_before_anything_is_made(kind, tmp_path, table):
    table(kind)
    path = tmp_path / "deep" / ".wdk" / "local.db"
    with pytest.raises(WorldConfigurationError) as refused:
        open_and_close(path)
    assert str(refused.value) == (
        f"the database {path} would lie on a network disk ({kind}), where processes of several machines damage it; set "
        "WDK_LOCAL_PATH to a file on a disk of this machine"
    )
    assert sorted(tmp_path.iterdir()) == [tmp_path / "mountinfo"]


@on_linux
def test_a_database_that_is_there_is_refused_on_a_network_disk_and_left_as_it_is(tmp_path, table):
    path = tmp_path / "local.db"
    open_and_close(path)
    before = path.read_bytes()
    table("nfs")
    with pytest.raises(WorldConfigurationError, match="network disk"):
        open_and_close(path)
    assert path.read_bytes() == before


@on_linux
@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "overlay", "fuse.gocryptfs"])
def test_a_database_on_a_disk_of_this_machine_is_opened(kind, tmp_path, table):
    table(kind)
    open_and_close(tmp_path / "local.db")


@on_linux
def test_the_kernel_is_asked_for_the_mount_itself(tmp_path):
    """Two mounts that every Linux has, one inside the other."""
    mounts = Path("/proc/self/mountinfo").read_text()
    assert disk.kind_on_linux(mounts, disk._mount_of(Path("/proc/self/status"))) == "proc"
    assert disk._mount_of(tmp_path) != disk._mount_of(Path("/proc"))


@on_linux
@pytest.mark.parametrize("name", ["DESCRIPTORS", "MOUNTS"])
def test_where_the_kernel_does_not_tell_nothing_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, name, str(tmp_path / "not there"))
    open_and_close(tmp_path / "local.db")


def test_this_machines_own_disk_is_near(tmp_path):
    disk.refuse_network_disk(tmp_path / "local.db")
    disk.refuse_network_disk(Path(os.sep) / "not there" / "local.db")
