#!/bin/sh
# Installs, as root on Debian, what tests/vm/run.py needs beside the Python packages.
# The suites' security archive has both kernels, under names that change: run.py looks them up.
set -eu

packages="busybox-static iproute2 kmod qemu-system-x86 udev"

missing=
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done

known=true
for version in 6.1 6.12; do
    [ -n "$(apt-cache search --names-only "^linux-image-$version\\.[^-]*(-[0-9]+)?-amd64\$")" ] || known=false
done

if [ -n "$missing" ] || [ "$known" = false ]; then
    apt-get update -q
fi
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi
