# Sourced by build, start and test: goes to the root of the repository and sets BUN to a Bun of the
# version that package.json pins. Uses one that is there, else fetches it as a package into .cache/,
# with npm or with a Bun of another version. Assumes nothing but POSIX sh and one of these.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
cd "$root" || exit 1
pinned=$(sed -n 's/.*"packageManager": *"bun@\([^"]*\)".*/\1/p' package.json)
local_bun="$root/.cache/bun/node_modules/.bin/bun"

is_pinned() {
  [ "$("$1" --version 2>/dev/null)" = "$pinned" ]
}

if is_pinned "$local_bun"; then
  BUN=$local_bun
elif is_pinned bun; then
  BUN=$(command -v bun)
else
  echo "Fetching Bun $pinned into .cache/bun" >&2
  mkdir -p "$root/.cache/bun" || exit 1
  echo '{ "private": true }' >"$root/.cache/bun/package.json" || exit 1
  if command -v npm >/dev/null 2>&1; then
    npm install --prefix "$root/.cache/bun" --no-audit --no-fund --loglevel=error \
      --save-exact "bun@$pinned" >&2 || exit 1
  elif command -v bun >/dev/null 2>&1; then
    (cd "$root/.cache/bun" && bun add --exact --trust "bun@$pinned" >&2) || exit 1
  else
    echo "Neither npm nor bun is installed; one of them is needed to fetch Bun $pinned." >&2
    exit 1
  fi
  BUN=$local_bun
  if ! is_pinned "$BUN"; then
    echo "Bun $pinned could not be installed into .cache/bun." >&2
    exit 1
  fi
fi
# What scripts and tests start finds the same Bun. Variables that change how Bun runs stay outside.
PATH=$(dirname -- "$BUN"):$PATH
unset BUN_OPTIONS BUN_BE_BUN NODE_ENV
export BUN PATH
