#!/bin/sh
# Sends a click through whatever is deployed, and says what answered. Needs curl and nothing else.
#
#   deploy/smoke.sh ADDRESS [KEY]      such as: deploy/smoke.sh http://127.0.0.1:8080 "$KEY"
#
# KEY: one with the scope write, where there are keys. Ends with 0, or with 1 and what is wrong, 2 for a wrong call.
set -eu

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 ADDRESS [KEY], such as http://127.0.0.1:8080" >&2
    exit 2
fi
command -v curl >/dev/null || { echo "needs curl, which is not here" >&2; exit 2; }
case $1 in http://* | https://*) address=${1%/} ;; *) echo "$1 is no address: http://… or https://…" >&2; exit 2 ;; esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077
# The key goes into a file: everybody on this machine can read a command line.
: >"$work/headers"
[ -z "${2:-}" ] || printf 'Authorization: Bearer %s\n' "$2" >"$work/headers"

# ask PATH [curl's arguments]: the status into $status, the body into $work/body
ask() {
    path=$1
    shift
    status=$(curl --silent --show-error --max-time 15 --header "@$work/headers" --output "$work/body" \
        --write-out '%{http_code}' "$@" "$address$path" 2>"$work/error") ||
        fail "$address does not answer: $(cat "$work/error")"
}

# said NAME: the text of a field in the body, as far as it takes to find one in JSON by sed
said() { sed -n "s/.*\"$1\":[ ]*\"\{0,1\}\([^\",}]*\).*/\1/p" "$work/body" | head -n 1; }

ask /healthz
[ "$status" = 200 ] || fail "/healthz says $status; is this an api of Nextclick? $(head -c 300 "$work/body")"
ask /readyz
[ "$status" = 200 ] || fail "the api is not ready: $(head -c 300 "$work/body")"

user="smoke-$(date +%s)-$$"
# An item that is known, if any is: a click on one that nobody announced is taken, and says less.
ask "/v1/popular?k=1&timeout_ms=5000"
case $status in
401 | 403) fail "$status: give a key with the scope write as the second argument" ;;
200) ;;
503) fail "no list came (503): is a worker running, and is a release live? $(head -c 300 "$work/body")" ;;
*) fail "/v1/popular says $status: $(head -c 300 "$work/body")" ;;
esac
item=$(sed -n 's/.*"item_id":[ ]*"\([^"]*\)".*/\1/p' "$work/body" | head -n 1)
[ -n "$item" ] || fail "the list of what is popular is empty: no item is known; load items or train a release"

ask /v1/clicks --header 'Content-Type: application/json' \
    --data "{\"user_id\":\"$user\",\"item_id\":\"$item\",\"event\":\"click\"}"
case $status in
202) ;;
401 | 403) fail "the key may not send clicks ($status): it needs the scope write" ;;
*) fail "the click was refused with $status: $(head -c 300 "$work/body")" ;;
esac
seen=$(said seen)

ask "/v1/users/$user/recommendations?k=5&seen=$seen&timeout_ms=10000"
[ "$status" = 200 ] || fail "the click was taken, but its list did not come: $status $(head -c 300 "$work/body")"
grep -q '"item_id"' "$work/body" || fail "the list is empty: $(head -c 300 "$work/body")"
! grep -q '"behind":[ ]*true' "$work/body" || fail "a list came, but it does not know the click yet: workers lag behind"

count=$(grep -o '"item_id"' "$work/body" | wc -l | tr -d ' ')
echo "OK: a click of $user on $item was taken as $seen and answered by a list of $count items that knows it" \
    "(release $(said release), served $(said served))"
