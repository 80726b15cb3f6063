set -euo pipefail

fail() {
  printf 'traceship: %s\n' "$1" >&2
  exit 1
}

chip=0
devices=()
while [ "$chip" -lt "$CHIPS" ]; do
  [ -e "/dev/neuron$chip" ] || fail "/dev/neuron$chip is missing: $CHIPS are expected"
  devices+=(--device "/dev/neuron$chip")
  chip=$((chip + 1))
done
loaded=$(cat /sys/module/neuron/version) || fail "the Neuron driver is not loaded"
[ "$loaded" = "$DRIVER_VERSION" ] || fail "driver $loaded is loaded, not $DRIVER_VERSION"
/opt/aws/neuron/bin/neuron-ls >/dev/null || fail "neuron-ls cannot talk to the device"

work=$(mktemp -d)
model="$work/model"
trap 'docker rm --force traceship-fetch traceship-serve >/dev/null 2>&1; rm -rf "$work"' EXIT
printf '%s' "$SERVE_ENV" >"$work/serve.env"
install -d -o "$USER_ID" -g "$USER_ID" "$model"
iptables --wait --insert OUTPUT --destination 169.254.169.254 --match owner --uid-owner "$SERVE_USER_ID" --jump REJECT ||
  fail "iptables cannot keep the server's user from the instance's credentials"

run=(docker run --network host --read-only --tmpfs /tmp --env HOME=/tmp --cap-drop ALL
  --security-opt no-new-privileges --env-file "$work/serve.env" --pull never)
fetcher=(--user "$USER_ID:$USER_ID")
server=(--user "$SERVE_USER_ID:$USER_ID")
# Who fetches gets credentials, or there is no release below. 42: the connection failed, and nothing else did.
probe='import socket as s; t = s.socket(); t.settimeout(5); exit(42 if t.connect_ex(("169.254.169.254", 80)) else 0)'
refused=0
"${run[@]}" "${server[@]}" --rm --name traceship-serve --entrypoint python "$IMAGE" -c "$probe" || refused=$?
[ "$refused" = 42 ] || fail "the server's user is not kept from the instance's credentials ($refused)"

"${run[@]}" "${fetcher[@]}" --rm --name traceship-fetch --volume "$model:$MODEL_DIR" "$IMAGE" fetch ||
  fail "the release could not be fetched and verified"
"${run[@]}" "${server[@]}" --detach --name traceship-serve --volume "$model:$MODEL_DIR:ro" "${devices[@]}" "$IMAGE" serve >/dev/null ||
  fail "the server does not start"

attempt=0
until curl --silent --fail --max-time 2 --output /dev/null "http://127.0.0.1:$PORT/ping"; do
  attempt=$((attempt + 1))
  if [ "$attempt" -ge "$ATTEMPTS" ]; then
    docker logs --tail 50 traceship-serve >&2
    fail "the golden set did not pass on the device within $ATTEMPTS attempts"
  fi
  sleep 2
done
