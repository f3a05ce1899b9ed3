#!/usr/bin/env bash
# Generates clients in Go, Java, Python and Node from proto/, and runs them and grpcurl against a built server:
# run.sh [BINARY]. The commands and snippets of README.md are taken from there, so that they stay true.
#
# Installs what it needs next to this file, except Go, Node and npm; Maven and a JDK as Debian packages, as root.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$here/.tools
binary=$(realpath "${1:-$root/target/debug/tokenecho}")
[[ -x $binary ]] || { echo "run.sh: no server binary at $binary; build it, or pass another path" >&2; exit 2; }
export PATH="$tools:$here/python/.venv/bin:$PATH"
# With -modcacherw, the installed modules can be deleted like other files.
export GOPATH=$tools/go GOBIN=$tools GOFLAGS="${GOFLAGS:-} -modcacherw"
source "$here/../install.sh"

maven() {
  # Without noreset, Maven ends each run with an escape sequence.
  MAVEN_OPTS=-Djansi.noreset=true mvn --quiet --batch-mode -Dmaven.repo.local="$tools/maven" --file "$here/java" "$@"
}

install_jdk_and_maven() {
  if command -v javac >/dev/null && command -v mvn >/dev/null; then return; fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends default-jdk-headless maven >/dev/null
}

install_go_tools() {
  if ! cmp --silent go-tools.txt .tools/go-tools.txt; then
    xargs -n 1 go install <go-tools.txt
    cp go-tools.txt .tools/
  fi
}

install_maven_tools() {
  if ! cmp --silent maven-tools.txt .tools/maven-tools.txt; then
    local cpu group name version
    cpu=$(uname -m | sed s/aarch64/aarch_64/)
    while IFS=: read -r group name version; do
      maven dependency:copy -Dartifact="$group:$name:$version:exe:linux-$cpu" -DoutputDirectory="$tools"
      install "$tools/$name-$version-linux-$cpu.exe" "$tools/$name"
    done <maven-tools.txt
    cp maven-tools.txt .tools/
  fi
}

# Prints the code block of README.md that contains the text.
readme() {
  awk -v RS='```' -v text="$1" 'NR % 2 == 0 && index($0, text) { sub(/^[a-z]+\n/, ""); print; found = 1 }
    END { exit !found }' "$root/README.md" || { echo "run.sh: README.md has no code block with: $1" >&2; return 1; }
}

# Checks an output: check NAME PATTERN OUTPUT, in which case is ignored.
check() {
  if [[ ${3,,} == ${2,,} ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n  expected: %s\n  got: %s\n' "$@"
  fi
}

# Runs a client, once with the key and once with a wrong one: check_client NAME COMMAND...
check_client() {
  local name=$1
  shift
  check "$name" "$reply"$'\n'"$reply"$'\nexit 0' "$(timeout 60 "$@" "$address" 123 2>&1; echo "exit $?")"
  check "$name, wrong key" "*unauthenticated*exit 1" "$(timeout 60 "$@" "$address" wrong 2>&1; echo "exit $?")"
}

cd "$here"
mkdir -p .tools
install_jdk_and_maven
install_go_tools
install_maven_tools
(cd python && install_python_packages)
(cd node && install_node_packages)

rm -rf go/{readme,tokenecho} java/{io,target} python/{readme.py,tokenecho} node/types
cd "$root"
commands=$(readme --go_out)
OUT=tests/clients bash -euc "$commands"
go -C "$here/go" build -o "$tools/go-client" .
maven compile dependency:copy-dependencies

log=$(mktemp)
env --ignore-environment "$binary" --port 0 --grpc-port 0 --admin-port off --api-key 123 --itl 1ms 2>"$log" &
server=$!
trap 'kill "$server" || true; rm "$log"' EXIT
until address=$(grep ' is ready"' "$log" | grep -oP '"grpc":"\K[^"]+'); do
  kill -0 "$server" || { cat "$log" >&2; exit 1; }
  sleep 0.1
done

passed=0
failed=0
reply="As a mock AI Assistant, I can only echo your last message: Hello there"

check_client Go go-client
check_client Java java -cp "$here/java/target/classes:$here/java/target/dependency/*" Client
check_client Python python "$here/python/client.py"
check_client Node node "$here/node/client.mjs"
check "types for Node" "*/chat.ts" "$(ls "$here/node/types/chat.ts" 2>&1)"

# README's snippets, with the address of this server.
snippet=$(readme tokenechov1.NewChatServiceClient)
mkdir "$here/go/readme"
printf '%s' "${snippet//127.0.0.1:50051/$address}" >"$here/go/readme/main.go"
check "README's Go" "$reply" "$(go -C "$here/go" run ./readme 2>&1)"

snippet=$(readme chat_pb2_grpc)
printf '%s' "${snippet//127.0.0.1:50051/$address}" >"$here/python/readme.py"
check "README's Python" "$reply" "$(python "$here/python/readme.py" 2>&1)"

snippet=$(readme "grpcurl -plaintext")
snippet=${snippet//127.0.0.1:50051/$address}
for flags in "" "-import-path proto -proto tokenecho/v1/chat.proto"; do
  output=$(timeout 60 bash -euc "${snippet//grpcurl /grpcurl $flags }" 2>&1; echo "exit $?")
  check "grpcurl $flags" "*tokenecho.v1.ChatService*rpc StreamChatCompletion*exit 0" "$output"
  content=$(sed -n 's/.*"content": "\(.*\)".*/\1/p' <<<"$output" | tr -d '\n')
  check "grpcurl $flags, stream" "$reply" "$content"
done
wrong=${snippet//Bearer 123/Bearer wrong}
check "grpcurl, wrong key" "*code: unauthenticated*exit 80" "$(timeout 60 bash -euc "$wrong" 2>&1; echo "exit $?")"

trap 'rm "$log"' EXIT
kill "$server"
exit_code=0
wait "$server" || exit_code=$?
check "the server's exit code" 0 "$exit_code"
echo "$passed passed, $failed failed"
((failed == 0))
