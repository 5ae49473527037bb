#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""given.py - files that options speak of: given by the user, or refused without the option.

Alone:   sudo /usr/bin/python3 tests/harness/given.py [options] [test...]
         options as cr.py's

Each test starts a small Python program, which opens something (OPEN), is dumped and restored once,
with descriptors of ours given to the restore, and then does something with it (USE).
The last line is "N passed, N failed, N skipped".
"""
import contextlib
import fcntl
import os
import pty
import re
import socket
import struct
import sys
import termios

import tool

TARGET = """
import os, sys, time, traceback
directory = sys.argv[1]
os.chdir(directory)
exec(sys.argv[2])
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)
try:
    exec(sys.argv[3])
    result = "ok"
except BaseException:
    result = traceback.format_exc()
with open("result.new", "w") as f:
    f.write(result)
os.rename("result.new", "result")
time.sleep(1000)
"""


class Target:
    """One running program, and how it is frozen and thawed."""

    def __init__(self, plan, directory, opens, uses, stdin=None, stdout=None):
        self.plan = plan
        self.dir = directory
        self.number = 0
        self.pid = tool.start(["/usr/bin/python3", "-BES", "-c", TARGET, directory, opens, uses],
                              directory, plan.uid, stdin=stdin, stdout=stdout)
        if not tool.wait_for(lambda: os.path.exists(self.path("ready")), 20):
            raise tool.Failure("the target is not ready: " + self.read("stderr"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        try:
            with open(self.path(name), errors="replace") as text:
                return text.read()
        except OSError:
            return ""

    def new_images(self):
        self.number += 1
        self.images = self.path(f"images-{self.number}")
        os.mkdir(self.images)

    def dump(self, *options):
        self.new_images()
        self.plan.dumper.dump(self.pid, self.images, list(options))

    def refused(self, action, words, *options):
        """The command fails, says this, and the target is as before."""
        tool_used = self.plan.dumper if action == "dump" else self.plan.restorer
        if action == "dump":
            self.new_images()
            options = ("-t", str(self.pid)) + options
        status = tool_used.run(action, self.images, action + ".log", ["-d"] * (action != "dump") +
                               list(options))
        if status == 0:
            raise tool.Failure(f"{action} {' '.join(options)} was not refused")
        said = tool.first_error(self.images, action, status)
        if not tool_used.is_criu and not re.search(words, said):
            raise tool.Failure(f"{action}: {words!r} is not in: {said}")
        if tool.alive(self.pid) != (action == "dump"):
            raise tool.Failure(f"a refused {action} changed what runs")

    def restore(self, *options, given=()):
        """given: (descriptor, key) pairs."""
        options = list(options)
        for fd, key in given:
            options += ["--inherit-fd", f"fd[{fd}]:{key}"]
        self.plan.restorer.restore(self.pid, self.images, options, [fd for fd, _ in given])

    def finish(self):
        with open(self.path("go"), "w"):
            pass
        if not tool.wait_for(lambda: os.path.exists(self.path("result")), 20):
            raise tool.Failure("no result")
        if self.read("result") != "ok":
            raise tool.Failure(self.read("result").strip().split("\n")[-1])


def expect(what, have, want):
    if have != want:
        raise tool.Failure(f"{what}: {have!r} instead of {want!r}")


def drain(fd, want):
    """What comes through fd must be want."""
    os.set_blocking(fd, False)
    have = b""

    def more():
        nonlocal have
        with contextlib.suppress(BlockingIOError):
            have += os.read(fd, 1000)
        return len(have) >= len(want)
    tool.wait_for(more, 10)
    expect("what came through", have, want)


def pipe_outside(plan, directory):
    """A pipe whose reader is not in the tree."""
    old, end = os.pipe()
    target = Target(plan, directory, "", "os.write(1, b'again')", stdout=end)
    key = f"pipe:[{os.fstat(end).st_ino}]"
    os.close(end)
    target.dump()
    new, end = os.pipe()
    target.restore(given=[(end, key)])
    os.close(end)
    target.finish()
    drain(new, b"again")
    os.close(old)
    os.close(new)


def socket_outside(plan, directory):
    """A connected socket whose peer is not in the tree: the user gives another."""
    old, end = socket.socketpair()
    target = Target(plan, directory, "", "os.write(1, b'again')", stdout=end)
    ino = os.fstat(end.fileno()).st_ino
    end.close()
    target.refused("dump", "its peer, socket [0-9]+, is held by no task of the tree")
    target.dump("--external", f"unix[{ino}]")
    new, end = socket.socketpair()
    target.restore(given=[(end.fileno(), f"socket:[{ino}]")])
    end.close()
    target.finish()
    drain(new.fileno(), b"again")
    old.close()
    new.close()


def datagrams_outside(plan, directory):
    """A datagram socket that is connected to a server outside the tree: it finds it again by name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(os.path.join(directory, "server"))
        os.chmod(os.path.join(directory, "server"), 0o777)
        target = Target(plan, directory, "import socket; "
                        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
                        "s.connect(os.path.join(directory, 'server')); s.send(b'before')",
                        "s.send(b'again')")
        drain(server.fileno(), b"before")
        target.refused("dump", "or --ext-unix-sk")
        target.dump("--ext-unix-sk")
        if not plan.restorer.is_criu:
            target.refused("restore", "--ext-unix-sk")
        target.restore("--ext-unix-sk")
        target.finish()
        drain(server.fileno(), b"again")


