#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""typist.py - types numbers into vim, in a terminal of ours, and saves after each.

usage: typist.py FILE
"""
import fcntl
import os
import pty
import select
import struct
import sys
import termios


def drain(terminal):
    """Look at the screen, as a terminal must, until nothing comes for a moment."""
    while select.select([terminal], [], [], 0.02)[0]:
        os.read(terminal, 65536)


def main():
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("vim", ["vim", "-u", "NONE", "-N", "-n", sys.argv[1]])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    drain(terminal)
    number = 0
    while True:
        number += 1
        add = b"i" if number == 1 else b"o"
        os.write(terminal, add + str(number).encode() + b"\x1b:w\r")
        drain(terminal)


if __name__ == "__main__":
    main()
