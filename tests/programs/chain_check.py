#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""chain_check.py - verify what chain.py wrote: every line there, none damaged.

usage: chain_check.py FILE [MINIMUM]

Prints "ok, N lines" and exits 0, or names the first bad line and exits 1. With
MINIMUM, fewer lines are an error. An unfinished last line is ignored.
"""
import hashlib
import sys


def check(path):
    """Return the number of good lines; raise ValueError at the first bad one."""
    with open(path, encoding="ascii") as lines:
        text = lines.read()
    lines = text.split("\n")[:-1]
    links = {}
    for expected, line in enumerate(lines, 1):
        try:
            number, index, digest = line.split()
            number, index = int(number), int(index)
        except ValueError:
            raise ValueError(f"line {expected}: {line!r}") from None
        if number != expected:
            raise ValueError(f"line {expected} has number {number}")
        previous = links.get(index) or hashlib.sha256(b"stasis %d" % index).digest()
        links[index] = hashlib.sha256(previous + number.to_bytes(8, "little")).digest()
        if digest != links[index].hex():
            raise ValueError(f"line {expected}: the chain of thread {index} is broken ({digest})")
    return len(lines)


def main():
    try:
        count = check(sys.argv[1])
    except ValueError as fault:
        print(f"BAD: {fault}")
        return 1
    if len(sys.argv) > 2 and count < int(sys.argv[2]):
        print(f"BAD: only {count} lines")
        return 1
    print(f"ok, {count} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
