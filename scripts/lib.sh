# Shared by the scripts beside it: where the environment is, and how to say things. Sourced, not run.
# shellcheck shell=sh

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=${DH_KERNEL_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
PIP_DISABLE_PIP_VERSION_CHECK=1
PIP_ROOT_USER_ACTION=ignore
export PIP_DISABLE_PIP_VERSION_CHECK PIP_ROOT_USER_ACTION

say() { printf '%s\n' "==> $*" >&2; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Installs the first of the named packages that this release of Debian or Ubuntu has. dpkg needs the sbin directories on PATH.
apt_install_first() (
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    DEBIAN_FRONTEND=noninteractive
    export PATH DEBIAN_FRONTEND
    apt-get update -q >&2 || say "apt-get update failed; trying with the lists that are there"
    for package in "$@"; do
        say "apt-get install -y --no-install-recommends $package"
        if apt-get install -y -q --no-install-recommends "$package" >&2; then
            exit 0
        fi
    done
    exit 1
)

# Makes a virtual environment, also where Debian's python3 came without ensurepip (package python3-venv).
make_venv() {
    [ -x "$1/bin/python" ] && "$1/bin/python" -m pip --version >/dev/null 2>&1 && return
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Python 3.10 or newer is needed. Name one: PYTHON=python3.12 $0"
    say "making a virtual environment in $1"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        "$python" -m venv --clear "$1"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        scratch=$(mktemp -d)
        "$python" -m pip install -q --target "$scratch" virtualenv
        PYTHONPATH=$scratch "$python" -m virtualenv -q --clear "$1"
        rm -r "$scratch"
    elif can_apt && apt_install_first python3-venv; then
        "$python" -m venv --clear "$1"
    else
        fail "Python can make no virtual environment here. Run: sudo apt-get install -y python3-venv"
    fi
}
