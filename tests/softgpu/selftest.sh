#!/bin/sh
# SPDX-License-Identifier: MIT
# Test the software GPU itself: selftest.sh, inside the virtual machine, in the top folder of a tree where
# "make softgpu gpu-programs" has run. Ends with "N passed, N failed, N skipped".
built=build/softgpu
counters=/sys/kernel/debug/softgpu/counters
passed=0 failed=0 skipped=0
out=$(mktemp -d "${TMPDIR:-/tmp}/softgpu-XXXXXX")

ok() {
	echo "ok - $1"
	passed=$((passed + 1))
}

bad() {
	echo "FAIL - $1"
	sed 's/^/    /' "$out/log" | tail -n 40
	failed=$((failed + 1))
}

# Objects alive are the counters' first group; those of a process that ended go a moment later.
nothing_left() {
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		left=$(sed '/^$/q' $counters | grep -v ' 0$' | grep .) || return 0
		sleep 0.25
	done
	echo "left: $left" | tr '\n' ' ' >>"$out/log"
	return 1
}

# load PARAMETERS...
load() {
	insmod $built/softgpu.ko "$@" >"$out/log" 2>&1 || bad "insmod $*"
}

unload() {
	rmmod softgpu >"$out/log" 2>&1 && [ ! -e /dev/kfd ] && [ ! -e /dev/dri ] && ok "unloads after $1" || bad "unloads after $1"
}

# check NAME COMMAND...: ends with 0 and leaves nothing
check() {
	name=$1
	shift
	timeout 120 "$@" >"$out/log" 2>&1 </dev/null
	code=$?
	if [ $code -eq 77 ]; then
		echo "skip - $name: $(grep '^skip' "$out/log")"
		skipped=$((skipped + 1))
	elif [ $code -eq 0 ] && nothing_left; then
		ok "$name"
	else
		echo "status $code" >>"$out/log"
		bad "$name"
	fi
}

# target NAME PROGRAM...: as a harness does, but without a dump between ready and SIGUSR1
target() {
	name=$1
	shift
	"$@" >"$out/log" 2>&1 </dev/null &
	pid=$!
	tries=0
	while ! grep -q '^ready$' "$out/log" && kill -0 $pid 2>/dev/null && [ $tries -lt 1200 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	kill -USR1 $pid 2>/dev/null
	wait $pid
	code=$?
	if [ $code -eq 0 ] && grep -q '^ok$' "$out/log" && nothing_left; then
		ok "$name"
	else
		echo "status $code" >>"$out/log"
		bad "$name"
	fi
}

modprobe drm_shmem_helper || exit 77
modprobe udmabuf 2>/dev/null
$built/checks/abi >"$out/log" 2>&1 && ok "ABI of this system's headers" || bad "ABI of this system's headers"
$built/checks/abi-kernel >"$out/log" 2>&1 && ok "ABI of the kernel's headers" || bad "ABI of the kernel's headers"

load gpus=1
check "KFD's CRIU operations" $built/checks/criu
check "KFD's other ioctls" $built/checks/calls
target "kfd: libhsakmt" $built/programs/kfd
target "drm: libdrm_amdgpu" $built/programs/drm
target "share: by dma-buf among a family" $built/programs/share
target "chain: A to B to C" $built/programs/chain
target "twofiles: two opens in a task" $built/programs/twofiles
target "many: 10 processes, 40 buffers" $built/programs/many 10 40
unload "one GPU"

load gpus=2 vram_mb=64
check "render nodes: copies, queries, limits, faults" $built/checks/node
check "a GPU the cgroup forbids" $built/checks/masked
echo 200000 >/sys/module/softgpu/parameters/slow_us
start=$(date +%s)
target "drm: slow copies" $built/programs/drm
[ $(($(date +%s) - start)) -ge 8 ] || bad "slow copies took only $(($(date +%s) - start)) s"
unload "two GPUs"

load gpus=4 gpu_ids=0x777,0x99,0xfff0,0x1234 minor_base=131 hives=1,1,2,2
target "kfd on 4 GPUs, other numbers" $built/programs/kfd 4
target "drm on 4 GPUs, other numbers" $built/programs/drm 4
unload "four GPUs"

dmesg >"$out/log"
grep -E 'BUG:|WARNING:|Oops|Call Trace|refcount|use-after|leaked' "$out/log" >"$out/bad" && mv "$out/log" "$out/all" &&
	mv "$out/bad" "$out/log" && bad "the kernel's messages" || ok "the kernel's messages"
rm -rf "$out"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
