# shellcheck shell=bash
# Sourced. `make_venv DIRECTORY REQUIREMENTS` makes a Python environment that holds just these packages. It carries a copy
# of what was installed into it, so that it is made anew when that changes.
make_venv() {
    if ! cmp -s "$2" "$1/requirements.txt"; then
        scripts/setup.sh python
        rm -rf "$1"
        python3 -m venv "$1"
        "$1/bin/python" -m pip --disable-pip-version-check --quiet install --requirement "$2"
        cp "$2" "$1/requirements.txt"
    fi
}
