#!/usr/bin/env bash
# A cluster to try things on: redis-server, three nodes and HAProxy on this machine, all of it on loopback and in a
# temporary folder, until Ctrl-C. What ends meanwhile is told, and the rest goes on.
#
#   scripts/cluster.sh           prints how to try it
#   scripts/cluster.sh --check   publishes and listens through different nodes, and stops: 0 if all was heard
#
# PORT is the proxy's port (if it is not set, any that is free), BIN a node to run in place of a release build.
# GREENROOM_NO_INSTALL=1: do not install what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

NODES=(1 2 3)
# Seconds for all to be ready, and for one answer or event of the check.
READY_LIMIT=60
ANSWER_LIMIT=10
# Seconds for a node to drain, above shutdown.limit_ms (10 s).
STOP_LIMIT=15

no_install=${GREENROOM_NO_INSTALL:-}
# A node takes a variable that begins like its own, and is none of them, for a mistake.
unset GREENROOM_NO_INSTALL

say() { echo "cluster: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

case "$#:${1:-}" in
    0:) check= ;;
    1:--check) check=yes ;;
    *)
        say "usage: scripts/cluster.sh [--check]"
        exit 2
        ;;
esac

install_missing() {
    local missing=()
    # Debian keeps haproxy where only root looks.
    PATH=$PATH:/usr/sbin
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v haproxy >/dev/null || missing+=(haproxy)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ -n "$no_install" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "missing: ${missing[*]}. On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing ${missing[*]}; Debian may start services of the same names, which this script does not use"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends "${missing[@]}" >&2
}

build() {
    if [ -z "${BIN:-}" ]; then
        command -v cargo >/dev/null || fail "cargo is missing: install Rust (https://rustup.rs), or name a node with BIN="
        cargo build --release --quiet --bin greenroom
        BIN=${CARGO_TARGET_DIR:-target}/release/greenroom
    fi
    [ -x "$BIN" ] || fail "$BIN is no program"
    BIN=$(cd "$(dirname "$BIN")" && pwd)/$(basename "$BIN")
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sets port to one that nobody listens on and nobody was given here, below those that the system gives to clients.
given=" "
find_port() {
    local _
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 10000))
        [[ $given != *" $port "* ]] && ! listens "$port" && given+="$port " && return
    done
    fail "no port is free"
}

# --- Processes, each with its log -------------------------------------------------------------------------------------

declare -A pids=() command_of=()

