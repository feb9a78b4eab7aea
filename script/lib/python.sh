# Finds a Python that can carry the project. ONE RULE: it changes nothing unless the machine is Debian's, we are root, and
# the packages were named first (and asked for, where a terminal can answer).
# Sourced by the scripts; sets PYTHON.

_capable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

_find_python() {
    local candidate
    for candidate in python3.11 python3 /usr/bin/python3 python3.12 python3.13 python3.14; do
        if command -v "$candidate" >/dev/null 2>&1 && _capable "$candidate"; then
            PYTHON=$candidate
            return 0
        fi
    done
    return 1
}

_python_packages() {
    if command -v python3 >/dev/null 2>&1 && ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "python3.11 python3.11-venv" # an older release, such as Ubuntu 22.04, whose own Python is 3.10
    else
        echo "python3 python3-venv"
    fi
}

_why_no_python() {
    if ! command -v python3 >/dev/null 2>&1; then
        echo "there is no Python on this machine"
    elif python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Python is here ($(python3 --version 2>&1)), but its venv module is not"
    else
        echo "gpufair needs Python 3.11 or later, and python3 here is $(python3 --version 2>&1 | cut -d' ' -f2)"
    fi
}

# need_python [the script's arguments]: sets PYTHON, or says what is wrong and ends the script.
need_python() {
    _find_python && return 0
    local packages why answer=y
    why=$(_why_no_python)
    packages=$(_python_packages)
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "$why; these Debian packages would be installed: $packages"
        case " $* " in *" --yes "*) ;; *) [ -t 0 ] && read -r -p "Install them? [Y/n] " answer ;; esac
        case "$answer" in
            "" | y | Y | yes)
                export DEBIAN_FRONTEND=noninteractive
                # shellcheck disable=SC2086 # a list of words
                { apt-get install -y -qq --no-install-recommends $packages ||
                    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; }; } >/dev/null 2>&1
                _find_python && return 0
                ;;
        esac
    fi
    echo "wrong: $why" >&2
    if command -v apt-get >/dev/null 2>&1; then
        echo "next:  as root: apt-get update && apt-get install $packages" >&2
    else
        echo "next:  install Python 3.11 or later with its venv module, and run this again" >&2
    fi
    exit 1
}

# explain USAGE [the script's arguments]: for a script whose only option is --yes: tells of itself, refuses other options.
explain() {
    local usage=$1 word
    shift
    for word in "$@"; do
        case $word in
            -h | --help) echo "$usage" && exit 0 ;;
            --yes) ;;
            -*) echo "wrong: there is no option $word" >&2 && echo "next:  $usage" >&2 && exit 2 ;;
        esac
    done
}
