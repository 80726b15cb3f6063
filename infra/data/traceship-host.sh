#!/bin/sh
# What an instance does around its server. The units call it; docs/host.md explains every line it writes.
#   preflight  before anything is fetched: are all chips there, and is it the driver that has Inf1?
#   confine    before it, too: keep the server's user from this instance's credentials
#   ready      once the server runs: wait until it answers, then let Auto Scaling put it into service
#   stopped    after every end: keep the reason; after too many, have the instance replaced
set -u

STATE=/run/traceship
METADATA=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
MOST_FAILURES=3
SLOT_SECONDS=3600
TAB=$(printf '\t')
# A private endpoint that is not there must not hold systemd's stop for minutes.
export AWS_PAGER='' AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=2

say() { printf 'traceship-host: %s\n' "$*" >&2; }

aws_() { aws --cli-connect-timeout 5 --cli-read-timeout 10 "$@" 2>&1; }

# Say it here and, where that can be reached, in the fleet's log group.
tell() {
  say "$*"
  text=$(printf '%s' "$*" | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g')
  stream=$INSTANCE_ID/host
  aws_ logs create-log-stream --log-group-name "$TRACESHIP_LOG_GROUP" --log-stream-name "$stream" >"$STATE/logs" || true
  event="[{\"timestamp\":$(date +%s)000,\"message\":\"traceship-host: $text\"}]"
  aws_ logs put-log-events --log-group-name "$TRACESHIP_LOG_GROUP" --log-stream-name "$stream" \
    --log-events "$event" >"$STATE/logs" || say "the log group was not reached: $(tr '\n' ' ' <"$STATE/logs")"
}

preflight() {
  chip=0
  while [ "$chip" -lt "$TRACESHIP_CHIPS" ]; do
    if [ ! -c "/dev/neuron$chip" ]; then
      say "no device: /dev/neuron$chip is missing, this instance type has $TRACESHIP_CHIPS chips"
      return 1
    fi
    chip=$((chip + 1))
  done
  version=$(cat /sys/module/neuron/version 2>/dev/null || modinfo -F version neuron 2>/dev/null) || version=none
  case $version in
    "$TRACESHIP_DRIVER".*) say "preflight passed: $TRACESHIP_CHIPS chips, driver $version" ;;
    *)
      say "wrong driver: the Neuron driver is $version, Inf1 needs $TRACESHIP_DRIVER.*"
      return 1
      ;;
  esac
}

# The server asks AWS for nothing. Without the rule it does not start: who breaks into it would act as this instance.
confine() {
  set -- OUTPUT --destination 169.254.169.254 --match owner --uid-owner "$TRACESHIP_SERVE_USER" --jump REJECT
  iptables --wait --check "$@" 2>/dev/null && return
  if ! answer=$(iptables --wait --insert "$@" 2>&1); then
    say "no rule keeps the server from this instance's metadata: $answer"
    return 1
  fi
}

metadata() {
  token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$METADATA/latest/api/token") || return 1
  curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$METADATA/latest/meta-data/$1"
}

# Answer the hook that holds a launch: CONTINUE or ABANDON. Fails, with the reason in $answer, where none waits.
answer_hook() {
  if ! group=$(metadata tags/instance/aws:autoscaling:groupName); then
    answer='the instance metadata name no Auto Scaling group'
    return 1
  fi
  answer=$(aws_ autoscaling complete-lifecycle-action --lifecycle-action-result "$1" \
    --lifecycle-hook-name "$TRACESHIP_HOOK" --auto-scaling-group-name "$group" --instance-id "$INSTANCE_ID")
}

ready() {
  # systemd's own limit (TimeoutStartSec) ends this loop.
  until curl -sf -m 2 -o /dev/null "$TRACESHIP_PING"; do
    if ! kill -0 "$MAINPID" 2>/dev/null; then
      say 'the server ended before it was ready'
      return 1
    fi
    sleep 1
  done
  rm -f "$STATE/failures"
  # The hook would end a good instance for an answer that was lost.
  for _ in 1 2 3 4 5; do
    if answer_hook CONTINUE; then
      say 'ready: the launch continues'
      return
    fi
    case $answer in
      *'No active Lifecycle Action'*)
        say 'ready: no launch waits'
        return
        ;;
    esac
    sleep 2
  done
  tell "ready, but the launch could not be continued: $answer"
}

