#!/usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""bench.py - dump, frozen and restore times, beside CRIU's when given one.

Alone:   sudo /usr/bin/python3 tests/bench/bench.py [--criu PATH] [-n RUNS] [load...]
make:    make bench CRIU=PATH

Loads:   minimal    a static program that sleeps
         objects    64 threads and 1000 descriptors
         threads    10,000 threads (CRIU only with --criu-threads: it takes minutes)
         memory     1 GiB of anonymous memory, no two pages alike
         tcp        1,000 established TCP connections with unread data
         tcp10      10,000 of them (Stasis only: growth)
         unix       10,000 unix sockets with queued messages
         unix1      1,000 of them (growth)

The programs take turns, and who is first changes each round. Images lie on a
private tmpfs; everything runs in a mount namespace with a tmpfs on /run, so CRIU
has its cache of kernel features, as on a usual machine. Times are milliseconds,
median [least..most]. "frozen" is what the program itself wrote to stats-dump.
A ratio above 1 means that Stasis is faster.
"""
import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import tool  # noqa: E402

LOADS = {
    "minimal": [],
    "objects": ["threads", "64", "descriptors", "1000"],
    "threads": ["threads", "10000"],
    "memory": ["memory", "1024"],
    "tcp": ["connections", "1000"],
    "tcp10": ["connections", "10000"],
    "unix": ["sockets", "10000"],
    "unix1": ["sockets", "1000"],
}
OPTIONS = {"tcp": ["--tcp-established"], "tcp10": ["--tcp-established"]}
COLUMNS = ("dump", "frozen", "restore")


# -- stats-dump: two magic words, a length, and one protobuf message -----------------

def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) pairs of a protobuf message with integers and submessages."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        yield key >> 3, value


def frozen_ms(images):
    """DumpStatsEntry.frozen_time, field 2 of field 1; microseconds in the image."""
    with open(os.path.join(images, "stats-dump"), "rb") as stats:
        data = stats.read()
    size = struct.unpack_from("<I", data, 8)[0]
    dump = dict(fields(data[12:12 + size]))[1]
    return dict(fields(dump))[2] / 1000


# -- one measurement --------------------------------------------------------------------

def timed(argv, cwd, timeout):
    """Run a command. Returns milliseconds; a failure ends the bench."""
    with open(os.path.join(cwd, "output"), "ab") as out:
        began = time.perf_counter()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd)
        # Not wait(timeout): that looks at growing intervals (7.5, 15.5, 31.5, ... ms after the start).
        killer = threading.Timer(timeout, child.kill)
        killer.start()
        status = child.wait()
        spent = (time.perf_counter() - began) * 1000
        killer.cancel()
    if status:
        raise tool.Failure(f"{tool.quote(argv)}: status {status}; " +
                           tool.first_error(cwd, argv[1], status))
    return spent


def measure(program, load, base, timeout):
    """Start the load, dump and restore it once. Returns a value for each column."""
    directory = os.path.join(base, "run")
    images = os.path.join(directory, "images")
    os.makedirs(images)
    ready = os.path.join(directory, "ready")
    pid = tool.start([os.path.join(base, "load"), ready] + LOADS[load], directory)
    try:
        if not tool.wait_for(lambda: os.path.exists(ready), 60):
            raise tool.Failure("the load does not start")
        time.sleep(0.05)
        options = OPTIONS.get(load, [])
        dump = timed([program, "dump", "-t", str(pid), "-D", images, "-o", "dump.log"] + options,
                     images, timeout)
        frozen = frozen_ms(images)
        if not tool.wait_for(lambda: not tool.alive(pid), 10):
            raise tool.Failure("the task is still there")
        tool.reap()
        restore = timed([program, "restore", "-d", "-D", images, "-o", "restore.log"] + options,
                        images, timeout)
        if not tool.alive(pid):
            raise tool.Failure("the task did not come back")
    finally:
        tool.kill_tree(pid)
        tool.reap()
    shutil.rmtree(directory)
    return dump, frozen, restore


# -- the report ---------------------------------------------------------------------------

def cell(values):
    if not values:
        return "-"
    return f"{statistics.median(values):.1f} [{min(values):.1f}..{max(values):.1f}]"


def report(load, results):
    """One line per column: each program's median and range, and the ratio."""
    names = list(results)
    for index, column in enumerate(COLUMNS):
        series = [[run[index] for run in results[name]] for name in names]
        line = f"{load:9s} {column:8s}" + "".join(f" {cell(values):>28s}" for values in series)
        if len(series) == 2 and series[0] and series[1]:
            line += f" {statistics.median(series[1]) / statistics.median(series[0]):7.2f}x"
        print(line, flush=True)


def run_load(load, programs, args, base):
    results = {name: [] for name in programs}
    for number in range(args.runs):
        order = list(programs)
        if number % 2:
            order.reverse()
        for name in order:
            if load == "threads" and name == "criu" and not args.criu_threads:
                continue
            if load == "tcp10" and name == "criu":
                continue
            results[name].append(measure(programs[name], load, base, args.timeout))
    report(load, results)


def warm_up(programs, base, timeout):
    """Once each, not counted: CRIU writes its cache, the files come to memory."""
    for program in programs.values():
        measure(program, "minimal", base, timeout)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stasis", default=os.path.join(tool.ROOT, "build", "stasis"))
    parser.add_argument("--criu", help="compare with this CRIU")
    parser.add_argument("-n", "--runs", type=int, default=15)
    parser.add_argument("--criu-threads", action="store_true",
                        help="CRIU with 10,000 threads as well")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one command")
    parser.add_argument("loads", nargs="*", help="only these loads")
    args = parser.parse_args()
    for load in args.loads:
        if load not in LOADS:
            parser.error(f"no such load: {load}")
    return args


def main():
    args = parse_arguments()
    if os.getuid():
        print("SKIP bench: needs root")
        return 77
    tool.enter_private_namespaces()
    programs = {"stasis": os.path.realpath(args.stasis)}
    if args.criu:
        programs["criu"] = os.path.realpath(args.criu)
    base = "/run/bench"			# the private tmpfs
    os.mkdir(base)
    shutil.copy(tool.build("bench/load", ["bench/load.c"], ["-static", "-pthread"]),
                os.path.join(base, "load"))
    with open("/proc/loadavg", encoding="ascii") as loadavg:
        print(f"{os.cpu_count()} CPUs, Linux {os.uname().release}, load average "
              f"{loadavg.read().split()[0]}, n = {args.runs}, ms: median [least..most]")
    print(f"{'load':9s} {'':8s}" + "".join(f" {name:>28s}" for name in programs) +
          ("  criu/stasis" if args.criu else ""))
    try:
        warm_up(programs, base, args.timeout)
        for load in args.loads or LOADS:
            run_load(load, programs, args, base)
    except (tool.Failure, subprocess.TimeoutExpired) as failure:
        print(f"FAILED: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
