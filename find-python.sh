#!/bin/sh
# Prints the name of a Python that can make the environment: 3.11 or newer, with venv. With an argument, that one and no
# other is looked at. 3.11 comes first, for the versions in constraints.txt were measured with it.
look='
import sys
version = ".".join(map(str, sys.version_info[:3]))
if sys.version_info < (3, 11):
    sys.exit(print("old", version))
try:
    import ensurepip, venv
except ImportError:
    sys.exit(print("bare", version))
print("fits", version)
'
[ $# -gt 0 ] || set -- python3.11 python3.12 python3.13 python3.14 python3 python
found=''
packages=''
for name; do
    command -v "$name" >/dev/null 2>&1 || continue
    # a shim may be there without a Python behind it
    answer=$("$name" -c "$look" 2>/dev/null) || answer=''
    version=${answer#* }
    case $answer in
    fits\ *)
        printf '%s\n' "$name"
        exit 0
        ;;
    bare\ *)
        found="$found
  $name is Python $version, without venv"
        short=${version%.*}
        packages="$packages python$short-venv"
        ;;
    old\ *)
        found="$found
  $name is Python $version, too old"
        ;;
    *)
        found="$found
  $name does not run"
        ;;
    esac
done
{
    if [ -n "$packages" ]; then
        printf 'No Python here can make an environment: venv is missing. On Debian and Ubuntu install it:\n'
        printf '  apt install%s\n' "$packages"
    else
        printf 'No Python 3.11 or newer was found. Install one, or name the one that you have:\n'
        printf '  make demo PYTHON=/path/to/python3\n'
    fi
    printf 'Looked for: %s\nFound:%s\n' "$*" "${found:- nothing}"
} >&2
exit 1
