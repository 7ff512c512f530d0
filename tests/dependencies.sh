#!/usr/bin/env bash
# Checks the dependencies by deny.toml: what is allowed in, under which licences, from where, and whether an advisory
# stands against it. usage: dependencies.sh CARGO_DENY
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$1

"$deny" --locked check --hide-inclusion-graph bans licenses sources

# The advisories are a database on the network, which not every machine reaches. A copy that was fetched earlier does not
# count: what is missing in it would pass.
if fetched=$(timeout 120 "$deny" fetch db 2>&1); then
    "$deny" --locked check --disable-fetch advisories
else
    printf '%s\n' "$fetched" | tail -1 >&2
    echo 'dependencies: NOT checked for advisories, because their database cannot be fetched here (see above).' \
        'Run "make dependencies" where the network has it before a release.' >&2
fi