def file_by_path(plan, directory):
    """Another file instead of the one with that path."""
    target = Target(plan, directory, "f = open('one', 'w'); f.write('1'); f.flush()",
                    "f.write('2'); f.flush()")
    target.dump()
    with open(target.path("two"), "w") as other:
        other.write("other ")
        other.flush()
        target.restore(given=[(other.fileno(), target.path("one")[1:])])
        target.finish()
    expect("the old file", target.read("one"), "1")
    expect("the new file", target.read("two"), "other 2")


def mount_of(path):
    fd = os.open(path, os.O_PATH)
    with open(f"/proc/self/fdinfo/{fd}") as info:
        found = re.search(r"mnt_id:\s*(\d+)", info.read())
    os.close(fd)
    return int(found.group(1))


def file_external(plan, directory):
    """A file that is in no image: without its descriptor the restore is refused."""
    target = Target(plan, directory, "f = open('ext', 'w')", "f.write('2'); f.flush()")
    key = f"file[{mount_of(target.path('ext')):x}:{os.stat(target.path('ext')).st_ino:x}]"
    target.dump("--external", key, "--external", "dev[8/0]:disk")
    os.unlink(target.path("ext"))
    target.refused("restore", "--inherit-fd", "--external", key)
    with open(target.path("new"), "w") as other:
        target.restore("--external", key, given=[(other.fileno(), key)])
        target.finish()
    expect("the new file", target.read("new"), "2")


def memory_file(plan, directory):
    """A memfd of ours instead of its own."""
    target = Target(plan, directory, "m = os.memfd_create('shared'); os.write(m, b'old')",
                    "os.pwrite(m, b'NEW', 0)")
    target.dump()
    memory = os.memfd_create("ours")
    os.write(memory, b"ours")
    target.restore(given=[(memory, "/memfd:shared")])
    target.finish()
    expect("our memory", os.pread(memory, 10, 0), b"NEWs")
    os.close(memory)


def fifo_by_path(plan, directory):
    """A FIFO, whose reader is outside."""
    os.mkfifo(os.path.join(directory, "fifo"), 0o666)
    os.chmod(os.path.join(directory, "fifo"), 0o666)
    old = os.open(os.path.join(directory, "fifo"), os.O_RDONLY | os.O_NONBLOCK)
    target = Target(plan, directory, "f = os.open('fifo', os.O_WRONLY)", "os.write(f, b'fifo')")
    target.dump()
    target.restore()
    target.finish()
    drain(old, b"fifo")
    os.close(old)


def terminal(plan, directory):
    """A terminal whose other end is outside: ours takes its place."""
    master, slave = pty.openpty()
    os.fchmod(slave, 0o666)
    target = Target(plan, directory, "", "os.write(0, b'hello')", stdin=slave)
    st = os.fstat(slave)
    key = f"tty[{st.st_rdev:x}:{st.st_dev:x}]"
    target.dump("--external", key)
    os.close(slave)
    other, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    target.restore("--external", key, given=[(slave, key)])
    os.close(slave)
    target.finish()
    drain(other, b"hello")
    os.close(other)
    os.close(master)


GHOST = """
f = open('gone', 'w+b')
f.write(b'x' * 300000)
f.flush()
os.unlink('gone')
"""


def ghost_limit(plan, directory):
    """A deleted file that is too large is named with the limit that lets it pass."""
    target = Target(plan, directory, GHOST,
                    "f.seek(0); assert f.read() == b'x' * 300000; assert not os.path.exists('gone')")
    target.refused("dump", r"gone.*--ghost-limit 3\d{5}", "--ghost-limit", "100K")
    target.dump("--ghost-limit", "400K")
    target.restore()
    target.finish()


def link_remap(plan, directory):
    """A deleted file with another name needs --link-remap."""
    target = Target(plan, directory, "f = open('a', 'w+'); os.link('a', 'b'); os.unlink('a')",
                    "f.write('+'); f.flush(); assert open('b').read() == '+'")
    target.refused("dump", "--link-remap")
    target.dump("--link-remap")
    target.restore("--link-remap")
    target.finish()
    expect("names left", [n for n in os.listdir(directory) if "remap" in n], [])


