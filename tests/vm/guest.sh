#!/bin/sh
# SPDX-License-Identifier: MIT
# The first process of the virtual machine: the mounts, the command of run.sh, and off.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export PATH HOME LANG
options=trans=virtio,version=9p2000.L,msize=262144
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /run/lock /run/vm /lib/modules
mount -t 9p -o "$options" control /run/vm
mount --bind "$(cat /run/vm/modules)" /lib/modules
share=$(cat /run/vm/share)
if [ -n "$share" ]; then
	mkdir -p "$share"
	mount -t 9p -o "$options" share "$share"
fi
ip link set lo up
hostname stasis-vm
setsid -w sh /run/vm/command </dev/null >>/run/vm/output 2>&1
status=$?
dmesg >/run/vm/dmesg
echo $status >/run/vm/status
sync
busybox poweroff -f
