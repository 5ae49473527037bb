# SPDX-License-Identifier: MIT
"""tool.py - what the harnesses share: the program under test, tasks, results.

Nothing here knows a particular test. Debian's python3, standard library only.
"""
import argparse
import contextlib
import ctypes
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OTHER_UID = 12345


class Failure(Exception):
    """A test failed; the text says what was expected of what."""


class Skip(Exception):
    """A test cannot run here; the text says why."""


# -- where it runs ------------------------------------------------------------

# A new network gets its own devices in /sys, lo, who may ping, and a device with a link-local address
# where the kernel can make one.
ENTER = """
mount --make-rprivate / && mount -t tmpfs -o mode=755 run /run || exit
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts /dev/pts || exit
[ -L /dev/ptmx ] || mount --bind /dev/pts/ptmx /dev/ptmx || exit
[ ! -d /dev/mqueue ] || mount -t mqueue mqueue /dev/mqueue || exit
mkdir /run/sys && mount -t sysfs sysfs /run/sys || exit
for d in class/net devices/virtual/net; do mount --bind /run/sys/$d /sys/$d || exit; done
umount -l /run/sys && rmdir /run/sys && ip link set lo up || exit
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
echo 0 2>/dev/null >/proc/sys/net/ipv6/conf/default/accept_dad
! ip link add stasis0 type veth peer name stasis1 2>/dev/null ||
	{ ip link set stasis0 up && ip link set stasis1 up; } || exit
exec "$@"
"""


def enter_private_namespaces():
    """Run this program again as init of new pid, mount, network and IPC namespaces.

    There killed and thawed tasks are our orphans to reap, pids of others cannot
    collide with those of an image, nothing survives us, /run is a tmpfs, so that
    CRIU keeps its cache of kernel features, and nobody else opens terminals, takes
    a port or a name while its owner is frozen, or says anything on our loopback
    device: suites that run beside us, whose pids are the same, do not meet us.
    """
    if os.getpid() == 1:
        return
    os.execvp("unshare", ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork",
                          "--mount-proc", "--kill-child", "sh", "-c", ENTER, "sh",
                          sys.executable, "-B", os.path.abspath(sys.argv[0])] + sys.argv[1:])