# Starts "$@" as $1, in a process group of its own: a Ctrl-C reaches this script, which ends things in order. Should the
# script be killed, its processes are told to end.
start() {
    local name=$1
    shift
    command_of[$name]=$(printf '%q ' "$@")
    setsid setpriv --pdeathsig TERM -- "$@" >>"$dir/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}

# Starts again what has ended.
start_again() {
    local name
    for name in "${!command_of[@]}"; do
        [ -z "${pids[$name]:-}" ] || continue
        eval "start $name ${command_of[$name]}"
        say "$name is started again, as process ${pids[$name]}"
    done
}

# Says which processes have ended since it last looked.
look_after() {
    local name status
    for name in "${!pids[@]}"; do
        ! kill -0 "${pids[$name]}" 2>/dev/null || continue
        status=0
        wait "${pids[$name]}" || status=$?
        unset "pids[$name]"
        say "$name has ended with $(meaning_of $status); its log: $dir/$name.log"
    done
}

meaning_of() {
    if [ "$1" -gt 128 ]; then echo "SIG$(kill -l $(($1 - 128)))"; else echo "exit code $1"; fi
}

# Ends the named processes together: SIGTERM, and SIGKILL when they take too long.
end() {
    local name until=$((SECONDS + STOP_LIMIT))
    for name in "$@"; do
        [ -z "${pids[$name]:-}" ] || kill -TERM "${pids[$name]}" 2>/dev/null || true
    done
    for name in "$@"; do
        [ -n "${pids[$name]:-}" ] || continue
        while kill -0 "${pids[$name]}" 2>/dev/null && [ $SECONDS -lt $until ]; do nap 0.1; done
        ! kill -KILL "${pids[$name]}" 2>/dev/null || say "$name did not end within $STOP_LIMIT s and was killed"
        wait "${pids[$name]}" 2>/dev/null || true
        unset "pids[$name]"
    done
}

# Sleeps so that signals are heard at once. What bash has to say of processes that were killed, look_after says better.
nap() {
    local sleeper
    sleep "$1" &
    sleeper=$!
    wait $sleeper || kill $sleeper || true
} 2>/dev/null

stop_all() {
    local status=$?
    trap '' INT TERM
    trap - EXIT
    [ ${#pids[@]} -eq 0 ] || say "ending ${!pids[*]}"
    end watcher
    # First the nodes, which tell their clients to come back, then what they need for that.
    end "${NODES[@]/#/node-}"
    end haproxy redis
    # What failed can be looked at.
    if [ $status -eq 0 ] || [ $status -eq 130 ]; then rm -rf "$dir"; else say "the logs stay in $dir"; fi
    exit $status
}

start_redis() {
    find_port
    redis=$port
    mkdir "$dir/redis-data"
    start redis redis-server --bind 127.0.0.1 --port "$redis" --dir "$dir/redis-data" \
        --appendonly yes --save "" --maxmemory-policy noeviction
}

declare -A node_port=()

start_nodes() {
    local n
    for n in "${NODES[@]}"; do
        find_port
        node_port[$n]=$port
        start "node-$n" "$BIN" serve --listen "127.0.0.1:$port" --log-format json \
            --set "node_id=node-$n" \
            --set "cluster.advertise=http://127.0.0.1:$port" \
            --set "redis.url=redis://127.0.0.1:$redis" \
            --set http.trusted_proxies=127.0.0.1
    done
}

# HAProxy with the file that operators are given.
start_proxy() {
    proxy=${PORT:-}
    if [ -z "$proxy" ]; then
        find_port
        proxy=$port
    elif listens "$proxy"; then
        fail "something else listens on port $proxy: name another one with PORT="
    fi
    start haproxy env GREENROOM_BIND="127.0.0.1:$proxy" GREENROOM_MAXCONN=4000 GREENROOM_NODE_1="127.0.0.1:${node_port[1]}" \
        GREENROOM_NODE_2="127.0.0.1:${node_port[2]}" GREENROOM_NODE_3="127.0.0.1:${node_port[3]}" \
        haproxy -db -f "$PWD/deploy/haproxy.cfg"
}

# --- Requests, without a client program -------------------------------------------------------------------------------

# request METHOD PORT PATH [BODY]: prints the answer, its head too; fails if there is none in time.
request() {
    timeout "$ANSWER_LIMIT" bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$2" || exit
        printf "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n" "$1" "$3" "$2" >&3
        [ "$1" != POST ] || printf "Content-Type: %s\r\nContent-Length: %d\r\n" "$5" "${#4}" >&3
        printf "\r\n%s" "$4" >&3
        exec cat <&3' request "$1" "$2" "$3" "${4:-}" "${5:-text/plain}" 2>/dev/null
}

answers_200() { [[ $(request GET "$1" "$2") == "HTTP/1.1 200 "* ]]; }

# wait_for WHAT COMMAND...: until it succeeds, and not longer than the limit allows or a process lives.
wait_for() {
    local what=$1 until=$((SECONDS + READY_LIMIT)) all=${#pids[@]}
    shift
    until "$@"; do
        look_after
        [ ${#pids[@]} -eq "$all" ] || fail "gave up waiting for $what"
        [ $SECONDS -lt $until ] || fail "$what did not come within $READY_LIMIT s"
        nap 0.1
    done
}

wait_until_ready() {
    local n
    for n in "${NODES[@]}"; do
        wait_for "node-$n to be ready" answers_200 "${node_port[$n]}" /readyz
    done
    wait_for "the proxy to have a node" answers_200 "$proxy" /readyz
}

# --- What it is for ---------------------------------------------------------------------------------------------------

explain() {
    cat <<TEXT
Three nodes behind http://127.0.0.1:$proxy:

$(for n in "${NODES[@]}"; do
        echo "  node-$n   http://127.0.0.1:${node_port[$n]}   process ${pids[node-$n]}"
    done)
  haproxy  process ${pids[haproxy]}
  redis    port $redis, process ${pids[redis]}

Watch a room through one node, and publish into it through another:

  $BIN watch agent:42 --url http://127.0.0.1:${node_port[1]}
  $BIN publish agent:42 note '{"text":"hello"}' --url http://127.0.0.1:${node_port[2]}

The same through the proxy, with curl:

  curl -N http://127.0.0.1:$proxy/v1/rooms/agent:42/stream
  curl http://127.0.0.1:$proxy/v1/agents/42/thoughts -H 'content-type: application/json' -d '{"thought":"hello"}'
  curl http://127.0.0.1:$proxy/v1/nodes

Let a node crash, drain another, or take Redis away, while you watch; then start again what has ended:

  kill -KILL ${pids[node-1]}
  kill -TERM ${pids[node-2]}
  kill -TERM ${pids[redis]}
  kill -USR1 $$

The logs are in $dir. Ctrl-C ends it all.
TEXT
}

# Whether some node knows of the watcher.
somebody_watches() {
    local n
    for n in "${NODES[@]}"; do
        [[ $(request GET "${node_port[$n]}" /v1/rooms/cluster-check) != *'"count":1'* ]] || return 0
    done
    return 1
}

heard() { [ "$(grep -c "$1" "$dir/heard" || true)" -ge "$2" ]; }

# Publishes at each node; a watcher who came through the proxy, and so is on one of them, has to hear it all.
check_rooms() {
    local n until missed=
    : >"$dir/heard"
    start watcher sh -c 'exec "$0" watch cluster-check --json --url "$1" >"$2"' "$BIN" "http://127.0.0.1:$proxy" "$dir/heard"
    wait_for "the watcher to be in its room" somebody_watches
    for n in "${NODES[@]}"; do
        "$BIN" publish cluster-check note "{\"from\":$n}" --id "check-$n" --url "http://127.0.0.1:${node_port[$n]}" >/dev/null
    done
    until=$((SECONDS + ANSWER_LIMIT))
    until heard check- ${#NODES[@]} || [ $SECONDS -ge $until ]; do nap 0.1; done
    for n in "${NODES[@]}"; do
        heard "check-$n" 1 || { say "what was published at node-$n was not heard"; missed=yes; }
    done
    [ -z "$missed" ] || return 1
    say "what was published at each node was heard through the proxy"
}

# A client of Socket.IO that polls: it opens its session at one node, and goes on at the two others.
check_polling() {
    local path='/socket.io/?EIO=4&transport=polling' opened sid answer
    opened=$(request GET "${node_port[1]}" "$path")
    sid=$(sed -n 's/.*"sid":"\([^"]*\)".*/\1/p' <<<"$opened")
    [ -n "$sid" ] || { say "node-1 opens no session"; return 1; }
    answer=$(request POST "${node_port[2]}" "$path&sid=$sid" 40)
    [[ $answer == "HTTP/1.1 200 "* ]] || { say "node-2 does not pass on a post: ${answer##*$'\n'}"; return 1; }
    answer=$(request GET "${node_port[3]}" "$path&sid=$sid")
    [[ $answer == *'40{"sid":'* ]] || { say "node-3 does not pass on a poll: ${answer##*$'\n'}"; return 1; }
    say "a session opened at node-1 went on at node-2 and node-3"
}

install_missing
build
dir=$(mktemp -d "${TMPDIR:-/tmp}/greenroom-cluster.XXXXXX")
# How it ends when it is told to: well, once it has begun.
when_told=130
trap stop_all EXIT
trap 'exit $when_told' INT TERM
start_redis
wait_for "Redis to listen" listens "$redis"
start_nodes
start_proxy
wait_until_ready

if [ -n "$check" ]; then
    passed=0
    check_rooms || passed=1
    check_polling || passed=1
    exit $passed
fi

when_told=0
trap start_again USR1
explain
while [ ${#pids[@]} -gt 0 ]; do
    look_after
    nap 0.5
done
fail "everything has ended"
