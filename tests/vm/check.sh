#!/bin/sh
# SPDX-License-Identifier: MIT
# What "make check-vm" runs, with --short "make check", and with --every "make check-vm-all": unpack the kernel, build
# the software GPU and its programs, boot, test. Without qemu, kernel package or network: a skip that says why. Ends with "N passed, N
# failed, N skipped". Other options are those of tests/softgpu/scenarios.py.
cd "$(dirname "$0")/../.." || exit 1
VM_CACHE=${VM_CACHE:-build/vm}
export VM_CACHE

skip() {
	echo "skip the virtual machine: $1"
	echo "0 passed, 0 failed, 1 skipped"
	exit 0
}

tests/harness/deps.sh vm || skip "tests/harness/deps.sh vm failed"
reason=$(tests/vm/kernel.sh "$VM_CACHE" 2>&1)
case $? in
0) ;;
77) skip "$reason" ;;
*) echo "$reason" && exit 1 ;;
esac
make -s --no-print-directory softgpu gpu-programs >build/vm-build.log 2>&1 || {
	tail -n 40 build/vm-build.log
	exit 1
}
limit=600 memory=4000
if [ "$1" = --every ]; then
	limit=7200
	[ "$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)" -lt 14000 ] || memory=12000
fi
tests/vm/run.sh -t $limit -m $memory -s build/vm-results -- tests/softgpu/inside.sh "$@"
code=$?
[ $code -ne 77 ] || skip "see above"
exit $code
