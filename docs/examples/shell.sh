#!/usr/bin/env bash
# A click and the list that knows it, with curl. ./shell.sh USER ITEM
set -euo pipefail
url=${NEXTCLICK_URL:-http://127.0.0.1:8080} user=$1 item=$2

# 202 means that the broker has it; the token of the click is a header.
seen=$(curl --fail --silent --show-error --retry 3 --output /dev/null --dump-header - "$url/v1/clicks" \
  --header 'Content-Type: application/json' --header "Idempotency-Key: $user-$item-$(date +%s)" \
  --data "{\"user_id\": \"$user\", \"item_id\": \"$item\", \"event\": \"click\"}" |
  tr -d '\r' | sed -n 's/^[Nn]extclick-[Ss]een: //p')

# A read with the token is answered by a list that knows the click.
curl --fail --silent --show-error --retry 3 --get "$url/v1/users/$user/recommendations" \
  --data-urlencode "seen=$seen" --data k=5 --data timeout_ms=10000
