# Functions that install a suite's packages into the current folder; source this file.
# Each installation keeps a copy of its lock file, so that only a changed lock file installs again.

install_python_packages() {
  if ! cmp --silent requirements.txt .venv/requirements.txt; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
    cp requirements.txt .venv/
  fi
}

install_node_packages() {
  if ! cmp --silent package-lock.json node_modules/package-lock.json; then
    npm ci --loglevel=error --no-audit --no-fund >/dev/null
    cp package-lock.json node_modules/
  fi
}
