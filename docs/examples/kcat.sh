#!/usr/bin/env bash
# A click and the list that it makes, with kcat. ./kcat.sh USER ITEM
set -euo pipefail
brokers=${BOOTSTRAP_SERVERS:-127.0.0.1:9092} prefix=${NEXTCLICK_PREFIX:-nextclick.} user=$1 item=$2
now=$(date +%s%3N) event="kcat-$(date +%s%N)"

# murmur2_random puts the user where workers look; kcat's own default would not.
printf '%s|{"event_id": "%s", "user_id": "%s", "item_id": "%s", "event": "click", "timestamp": %s}\n' \
  "$user" "$event" "$user" "$item" "$now" |
  kcat -P -q -b "$brokers" -t "${prefix}clicks" -K '|' -X topic.partitioner=murmur2_random -X acks=all

# From a little before the end of each partition on, until the list comes whose trigger the click is. kcat would go on:
# it notices that nobody reads only when it has another list to write, which may be never.
exec 3< <(exec timeout "${TIMEOUT:-60}" kcat -C -q -u -b "$brokers" -t "${prefix}recommendations" -o -1000)
trap "kill $! 2>/dev/null || true" EXIT
grep --max-count=1 "\"id\":\"$event\"" <&3
