#!/usr/bin/env bash
# Gerbang's verbs. This file only prepares the machine and dispatches; what a verb does is known by what it calls.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH="$PATH:/usr/sbin:/sbin" # `su` without `-` leaves them out

readonly VENV=.venv
readonly STAMP=$VENV/gerbang-setup
readonly SERVICE_USER=gerbang STAFF_USER=gerbang-staff
readonly ATTEMPTS=5
# Looks for what keeps people with poor eyes or without a mouse from using a page; from npm, for the browser tests alone.
readonly AXE=axe-core@4.14.1 AXE_DIR=$VENV/axe
readonly EX_USAGE=64 EX_UNAVAILABLE=69 EX_NOPERM=77

# What a bare Debian 12 lacks, and what for: build (python-iptables compiles a small shim, bench/ its packet flood),
# gateway, tests (the virtual village, the test CA, the browser test). "a|b": b will do too.
readonly PACKAGES="
python3-dev             build
python3-venv            build
gcc                     build
libc6-dev               build
python3                 gateway
dnsmasq-base            gateway
fonts-dejavu-core       gateway
iproute2                gateway
iptables                gateway
busybox|busybox-static  tests
dhcpcd-base             tests
ipset                   tests
openssl                 tests
chromium                tests
chromium-driver         tests
libfuse3-3              tests
e2fsprogs               tests
strace                  tests
zstd                    tests
systemd                 tests
"
# What only `image` needs: Debian's part of the tree, the disk's, the update's; its tests' machine; and for a Pi's image
# the processor that this machine does not have.
readonly IMAGE_PACKAGES="
debian-archive-keyring  tree
git                     tree
mmdebstrap              tree
tar                     tree
bmap-tools              disk
dosfstools              disk
e2fsprogs               disk
genimage                disk
mtools                  disk
squashfs-tools          disk
zstd                    disk
openssl                 update
rauc                    update
openssh-client          tests
ovmf                    tests
qemu-system-x86         tests
"
readonly IMAGE_PACKAGES_PI="
arch-test               emulation
qemu-user-static        emulation
"

readonly PI_TEST_PACKAGES="
qemu-system-arm         tests
u-boot-qemu             tests
"

say() { printf 'build.sh: %s\n' "$*" >&2; }
die() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die $EX_NOPERM "'$1' needs root: it installs packages and makes network namespaces. Run: sudo ./build.sh $1"
}

# Networks of villages (and of CI) drop things: try a few times, wait longer each time, then give up with the reason.
retry() {
    local attempt
    for ((attempt = 1; ; attempt++)); do
        "$@" </dev/null && return
        [ "$attempt" -lt "$ATTEMPTS" ] || die $EX_UNAVAILABLE "gave up after $ATTEMPTS attempts: $*"
        say "attempt $attempt of $ATTEMPTS failed, trying again in $((attempt * 3)) s: $1"
        sleep $((attempt * 3))
    done
}

