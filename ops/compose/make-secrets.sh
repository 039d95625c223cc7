#!/bin/bash
# Writes the secrets of compose.yaml that can be drawn by chance, one file each, and leaves those alone that are there.
# Then says which the operator has to bring. `make-secrets.sh FOLDER` for another folder than ops/compose/secrets.
set -euo pipefail
umask 022
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# The folder keeps others of this machine out; the files are read in containers, by users that this machine does not know.
chmod 700 "$folder"

keep() { # NAME, content from stdin
  if [ -e "$folder/$1" ]; then cat > /dev/null; else cat > "$folder/$1"; fi
}
random() { head -c 24 /dev/urandom | od -A n -t x1 | tr -d " \n"; echo; }

random | keep postgres_password
random | keep database_password
echo "postgres://stream:$(cat "$folder/database_password")@postgres:5432/stream" | keep database_url
random | keep backup_password
echo "requirepass $(random)" | keep redis_auth
echo "redis://:$(sed 's/^requirepass //' "$folder/redis_auth")@redis:6379" | keep redis_url
echo "op_$(random)" | keep operator_api_key
random | keep grafana_password
head -c 32 /dev/urandom | base64 | keep webhook_encryption_keys
random | keep client_hash_key
random | keep alert_link_secret
echo "0x$(head -c 32 /dev/urandom | od -A n -t x1 | tr -d " \n")" | keep receipt_key

missing=0
bring() { # NAME, what it is
  if [ -s "$folder/$1" ]; then return; fi
  echo "$folder/$1 is missing: $2"
  missing=1
}
bring rpc_url 'address of a node of the chain, with its key'
bring bundler_url 'address of an ERC-4337 bundler of that chain, with its key; http://bundler:4337 with --profile local-bundler'
bring settler_key 'private key of the settler, 0x and 64 hex digits; its address is SETTLER_ADDRESS'
bring paymaster_signer_key "private key of the paymaster contract's signer, 0x and 64 hex digits"
bring guardian_key 'private key of the guardian that accounts name, 0x and 64 hex digits'
# Compose wants a file for every secret it names, used or not.
if [ ! -e "$folder/bundler_config" ]; then echo '{}' > "$folder/bundler_config"; fi
# Left empty, no alerts are sent that way.
for name in smtp_url telegram_bot_token; do touch "$folder/$name"; done
# Left empty, gateways take no payments by x402's exact.
touch "$folder/relayer_key"
exit "$missing"
