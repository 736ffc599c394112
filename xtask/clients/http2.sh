#!/usr/bin/env bash
# curl, nghttp and h2load with HTTP/2 against a server's /plaintext. What is not installed is left out.
set -uo pipefail
address=$1
passed=0 failed=0
check() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1)); echo "ok - http2: $1"
    else
        failed=$((failed + 1)); echo "not ok - http2: $1: expected '$3', got '$2'"
    fi
}
get() { curl --silent --max-time 10 --http2-prior-knowledge "$@"; }
check "curl with prior knowledge" "$(get --write-out ' %{http_version} %{http_code}' "http://$address/plaintext")" "Hello, World! 2 200"
check "curl without it" "$(curl --silent --max-time 10 --http2 --write-out ' %{http_code}' "http://$address/plaintext")" "Hello, World! 200"
check "two requests on one connection" "$(get --output /dev/null --output /dev/null --write-out '%{num_connects}' "http://$address/plaintext" "http://$address/plaintext")" "10"
check "HEAD" "$(get --head --output /dev/null --write-out '%{http_code} %{size_download}' "http://$address/plaintext")" "200 0"
check "a body" "$(head -c 100000 /dev/zero | get --output /dev/null --write-out '%{http_code}' --data-binary @- "http://$address/publish")" "204"
if command -v nghttp >/dev/null; then
    check "nghttp" "$(nghttp --timeout=10 "http://$address/plaintext")" "Hello, World!"
    # Old versions of curl lose an answer that comes before the end of their body.
    large=$(mktemp)
    head -c 3000000 /dev/zero >"$large"
    check "a body beyond the limit" "$(nghttp --timeout=10 --data="$large" "http://$address/publish" | head -c 3)" "413"
    rm "$large"
else
    echo "left out: nghttp (apt-get install nghttp2-client)"
fi
if command -v h2load >/dev/null; then
    check "h2load, 10 connections with 100 streams" \
        "$(h2load -n 20000 -c 10 -m 100 "http://$address/plaintext" | sed -n 's/^requests: .* \([0-9]* succeeded, [0-9]* failed, [0-9]* errored\).*/\1/p')" \
        "20000 succeeded, 0 failed, 0 errored"
else
    echo "left out: h2load (apt-get install nghttp2-client)"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
