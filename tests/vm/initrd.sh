#!/bin/sh
# SPDX-License-Identifier: MIT
# Make DIR/initrd for the kernel that kernel.sh unpacked in DIR: busybox, what mounts the host's files, guest root.
set -e
dir=$1
[ "$dir/initrd" -nt "$0" ] && exit 0
PATH=$PATH:/usr/sbin:/sbin
version=$(cat "$dir/version")
tree=$(mktemp -d /tmp/stasis-initrd-XXXXXX)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/dev" "$tree/lower" "$tree/upper" "$tree/root"
cp "$(command -v busybox)" "$tree/bin/busybox"
file=$(ldd "$tree/bin/busybox" 2>&1 || true)
case $file in
*"not a dynamic"*) ;;
*)
	echo "skip: busybox is not static; install busybox-static" >&2
	exit 77
	;;
esac
# Dependencies come first in what modprobe prints; the order is kept by number.
n=100
for module in virtio_pci 9pnet_virtio 9p overlay virtio_rng; do
	for file in $(modprobe -d "$dir/root" -S "$version" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'); do
		n=$((n + 1))
		name=$(basename "$file" .xz)
		ls "$tree/modules/"*"-$name" >/dev/null 2>&1 && continue
		case $file in
		*.xz) xz -dc "$file" >"$tree/modules/$n-$name" ;;
		*) cp "$file" "$tree/modules/$n-$name" ;;
		esac
	done
done
cat >"$tree/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do
	insmod "$module" || echo "insmod $module failed"
done
guest=$(sed -n 's/.*vm[.]guest=\([^ ]*\).*/\1/p' /proc/cmdline)
options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o ro,cache=loose,$options hostroot /lower
mount -t tmpfs -o mode=755 upper /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root
umount /dev
umount /proc
exec switch_root /root /bin/sh "$guest"
END
chmod 755 "$tree/init"
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initrd.new"
mv "$dir/initrd.new" "$dir/initrd"