def become_subreaper():
    """Outside of a namespace of our own: adopt what our children leave."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


# -- tasks ----------------------------------------------------------------------

def start(argv, cwd, uid=None, stdin=None, stdout=None, env=None, pass_fds=()):
    """Start a target: own session, no descriptor but 0, 1, 2 and those of pass_fds. Returns its pid."""
    with open(os.path.join(cwd, "stderr"), "ab") as err:
        child = subprocess.Popen(
            argv, cwd=cwd, start_new_session=True, pass_fds=pass_fds, user=uid, group=uid,
            extra_groups=None if uid is None else [], env=env or clean_env(),
            stdin=stdin or subprocess.DEVNULL, stdout=stdout or err, stderr=err)
    child.returncode = 0		# reaped by reap(), not by subprocess
    return child.pid


def clean_env():
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": "/"}


def reap():
    """Collect dead children and orphans."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def alive(pid):
    """Whether there is a task with this pid that is no zombie."""
    reap()
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def parents():
    """pid -> parent pid of every task we can see."""
    table = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as stat:
                table[int(name)] = int(stat.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    return table


def tree(root):
    """The pids of a task and all its descendants, parents first."""
    table, found = parents(), [root]
    for pid in found:
        found += sorted(child for child, parent in table.items() if parent == pid)
    return found


def kill_tree(root):
    """Kill a target and all it has; in our own pid namespace simply everyone."""
    victims = [p for p in parents() if p != 1] if os.getpid() == 1 else tree(root)
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    wait_for(lambda: not [p for p in victims if alive(p)], 10)


def wait_for(condition, seconds, step=0.01):
    """Wait until condition() is true. Returns its last value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


def listens(path):
    """Whether a unix socket listens there: its name appears a moment before it does."""
    accepts = 1 << 16			# __SO_ACCEPTCON
    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table if line.endswith(f" {path}\n")]
    return any(int(row[3], 16) & accepts for row in rows)


# -- the program under test ------------------------------------------------------

@contextlib.contextmanager
def environment(**values):
    """These variables for whatever is started meanwhile: STASIS_KILL_AT=4."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def steps_of(path):
    """The names of the steps a run noted in STASIS_STEPS_FILE; the first is step 1."""
    with open(path) as lines:
        return [line.strip().split(" ", 1)[1] for line in lines]


class Tool:
    """A checkpointer: stasis, or CRIU, whose command line is the same."""

    def __init__(self, path, timeout=120):
        self.path = os.path.realpath(path)
        self.timeout = timeout
        self.is_criu = "criu" in os.path.basename(path)
        if not os.access(self.path, os.X_OK):
            sys.exit(f"{path} is not executable")

    def run(self, action, images, log, options, pass_fds=()):
        """Run one command. Returns its exit status; its output lands beside the log."""
        argv = [self.path, action, "-D", images, "-o", log, "-v4"] + options
        with open(os.path.join(images, action + ".out"), "wb") as out:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     cwd=images, pass_fds=pass_fds)
            try:
                return child.wait(self.timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise Failure(f"{action} took more than {self.timeout} s") from None

    def verdict(self, pid, images, options):
        """What "check PID" says of the dump that is to come: its exit status."""
        if self.is_criu:
            return None
        return self.run("check", images, "check.log", ["-t", str(pid)] + options)

    def dump(self, pid, images, options):
        before = tree(pid)
        verdict = self.verdict(pid, images, options)
        status = self.run("dump", images, "dump.log", ["-t", str(pid)] + options)
        if status:
            raise Failure("dump: " + first_error(images, "dump", status))
        if verdict:
            raise Failure("the dump is good, but check said: " + first_error(images, "check", verdict))
        if not wait_for(lambda: not [p for p in before if alive(p)], 10):
            raise Failure(f"dump: left running: {[p for p in before if alive(p)]}")
        reap()

    def restore(self, pid, images, options, pass_fds=()):
        status = self.run("restore", images, "restore.log", ["-d"] + options, pass_fds)
        if status:
            raise Failure("restore: " + first_error(images, "restore", status))
        if not alive(pid):
            raise Failure(f"restore: task {pid} is not there")


def first_error(images, action, status):
    """The sentence to show for a failed command."""
    for name in (action + ".log", action + ".out"):
        try:
            with open(os.path.join(images, name), errors="replace") as log:
                for line in log:
                    # CRIU without CAP_SYS_RESOURCE prints this first, every time
                    if "RLIMIT_NOFILE for self" in line:
                        continue
                    if "Error (" in line or "OBSTACLE" in line or line.startswith("stasis "):
                        return line.strip()
        except OSError:
            pass
    return f"exit status {status}, no error in {images}"


def decode_all(crit, images, most=10):
    """Every image must be read by crit; of a kind with many files, the first ten."""
    seen = {}
    for name in sorted(os.listdir(images)):
        if not name.endswith(".img") or name.startswith(("pages-", "tmpfs-")):
            continue
        kind = name.split("-")[0]
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > most:
            continue
        text = subprocess.run([crit, "decode", "-i", os.path.join(images, name)],
                              capture_output=True, check=False)
        if text.returncode:
            raise Failure(f"crit decode {name}: status {text.returncode} " +
                          text.stderr.decode(errors="replace").strip().split("\n")[-1])


# -- a run of many tests -----------------------------------------------------------

class Plan:
    """How every test of a run is frozen and thawed."""

    def __init__(self, args):
        stasis = Tool(args.stasis)
        criu = Tool(args.criu) if args.criu else None
        if args.mode != "stasis" and not criu:
            sys.exit(f"--mode {args.mode} needs --criu PATH")
        self.dumper = criu if args.mode == "criu-stasis" else stasis
        self.restorer = criu if args.mode == "stasis-criu" else stasis
        self.uses_criu = args.mode != "stasis" or stasis.is_criu
        self.crit = args.crit
        self.cycles = args.cycles
        self.uid = args.uid

    def cycle(self, pid, directory, number, options=(), restore_options=None, between=None):
        """Freeze and thaw once, with fresh images; between is a command to run in between."""
        images = os.path.join(directory, f"images-{number}")
        os.mkdir(images)
        self.dumper.dump(pid, images, list(options))
        if self.crit:
            decode_all(self.crit, images)
        if between:
            subprocess.run(between, env=clean_env(), timeout=60, check=True)
        self.restorer.restore(pid, images,
                              list(options if restore_options is None else restore_options))

    def new_directory(self, name, base):
        directory = os.path.join(base, name)
        os.mkdir(directory)
        os.chmod(directory, 0o777)
        return directory


def add_options(parser):
    """The options all harnesses know."""
    default = next((p for p in ("build/stasis", "build/bin/stasis", "stasis")
                    if os.path.isfile(os.path.join(ROOT, p))), "build/stasis")
    parser.add_argument("--stasis", default=os.path.join(ROOT, default),
                        help="the program under test (default: %(default)s)")
    parser.add_argument("--criu", help="a CRIU 4.2 binary, for the mixed modes")
    parser.add_argument("--mode", default="stasis",
                        choices=["stasis", "stasis-criu", "criu-stasis"],
                        help="who dumps and who restores")
    parser.add_argument("--crit", help="check with this crit that every image can be read")
    parser.add_argument("--cycles", type=int, default=2, help="freeze and thaw so many times")
    parser.add_argument("--uid", type=int, help=f"run the target as this user ({OTHER_UID})")
    parser.add_argument("--keep", action="store_true", help="keep the directories of passed tests")
    parser.add_argument("--no-unshare", action="store_true",
                        help="stay in the caller's pid and mount namespaces")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("names", nargs="*", help="run only these")


def main(doc, tests, mixed=None, more_options=None, prepare=None):
    """main() of a harness. Returns the exit status.

    tests: name -> function(plan, directory); mixed: the names of those that can be run
    when CRIU takes part, if not all. more_options(parser) adds options; prepare(args) is
    called in the namespaces before the first test, and may raise Skip.
    """
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    if more_options:
        more_options(parser)
    args = parser.parse_args()
    known = list(tests) if args.mode == "stasis" or mixed is None else mixed
    names = args.names or known
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no such test: {unknown[0]}; there are {' '.join(known)}")
    if args.list:
        print("\n".join(names))
        return 0
    if os.getuid():
        return skip_all("needs root")
    if not args.no_unshare:
        enter_private_namespaces()
    try:
        if prepare:
            prepare(args)
    except Skip as skip:
        return skip_all(skip)
    return run_all([(name, tests[name]) for name in names], args)


def skip_all(why):
    print(f"SKIP all: {why}\n0 passed, 0 failed, 1 skipped")
    return 77


def run_all(tests, args):
    """Run (name, function) pairs; function(plan, directory). Returns the exit status."""
    os.umask(0o022)
    plan = Plan(args)
    if os.getpid() != 1:
        become_subreaper()
    base = tempfile.mkdtemp(prefix="stasis-test-")
    os.chmod(base, 0o755)
    counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    for name, function in tests:
        began = time.monotonic()
        directory = plan.new_directory(name, base)
        word, why = run_one(function, plan, directory)
        counts[word] += 1
        print(f"{word} {name}" + (f": {why}" if why else f" ({time.monotonic() - began:.1f} s)"),
              flush=True)
        if word != "FAIL" and not args.keep:
            shutil.rmtree(directory, ignore_errors=True)
    if counts["FAIL"] or args.keep:
        print(f"directories are kept in {base}")
    else:
        shutil.rmtree(base, ignore_errors=True)
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] else 0


