#!/bin/sh
# Installs, as root on Debian, what tests/machines/run.py needs beside the Python packages.
# The foreign Pythons are no business of the host's: run.py unpacks them into its cache.
set -eu

command -v qemu-arm >/dev/null && command -v qemu-s390x >/dev/null && exit

apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends qemu-user
