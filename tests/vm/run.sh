#!/bin/sh
# SPDX-License-Identifier: MIT
# Run a command on another kernel, in a virtual machine that sees this machine's files:
#
#   run.sh [-t SECONDS] [-m MB] [-c CPUS] [-a "KERNEL ARGS"] [-s DIR] -- COMMAND [ARGUMENT...]
#
# The command runs as root, in the caller's working directory, without input; its output comes as it is written.
# The root file system is this machine's, with a tmpfs above it: what the command writes is gone afterwards, but
# for what it writes into DIR (-s), which is the real one, at the same path. -t limits boot and command together.
# DIR also receives the kernel's messages (vm-dmesg, vm-console). VM_CACHE names the folder of the kernel
# (default: build/vm of this tree), which kernel.sh fills.
# Exit: the command's status; 124 time-out; 125 the machine fell; 77 no qemu or kernel, with the reason.
set -u
limit=600 memory=2048 cpus=2 arguments='' share=''
while getopts t:m:c:a:s: option; do
	case $option in
	t) limit=$OPTARG ;;
	m) memory=$OPTARG ;;
	c) cpus=$OPTARG ;;
	a) arguments=$OPTARG ;;
	s) share=$(mkdir -p "$OPTARG" && cd "$OPTARG" && pwd -P) || exit 2 ;;
	*) sed -n '3,14s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n '3,14s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
here=$(cd "$(dirname "$0")" && pwd -P)
cache=${VM_CACHE:-$here/../../build/vm}
for tool in qemu-system-x86_64 busybox cpio xz depmod; do
	PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || {
		echo "skip: no $tool; tests/harness/deps.sh vm installs it" >&2
		exit 77
	}
done
"$here/kernel.sh" "$cache" || exit
cache=$(cd "$cache" && pwd -P)
"$here/initrd.sh" "$cache" || exit

control=$(mktemp -d /tmp/stasis-vm-XXXXXX) || exit
qemu='' reader=''
end() {
	[ -z "$qemu" ] || kill -9 "$qemu" 2>/dev/null
	[ -z "$reader" ] || kill "$reader" 2>/dev/null
	rm -rf "$control"
}
trap end EXIT
trap 'exit 130' INT TERM HUP

# The words of the command, each quoted for the shell.
quoted() {
	for word; do
		printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"
	done
}
{
	printf 'cd %s || exit 126\n' "$(quoted "$PWD")"
	printf 'exec %s\n' "$(quoted "$@")"
} >"$control/command"
printf '%s\n' "$cache/root/lib/modules" >"$control/modules"
printf '%s\n' "$share" >"$control/share"
: >"$control/output"

fs() {
	printf 'local,path=%s,mount_tag=%s,security_model=none,multidevs=remap%s' "$1" "$2" "${3:-}"
}
# Without erms and fsrm: emulated, "rep movsb" takes a step for each byte, and the kernel and glibc copy with it.
qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max,-erms,-fsrm -smp "$cpus" -m "$memory" -display none \
	-nodefaults -no-reboot -nic none -serial "file:$control/console" \
	-kernel "$cache/vmlinuz" -initrd "$cache/initrd" \
	-append "console=ttyS0 quiet panic=-1 vm.guest=$here/guest.sh $arguments" \
	-virtfs "$(fs / hostroot ,readonly=on)" -virtfs "$(fs "$control" control)" \
	-virtfs "$(fs "${share:-$control}" share)" -device virtio-rng-pci \
	>"$control/qemu" 2>&1 </dev/null &
qemu=$!
tail -n +1 -s 0.2 -f --pid=$qemu "$control/output" &
reader=$!
timeout "$limit" tail -s 0.2 -f --pid=$qemu /dev/null
over=$?
if [ $over -eq 124 ]; then
	kill -9 $qemu
fi
wait $qemu 2>/dev/null
wait $reader
qemu='' reader=''
if [ -n "$share" ]; then
	cp "$control/console" "$share/vm-console"
	[ ! -e "$control/dmesg" ] || cp "$control/dmesg" "$share/vm-dmesg"
fi
if [ $over -eq 124 ]; then
	echo "tests/vm/run.sh: no end after $limit s" >&2
	exit 124
fi
if [ ! -s "$control/status" ]; then
	echo "tests/vm/run.sh: the machine fell; its last words:" >&2
	tail -n 40 "$control/qemu" "$control/console" >&2
	exit 125
fi
exit "$(cat "$control/status")"
