#!/usr/bin/env bash
# curl against a server's /plaintext, /sse and unknown paths.
set -uo pipefail
address=$1
passed=0 failed=0
check() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1)); echo "ok - curl: $1"
    else
        failed=$((failed + 1)); echo "not ok - curl: $1: expected '$3', got '$2'"
    fi
}
get() { curl --silent --max-time 10 "$@"; }
check "a plain request" "$(get "http://$address/plaintext")" "Hello, World!"
check "HEAD has no body" "$(get --head --output /dev/null --write-out '%{http_code} %{size_download}' "http://$address/plaintext")" "200 0"
head=$(get --head "http://$address/plaintext" | tr -d '\r' | tr '[:upper:]' '[:lower:]')
field() { sed -n "s/^$1: *//p" <<<"$head"; }
check "HEAD says what GET would send" "$(head -n 1 <<<"$head"), $(field content-length), $(field content-type)" "http/1.1 200 ok, 13, text/plain; charset=utf-8"
check "HEAD has one date" "$(field date | wc -l)" "1"
check "an HTTP/1.0 connection ends with its answer" "$(get --http1.0 --output /dev/null --output /dev/null --write-out '%{num_connects}' "http://$address/plaintext" "http://$address/plaintext")" "11"
check "a body beyond the limit is refused before it is sent" "$(head -c 3000000 /dev/zero | get --output /dev/null --write-out '%{http_code} %{size_upload}' -H 'Expect: 100-continue' --data-binary @- "http://$address/publish")" "413 0"
check "an unknown path" "$(get --output /dev/null --write-out '%{http_code}' "http://$address/nowhere")" "404"
check "a chunked body with Expect" "$(get --output /dev/null --write-out '%{http_code}' -H 'Expect: 100-continue' -H 'Transfer-Encoding: chunked' --data-binary hello "http://$address/publish")" "204"
check "two requests on one connection" "$(get --output /dev/null --output /dev/null --write-out '%{num_connects}' "http://$address/plaintext" "http://$address/plaintext")" "10"
check "a plain GET on a WebSocket route is refused" "$(get --output /dev/null --write-out '%{http_code}' "http://$address/echo")" "426"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