def file_locks(plan, directory):
    """A locked file needs --file-locks."""
    target = Target(plan, directory, "import fcntl; f = open('l', 'w'); fcntl.flock(f, fcntl.LOCK_EX)",
                    "fcntl.flock(f, fcntl.LOCK_UN)")
    target.refused("dump", "--file-locks")
    target.dump("--file-locks")
    target.restore("--file-locks")
    with open(target.path("l")) as other, contextlib.suppress(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise tool.Failure("the lock is not held")
    target.finish()


def changed_size(plan, directory):
    """A file that is longer than at the dump is not the same."""
    target = Target(plan, directory, "f = open('f', 'w+'); f.write('12'); f.flush()", "")
    target.dump()
    with open(target.path("f"), "a") as f:
        f.write("3")
    target.refused("restore", "f has changed.* 2 .* 3 ")
    os.truncate(target.path("f"), 2)
    target.restore()
    target.finish()


def changed_mode(plan, directory):
    """Another mode neither, unless --skip-file-rwx-check says so."""
    target = Target(plan, directory, "f = open('f', 'w')", "")
    os.chmod(target.path("f"), 0o644)
    target.dump()
    os.chmod(target.path("f"), 0o600)
    target.refused("restore", "--skip-file-rwx-check")
    target.restore("--skip-file-rwx-check")
    target.finish()


def find_build_id(path):
    """Where the bytes of a program's build id begin."""
    with open(path, "rb") as f:
        data = f.read()
    at = data.find(struct.pack("<III", 4, 20, 3) + b"GNU\0")
    if at < 0:
        raise tool.Skip(f"{path} has no build id")
    return at + 16


def build_id(plan, directory):
    """A program of the same size is another one: only --file-validation buildid sees it."""
    copy = os.path.join(directory, "program")
    with open("/bin/true", "rb") as old, open(copy, "wb") as new:
        new.write(old.read())
    os.chmod(copy, 0o755)
    at = find_build_id(copy)
    target = Target(plan, directory, "f = open('program', 'rb')", "assert f.read(4) == b'\\x7fELF'")
    target.dump("--file-validation", "buildid")
    with open(copy, "r+b") as f:
        f.seek(at)
        f.write(b"other")
    target.refused("restore", "build id", "--file-validation", "buildid")
    target.restore("--file-validation", "filesize")
    target.finish()


def variable(number):
    """A protobuf varint."""
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


WATCH = """
import ctypes
libc = ctypes.CDLL(None)
i = libc.inotify_init1(0)
assert libc.inotify_add_watch(i, b'/proc/sys/kernel/hostname', 0x20) > 0
"""


def irmap_cache(plan, directory):
    """Paths of watched files come from the irmap-cache that a pre-dump left."""
    if plan.uses_criu:
        raise tool.Skip("the images say nothing of the cache")
    target = Target(plan, directory, WATCH, "open('/proc/sys/kernel/hostname').close(); "
                    "assert os.read(i, 100)")
    with open(f"/proc/{target.pid}/fdinfo/3") as info:
        ino, dev = re.search(r"inotify wd:\w+ ino:(\w+) sdev:(\w+)", info.read()).groups()
    path = b"/proc/sys/kernel/hostname"
    entry = (b"\x08" + variable(int(dev, 16)) + b"\x10" + variable(int(ino, 16)) + b"\x1a" +
             variable(len(path)) + path)
    work = target.path("work")
    os.mkdir(work)
    target.refused("dump", "--irmap-scan-path")
    with open(os.path.join(work, "irmap-cache"), "wb") as cache:
        cache.write(struct.pack("<III", 0x55105940, 0x57004059, len(entry)) + entry)
    target.dump("-W", work)
    target.restore()
    target.finish()


def refused_keeps(plan, directory):
    """A dump that is refused before the freeze leaves the older dump in its directory whole."""
    if plan.dumper.is_criu:
        raise tool.Skip("CRIU begins to write before it refuses")
    target = Target(plan, directory, "end, other = os.pipe()", "os.write(other, b'x'); os.read(end, 1)")
    target.dump()
    old, end = socket.socketpair()
    second = os.path.join(directory, "second")
    os.mkdir(second)
    os.chmod(second, 0o777)
    obstacle = Target(plan, second, "", "", stdout=end)
    end.close()
    obstacle.new_images = lambda: None
    obstacle.images = target.images
    obstacle.refused("dump", "is held by no task of the tree")
    target.restore()
    target.finish()
    tool.kill_tree(obstacle.pid)
    old.close()


def exec_command(plan, directory):
    """--exec-cmd: the command takes the place of the restore, as parent of the tree, and sees to it."""
    target = Target(plan, directory, "", "")
    target.dump()
    report = target.path("report")
    command = 'grep PPid: /proc/$1/status >"$0"; echo $$ >>"$0"; kill $1; exit 3'
    status = plan.restorer.run("restore", target.images, "restore.log",
                               ["--exec-cmd", "--", "sh", "-c", command, report, str(target.pid)])
    expect("the command's exit status", status, 3)
    words = target.read("report").split()
    expect("the parent of the restored task", words[1:2], words[2:])


TESTS = [pipe_outside, socket_outside, datagrams_outside, file_by_path, file_external, memory_file,
         fifo_by_path, terminal, ghost_limit, link_remap, file_locks, changed_size, changed_mode, build_id,
         irmap_cache, refused_keeps, exec_command]


if __name__ == "__main__":
    sys.exit(tool.main(__doc__, {test.__name__: test for test in TESTS}))
