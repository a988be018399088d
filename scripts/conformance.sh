#!/usr/bin/env bash
# Runs the public protocol test suites of RFC 6455, Engine.IO v4 and Socket.IO v5 against a server on port 3000, and
# counts.
#
#   scripts/conformance.sh DIR [COMMAND...]
#
# DIR is outside of this repository; those of the suites are run that it holds:
#   engine.io-protocol/v4-test-suite, socket.io-protocol/v5-test-suite
#                 as `docs` of the socketio/socket.io repository does; what they need is installed the first time
#   autobahn      a Python 2.7 (`virtualenv -p python2.7 autobahn`) with autobahntestsuite
#                 (`autobahn/bin/pip install autobahntestsuite`); of its cases those of compression are left out, which
#                 the node does not offer
# COMMAND starts the server: our echo server, unless something else is named. Exits with 0 if all tests pass.
set -euo pipefail

PORT=3000

say() { echo "conformance: $*" >&2; }

if [ $# -lt 1 ] || [ ! -d "$1" ]; then
    say "usage: scripts/conformance.sh DIR [COMMAND...]"
    exit 2
fi
suites=$(cd "$1" && pwd)
shift
engine=$suites/engine.io-protocol/v4-test-suite
socket=$suites/socket.io-protocol/v5-test-suite
autobahn=$suites/autobahn/bin/wstest
if [ ! -d "$engine" ] && [ ! -d "$socket" ] && [ ! -x "$autobahn" ]; then
    say "$suites holds no suite: see the head of this script"
    exit 2
fi
[ $# -gt 0 ] || set -- cargo run --release --quiet --example conformance

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

install_suite() {
    [ -d "$1/node_modules" ] && return
    say "installing what $1 needs"
    (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
}

start_server() {
    if listens; then
        say "something else listens on port $PORT"
        exit 2
    fi
    "$@" &
    server=$!
    trap stop_server EXIT
    # It may have to be compiled first, so there is no limit but its own end.
    until listens; do
        if ! kill -0 "$server" 2>/dev/null; then
            say "the server ended before it listened"
            exit 2
        fi
        sleep 0.1
    done
}

stop_server() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
}

# Runs the suite in folder $2, and says under the name $1 how it went.
run_suite() {
    local report
    report=$(mktemp)
    # Not every resolver puts IPv4 first for localhost. What a suite leaves open does not keep it from ending.
    (cd "$2" && NODE_OPTIONS=--dns-result-order=ipv4first npx --no-install mocha --exit --reporter json test-suite.js \
        >"$report" 2>/dev/null) || true
    node -e '
        const [file, name] = process.argv.slice(1);
        const { stats, failures } = JSON.parse(require("node:fs").readFileSync(file, "utf8"));
        for (const { fullTitle, err } of failures) console.error(`  failed: ${fullTitle}: ${err.message}`);
        const failed = stats.failures > 0 ? `, ${stats.failures} failed` : "";
        console.log(`${name}: ${stats.passes} passed${failed}`);
        process.exitCode = stats.failures > 0 || stats.passes === 0 ? 1 : 0;
    ' "$report" "$1" || all_passed=false
    rm -f "$report"
}

# Runs the fuzzing client of RFC 6455, and says how it went. What it calls informational, the RFC leaves open.
run_autobahn() {
    local report
    report=$(mktemp -d)
    cat >"$report/spec.json" <<END
{
    "outdir": "$report",
    "servers": [{"agent": "server", "url": "ws://127.0.0.1:$PORT/echo"}],
    "cases": ["*"],
    "exclude-cases": ["12.*", "13.*"],
    "exclude-agent-cases": {}
}
END
    # Where it ends early, the report is missing.
    "$autobahn" --mode fuzzingclient --spec "$report/spec.json" >"$report/log" 2>&1 || true
    python3 - "$report/index.json" <<'END' || all_passed=false
import collections, json, sys
cases = json.load(open(sys.argv[1]))["server"]
counts = collections.Counter()
for name, case in cases.items():
    verdicts = {case["behavior"], case["behaviorClose"]} - {"OK"}
    verdict = " and ".join(sorted(verdicts)).lower() or "passed"
    counts[verdict] += 1
    if verdict != "passed":
        print(f"  {verdict}: {name}", file=sys.stderr)
print("rfc 6455: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
sys.exit(not counts["passed"] or bool(counts.keys() - {"passed", "informational"}))
END
    rm -rf "$report"
}

[ ! -d "$engine" ] || install_suite "$engine"
[ ! -d "$socket" ] || install_suite "$socket"
start_server "$@"
all_passed=true
[ ! -x "$autobahn" ] || run_autobahn
[ ! -d "$engine" ] || run_suite "engine.io v4" "$engine"
[ ! -d "$socket" ] || run_suite "socket.io v5" "$socket"
$all_passed