# Is one of these installed: "name" or "name|other"?
installed() { dpkg-query -W -f '${db:Status-Status}\n' ${1//|/ } 2>/dev/null | grep -qx installed; }

# Packages of a list that are missing: each line's first word.
setup_packages() {
    local package missing=()
    while read -r package _; do
        [ -z "$package" ] || installed "$package" || missing+=("${package%%|*}")
    done <<<"$1"
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die $EX_UNAVAILABLE "this is not Debian; install what these packages hold, then try again: ${missing[*]}"
    install_packages "${missing[@]}"
}

install_packages() {
    say "installing packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    retry apt-get -q -o DPkg::Lock::Timeout=300 update
    retry apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

setup_python() {
    local python=/usr/bin/python3 wanted
    local modern='import sys; sys.exit(sys.version_info < (3, 11))'
    "$python" -c "$modern" 2>/dev/null || python=python3
    "$python" -c "$modern" 2>/dev/null || die $EX_UNAVAILABLE "Python 3.11 or newer is needed; found: $("$python" -V 2>&1)"
    # The stamp holds all that the venv depends on; it is written last, so a setup that was cut off is done again.
    wanted="$("$python" -V) $PWD $(sha256sum <pyproject.toml)"
    [ "$(cat $STAMP 2>/dev/null)" != "$wanted" ] || return 0
    say "installing Python packages into $VENV"
    "$python" -m venv $VENV
    retry $VENV/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
    printf '%s\n' "$wanted" >$STAMP
}

# The staff pages' user is of the portal's group, with which it shares the database.
setup_users() {
    setup_user $SERVICE_USER --user-group
    setup_user $STAFF_USER --gid $SERVICE_USER
}

setup_user() {
    local user=$1
    shift
    ! id -u "$user" >/dev/null 2>&1 || return 0
    say "making the system user $user"
    useradd --system "$@" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
}

# More lists of packages may follow.
setup() {
    # One at a time: several clones may be set up at once. The lock goes with the subshell.
    (
        flock 9
        setup_packages "$PACKAGES${1:-}"
        setup_python
        setup_users
    ) 9>/run/lock/gerbang-setup.lock
}

# Not a line of PACKAGES: Node.js from elsewhere brings npm along, and Debian's own would not fit beside it.
setup_axe() {
    [ "$(cat $AXE_DIR/installed 2>/dev/null)" != $AXE ] || return 0
    command -v npm >/dev/null || install_packages npm
    say "installing $AXE into $AXE_DIR"
    mkdir -p $AXE_DIR
    retry npm install --silent --no-audit --no-fund --ignore-scripts --no-save --prefix $AXE_DIR $AXE
    printf '%s\n' $AXE >$AXE_DIR/installed
}

verb_setup() {
    need_root setup
    setup
    setup_axe
    say "ready: Debian packages, $($VENV/bin/python -V) in $VENV, users $SERVICE_USER and $STAFF_USER"
}

verb_demo() {
    need_root demo
    setup
    exec $VENV/bin/python -m tests.village.demo "$@"
}

verb_run() {
    need_root run
    setup
    exec $VENV/bin/gerbang run "$@"
}

# test [lint|unit|contract|kernel|migrations|powercut|e2e|image|pi|tests/PATH ...] [pytest's options]; without a suite: all
# but image and pi, which build one first.
verb_test() {
    need_root test
    setup
    setup_axe
    local lint='' suites=() side_by_side=()
    while [ $# -gt 0 ]; do
        case $1 in
        lint) lint=yes ;;
        unit | contract | kernel | migrations | powercut | e2e) suites+=("tests/$1") ;;
        image)
            setup "$IMAGE_PACKAGES"
            image_for_tests x86
            suites+=("tests/image")
            ;;
        pi)
            setup "$IMAGE_PACKAGES$IMAGE_PACKAGES_PI$PI_TEST_PACKAGES"
            image_for_tests pi
            suites+=("tests/pi")
            ;;
        tests/*) suites+=("$1") ;;
        *) break ;;
        esac
        shift
    done
    if [ -z "$lint" ] && [ ${#suites[@]} -eq 0 ]; then
        lint=yes
        suites=(tests)
        # Most of them wait. More at once would take each other's time, and rates are measured. In their own order, since
        # the longest files have the fewest tests, and would be left for the end.
        side_by_side=(-n 2 --dist loadfile --no-loadscope-reorder)
    fi
    if [ -n "$lint" ]; then
        $VENV/bin/ruff check .
        $VENV/bin/python -m mypy
    fi
    [ ${#suites[@]} -eq 0 ] || exec $VENV/bin/python -m pytest "${side_by_side[@]}" "${suites[@]}" "$@"
}

# The image that tests/image or tests/pi boots is the newest in dist/: made now if anything that it is made of is newer still.
image_for_tests() {
    local made
    [ -z "${GERBANG_IMAGE:-}" ] || return 0
    mkdir -p dist
    made=$(find dist -name "gerbang-*-$1.img" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
    [ -n "$made" ] && [ -z "$(find pyproject.toml build.sh docs image netctl portal systemd -type f ! -name '*.pyc' -newer "$made" -print -quit)" ] ||
        $VENV/bin/python -m image "$1"
}

verb_bench() {
    need_root bench
    setup
    exec $VENV/bin/python -m bench "$@"
}

# image x86|pi|lock [options of `python -m image`]
verb_image() {
    need_root image
    case ${1:-} in
    x86 | lock) setup "$IMAGE_PACKAGES" ;;
    pi) setup "$IMAGE_PACKAGES$IMAGE_PACKAGES_PI" ;;
    *) die $EX_USAGE "image of what? ./build.sh image x86, or image pi; image lock renews image/requirements.lock" ;;
    esac
    exec $VENV/bin/python -m image "$@"
}

verb_clean() {
    rm -rf $VENV build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
    find . -name __pycache__ -type d -prune -exec rm -rf {} +
}

usage() {
    cat <<'END'
usage: ./build.sh VERB [ARGUMENTS]

  setup              install what is missing: Debian packages, Python packages in .venv, the users gerbang, gerbang-staff
  demo [--once]      the virtual village: watch a phone join, tap and use a shaped line (--once: end after the story)
  test [SUITE...]    all checks and tests but image, pi; SUITE: lint unit contract kernel migrations powercut e2e image pi or a path; then options of pytest
  run --site FILE    the gateway on this machine's own interfaces, in the foreground
  bench [--only NAME,...] [--json FILE]   measure (--markdown docs/measurements.md renews its table)
  image x86|pi [--output DIR] [--cache DIR]   build the flashable image (docs/image.md); `image lock` renews its Python lock
  clean              remove what setup and the tests left in this directory
END
}

verb=${1:-help}
case $verb in
setup | demo | run | test | bench | image | clean)
    shift
    "verb_$verb" "$@"
    ;;
help | -h | --help) usage ;;
*)
    usage >&2
    die $EX_USAGE "there is no verb '$verb'"
    ;;
esac
