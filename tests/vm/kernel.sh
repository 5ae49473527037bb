#!/bin/sh
# SPDX-License-Identifier: MIT
# Unpack a kernel and its headers for the virtual machine: kernel.sh DIR. Nothing is installed, /etc/apt stays
# as it is. Afterwards DIR/version names the kernel, DIR/root holds its modules, DIR/vmlinuz is the kernel and
# DIR/headers what modules are built against (KDIR). Exit 77 with the reason if it cannot be had.
# Suite and pattern can be given: VM_SUITE, VM_KERNEL.
set -e
suite=${VM_SUITE:-bookworm-backports}
pattern=${VM_KERNEL:-'^linux-image-6[.]12[.][0-9]+[+]deb12-amd64$'}
mkdir -p "$1"
dir=$(cd "$1" && pwd)
# The headers know their place by absolute paths: a folder that was copied or moved is made again.
[ "$(cat "$dir/complete" 2>/dev/null)" = "$dir" ] && exit 0

skip() {
	echo "skip: no kernel for the virtual machine: $1" >&2
	exit 77
}

# The machine's own Debian mirror and key, and one suite more, in a configuration of its own.
apt_config() {
	uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
	[ -n "$uri" ] || skip "apt has no index of a Debian mirror; run apt-get update"
	key=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e "$key" ] || skip "$key is missing; install debian-archive-keyring"
	mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/parts"
	cat >"$dir/apt/suite.sources" <<-END
		Types: deb
		URIs: $uri
		Suites: $suite
		Components: main
		Signed-By: $key
	END
}

apt() {
	command=$1
	shift
	"$command" -o Dir::Etc::sourcelist="$dir/apt/suite.sources" -o Dir::Etc::sourceparts="$dir/apt/parts" \
		-o Dir::State::lists="$dir/apt/lists" -o Dir::Cache="$dir/apt/cache" \
		-o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 "$@"
}

apt_config
apt apt-get update -qq || skip "apt-get update of $suite failed"
image=$(apt apt-cache pkgnames linux-image-6 | grep -E "$pattern" | sort -V | tail -n 1)
[ -n "$image" ] || skip "$suite has no package like $pattern"
version=${image#linux-image-}
common=linux-headers-${version%-amd64}-common
kbuild=linux-kbuild-${version%-amd64}
rm -rf "$dir/root" "$dir/debs"
mkdir -p "$dir/root" "$dir/debs"
(cd "$dir/debs" && apt apt-get download -qq "$image" "linux-headers-$version" "$common" "$kbuild") ||
	skip "apt-get download of $image and its headers failed"
for deb in "$dir"/debs/*.deb; do
	dpkg -x "$deb" "$dir/root"
done
rm -rf "$dir/debs" "$dir/apt" "$dir/root/usr/share"
[ -e "$dir/root/lib" ] || ln -s usr/lib "$dir/root/lib"
depmod -b "$dir/root" "$version"
# What the packages reach by absolute paths is found below here.
headers=$dir/root/usr/src/linux-headers-$version
grep -rlI "/usr/src/linux-headers-\|/usr/lib/linux-kbuild" "$headers" --include=Makefile --include='.kernelvariables' |
	xargs -r sed -i "s#/usr/src/linux-headers-#$dir/root/usr/src/linux-headers-#g"
for link in "$headers/scripts" "$headers/tools" "$dir/root/usr/src/$common/scripts" "$dir/root/usr/src/$common/tools"; do
	[ -L "$link" ] && ln -sfn "$dir/root/usr/lib/${kbuild}/$(basename "$link")" "$link"
done
ln -sfn "$headers" "$dir/headers"
ln -sfn "root/boot/vmlinuz-$version" "$dir/vmlinuz"
echo "$version" >"$dir/version"
echo "$dir" >"$dir/complete"
