set -euo pipefail

fail() {
  printf 'traceship: %s\n' "$1" >&2
  exit 1
}

package() { # name, sha256: fetched by its digest, or not at all
  local file="/tmp/$1"
  aws s3api get-object --bucket "$BUCKET" --key "packages/$1" --expected-bucket-owner "$ACCOUNT" \
    --region "$REGION" "$file" >/dev/null || fail "s3://$BUCKET/packages/$1 cannot be read"
  printf '%s  %s\n' "$2" "$file" | sha256sum --check --status || fail "$1 is not the file whose digest the settings name"
}

running=$(uname -r)
[ "$running" = "$KERNEL.x86_64" ] || fail "the parent image runs kernel $running, the settings say $KERNEL.x86_64"

cli=$(aws --version | sed -n 's|^aws-cli/\([0-9.]*\).*|\1|p') || fail "the parent image has no aws command that runs"
oldest=$(printf '%s\n' "$cli" "$OLDEST_CLI" | sort -V | head -n 1)
# An instance that has itself replaced takes a slot by a conditional write, which older ones do not know.
[ -n "$cli" ] && [ "$oldest" = "$OLDEST_CLI" ] || fail "the parent's aws command is $cli, older than $OLDEST_CLI"

dnf install -y "$KERNEL_PACKAGE-devel-$KERNEL" gcc make dkms docker iptables-nft \
  amazon-ecr-credential-helper amazon-cloudwatch-agent amazon-ssm-agent || fail "a package of the system is not to be had"

package "aws-neuronx-dkms-$DRIVER_VERSION.noarch.rpm" "$DRIVER_SHA256"
package "aws-neuronx-tools-$TOOLS_VERSION.x86_64.rpm" "$TOOLS_SHA256"
dnf install -y "/tmp/aws-neuronx-dkms-$DRIVER_VERSION.noarch.rpm" "/tmp/aws-neuronx-tools-$TOOLS_VERSION.x86_64.rpm" ||
  fail "the driver or its tools do not install"
rm -f "/tmp/aws-neuronx-dkms-$DRIVER_VERSION.noarch.rpm" "/tmp/aws-neuronx-tools-$TOOLS_VERSION.x86_64.rpm"

built=$(modinfo -k "$running" -F version neuron) || fail "the driver was not built for kernel $running"
[ "$built" = "$DRIVER_VERSION" ] || fail "driver $built was built, not $DRIVER_VERSION"

grep -q '^exclude' /etc/dnf/dnf.conf && fail "the parent image's dnf.conf excludes packages of its own"
printf 'exclude=kernel* aws-neuronx-*\n' >>/etc/dnf/dnf.conf

systemctl enable --now docker || fail "docker does not start"
systemctl enable amazon-ssm-agent || fail "the SSM agent cannot be enabled"
login=$(mktemp -d)
printf '{"credHelpers":{"%s":"ecr-login"}}\n' "${IMAGE%%/*}" >"$login/config.json"
docker --config "$login" pull "$IMAGE" || fail "the serving image $IMAGE cannot be pulled"
rm -rf "$login"