# Take the slot with this key: 0 taken, 1 somebody has it, 2 S3 could not be asked (why is in $answer).
# An object that is there and younger than an hour is a slot in use. S3 lets one writer win.
try_slot() {
  set -- --bucket "$TRACESHIP_BUCKET" --key "$1" --expected-bucket-owner "$TRACESHIP_BUCKET_OWNER"
  # Without the right to list, S3 answers 403 for an object that is not there, so any failure means "none".
  if found=$(aws_ s3api head-object "$@" --query '[ETag,LastModified]' --output text); then
    taken=$(date -d "${found#*"$TAB"}" +%s) || return 2
    [ $(($(date +%s) - taken)) -lt "$SLOT_SECONDS" ] && return 1
    set -- "$@" --if-match "${found%%"$TAB"*}"
  else
    set -- "$@" --if-none-match '*'
  fi
  answer=$(aws_ s3api put-object "$@" --body "$STATE/slot") && return 0
  case $answer in
    *PreconditionFailed* | *ConditionalRequestConflict*) return 1 ;;
    *) return 2 ;;
  esac
}

# Take any slot of the fleet, for a reason; the same answers. An instance fails on while its successor
# starts, so what it took an hour ago or later is its own still: one instance must not eat the fleet's hour.
take_slot() {
  taken=$(cat "$STATE/taken" 2>/dev/null || echo 0)
  [ $(($(date +%s) - taken)) -lt "$SLOT_SECONDS" ] && return 0
  printf '%s %s\n' "$INSTANCE_ID" "$1" >"$STATE/slot"
  slot=0
  while [ "$slot" -lt "$TRACESHIP_SLOTS" ]; do
    try_slot "$TRACESHIP_SLOT_PREFIX/$slot"
    tried=$?
    [ "$tried" -eq 0 ] && date +%s >"$STATE/taken"
    [ "$tried" -eq 1 ] || return "$tried"
    slot=$((slot + 1))
  done
  return 1
}

replace() {
  if answer_hook ABANDON; then
    tell "abandoned the launch of this instance: $1"
    return
  fi
  # No launch waits, so this instance is in service, and the fleet loses only so many of those an hour.
  take_slot "$1"
  case $? in
    0)
      if answer=$(aws_ autoscaling set-instance-health --instance-id "$INSTANCE_ID" --health-status Unhealthy \
        --no-should-respect-grace-period); then
        tell "marked this instance Unhealthy: $1"
      else
        tell "NOT REPLACED, Auto Scaling refused: $answer; this instance is broken: $1"
      fi
      ;;
    1) tell "NOT REPLACED, the fleet used its $TRACESHIP_SLOTS of the hour; this instance is broken: $1" ;;
    *) tell "NOT REPLACED, the fleet's slots could not be asked: $answer; this instance is broken: $1" ;;
  esac
}

# The last line of this start that tells an error, else the last line.
reason() {
  journalctl --sync
  journalctl --quiet --no-pager --output cat --lines 100 "_SYSTEMD_INVOCATION_ID=$INVOCATION_ID" |
    awk '/"event": "refused"|^traceship-host: (no|wrong) |^docker: |^Error response/ { told = $0 }
      /[^ ]/ { last = $0 }
      END { print told ? told : last }'
}

stopped() {
  [ "$SERVICE_RESULT" = success ] && return
  failures=$(($(cat "$STATE/failures" 2>/dev/null || echo 0) + 1))
  echo "$failures" >"$STATE/failures"
  if [ "$SERVICE_RESULT" = timeout ]; then
    failures=$MOST_FAILURES
    why="slow start: not ready within $TRACESHIP_START_SECONDS seconds; last line: $(reason)"
  else
    why=$(reason)
  fi
  if [ "$failures" -lt "$MOST_FAILURES" ]; then
    tell "failed $failures of $MOST_FAILURES times: $why"
  else
    replace "$why"
  fi
}

mkdir -p "$STATE"
case ${1-} in
  preflight | confine | ready | stopped) "$1" ;;
  *)
    say "usage: $0 preflight|confine|ready|stopped"
    exit 2
    ;;
esac