def run_one(function, plan, directory):
    try:
        function(plan, directory)
    except Failure as failure:
        return "FAIL", f"{failure} [{directory}]"
    except Skip as skip:
        return "SKIP", str(skip)
    except Exception as error:		# of the test itself: the others run nevertheless
        traceback.print_exc()
        return "FAIL", f"{type(error).__name__}: {error} [{directory}]"
    finally:
        if os.getpid() == 1:
            kill_tree(0)
    return "PASS", None


# -- building ------------------------------------------------------------------------

CFLAGS = ["-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Wmissing-prototypes", "-Werror",
          "-D_GNU_SOURCE"]


def build(name, sources, flags=("-pthread",)):
    """Compile one test program unless it is newer than its sources. Returns its path."""
    target = os.path.join(ROOT, "build", "tests", name)
    paths = [os.path.join(ROOT, "tests", source) for source in sources]
    headers = [p for p in paths if p.endswith(".h")]
    newest = max(os.path.getmtime(p) for p in paths)
    if not os.path.exists(target) or os.path.getmtime(target) < newest:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        argv = [os.environ.get("CC", "cc")] + CFLAGS + [p for p in paths if p not in headers]
        subprocess.run(argv + list(flags) + ["-o", target + ".new"], check=True)
        os.rename(target + ".new", target)
    return target


def digest(path):
    """The sha256 of a file, in hex."""
    with open(path, "rb") as data:
        return hashlib.sha256(data.read()).hexdigest()


def quote(argv):
    return " ".join(shlex.quote(word) for word in argv)
