#!/bin/sh
# Fetches, as root on Debian, the programs that tests compare with, and that scrape and alert there:
# prometheus, promtool and node_exporter, into .cache beside this file, where nothing is installed.
# Libraries that tests compare with are installed: libnl and libudev.
set -eu

libraries=
for package in libnl-3-200 libnl-route-3-200 libudev1; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || libraries="$libraries $package"
done
if [ -n "$libraries" ]; then
    # shellcheck disable=SC2086  # a list of names
    install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $libraries; }
    # The first fails where the lists are missing, or older than the archive.
    install 2>/dev/null || { apt-get update -q && install; }
fi

cache="$(cd "$(dirname "$0")" && pwd)/.cache"
programs="$cache/usr/bin"

missing=
for package in prometheus prometheus-node-exporter; do
    [ -x "$programs/$package" ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    exit 0
fi

new="$cache/new"
rm -rf "$new"
mkdir -p "$new" "$programs"
trap 'rm -rf "$new"' EXIT
cd "$new"
# shellcheck disable=SC2086  # a list of names
fetch() { apt-get -q -o APT::Sandbox::User=root download $missing; }
# The first fails where the lists are missing, or older than the archive.
fetch 2>/dev/null || { apt-get update -q && fetch; }
for archive in *.deb; do
    dpkg -x "$archive" .
done
# The one that is looked for comes last: what was interrupted begins anew.
[ ! -e usr/bin/promtool ] || mv usr/bin/promtool "$programs"
for package in $missing; do
    mv "usr/bin/$package" "$programs"
done
