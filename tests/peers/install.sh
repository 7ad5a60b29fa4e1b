#!/bin/sh
# Fetches, as root on Debian, the programs that tests compare with, and that scrape and alert there:
# prometheus, promtool and node_exporter, into .cache beside this file.  Nothing is installed.
set -eu

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
