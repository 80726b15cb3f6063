set -euo pipefail

fail() {
  printf 'traceship: %s\n' "$1" >&2
  exit 1
}

found=$(modinfo -F version neuron) || fail "there is no Neuron driver"
[ "$found" = "$DRIVER_VERSION" ] || fail "the Neuron driver is $found, not $DRIVER_VERSION"
[ "$(uname -r)" = "$KERNEL.x86_64" ] || fail "the kernel is $(uname -r), not $KERNEL.x86_64"
grep -qx 'exclude=kernel\* aws-neuronx-\*' /etc/dnf/dnf.conf || fail "kernel and driver are not held"
[ "$(rpm -q --whatprovides kernel | wc -l)" = 1 ] || fail "there is more than one kernel to boot"
for unit in docker amazon-ssm-agent; do
  systemctl is-enabled --quiet "$unit" || fail "$unit does not start at boot"
done
for program in /opt/aws/neuron/bin/neuron-monitor /opt/aws/neuron/bin/neuron-ls docker-credential-ecr-login iptables; do
  command -v "$program" >/dev/null || fail "$program is missing"
done
docker image inspect "$IMAGE" >/dev/null || fail "the serving image $IMAGE is not on the disk"
[ ! -e /root/.docker/config.json ] || fail "a login was left in /root/.docker"
