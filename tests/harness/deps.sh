#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what is missing (Debian, as root): deps.sh build|demo|check|vm. Silent when all is there.
set -e
build="gcc make pkg-config binutils protobuf-c-compiler protobuf-compiler libprotobuf-c-dev libnanomsg-dev libcap-dev liblz4-dev libdrm-dev libc6-dev linux-libc-dev"
demo="python3"
check="python3 procps util-linux iproute2 perl sqlite3 nftables redis-server memcached nginx-light postgresql openssh-server openssh-client rsync nodejs tmux"
vm="qemu-system-x86 busybox-static cpio xz-utils kmod libdrm-dev libhsakmt-dev"
case "$1" in
build) want=$build ;;
demo) want="$build $demo" ;;
check) want="$build $demo $check" ;;
vm) want="$build $vm" ;;
*) echo "usage: deps.sh build|demo|check|vm" >&2; exit 2 ;;
esac
missing=
for p in $want; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
