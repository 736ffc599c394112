//! Development tasks: `cargo xtask NAME`.
//!
//! Each says what is missing, or installs it into the target directory; none needs a setup.

mod autobahn;
mod browser;
mod clients;
mod cuts;
mod deny;
mod fuzz;
mod http2;
mod http2_attacks;
mod http2_cost;
mod http2_frames;
mod msrv;
mod nginx;
mod perf;
mod powerset;
mod process;
mod published;
mod scale;
mod slow;
mod targets;
mod tidy;
mod tools;

use std::process::ExitCode;

/// What a task ends with: nothing, or a sentence that says what went wrong.
type Outcome = Result<(), String>;

const USAGE: &str = "usage: cargo xtask TASK

  autobahn  the echo example against the Autobahn test suite
            [--cases PATTERN,..]  only these, such as 1.*,9.1.1; all by default
            [--accept]            take the outcome as the expected one from now on
            [--http2]             over HTTP/2 (RFC 8441), through a bridge
  ci        everything that must be green before a change lands
  browser   real browsers: the chat, and channels through a proxy that resets connections
            [--engine NAME]       chromium, firefox or webkit; chromium by default, with more of the chat (a server
                                  restart, screenshots), compression, two sites and the other examples with a page
  clients   the bench server and `hello` against Python websockets, httpx, h2 and wsproto, node ws and undici, curl,
            nghttp and h2load
  cuts      clients of channels that are cut at any byte and come back: all they get is what was sent
            [--cuts N]            10000 by default
            [--seed N]            replays a run, whose seed it prints
  deny      licences, duplicates and advisories of what the published crates depend on, by cargo-deny
  fuzz      the fuzz targets, one after the other
            [TARGET..]            only these; all by default
            [--minutes N]         how long each runs; 5 by default
  http2     the end-to-end tests over HTTP/2, TLS and both, and the Autobahn test suite over HTTP/2, through a bridge from
            HTTP/1.1
            [--suite|--autobahn]  only one of both
            [--suite PROTOCOL]    only h2c, tls or tls-h2
            [--differences [PROTOCOL]]
                                  instead: the tests that do not hold over a protocol, and whether they still fail
  http2-attacks
            floods, resets and small windows of HTTP/2: what each costs the bench server and a normal client
  http2-cost
            time of the processor, writes and memory of HTTP/2 on the bench server, beside hyper and axum; needs h2load and
            strace
            [requests|events|memory]  only this part
  msrv      the published crates with the oldest Rust that they promise, if rustup has it, and what dependencies need
  nginx     a real nginx in front of the example `proxied`: cookies, WebSockets and events at a path, hosts
  perf      instructions per operation and bytes per idle WebSocket, beside those of a base; fails above +3 %
            [BASE]                a commit; by default where this branch left origin/main, or the parent of HEAD
            [--only ROW,..]       only these rows; all by default
            [--alone]             no base: only this checkout
  powerset  the published crates with no feature, each, and every two, by cargo-hack; checked only
  scale     processor time per operation as members, routes, workers and quiet connections grow; a storm of connections
            [--only PART,..]      members, workers, routes, quiet, storm; all by default
  slow      slow and endless clients: what they cost the bench server and a normal client
            [--connections N]     5000 by default
            [--seconds N]         30 by default
  soak      rooms under a random load: all that the members receive is compared with the order of each room
            [--minutes N]         1 by default: one round of 500 000 messages
            [--seed N]            replays the plan of a run
  targets   the published crates for Windows and macOS, if rustup has a std of these; checked only
  tidy      rules of the tree that no compiler checks: the order of modules, sizes, prose, what documents list
            [--write]             writes the order into ARCHITECTURE.md, and lowers the numbers of baseline.txt
            [--order|--prose]     lists the imports that go upward, or the lines that the rules of prose count";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let outcome = match task.as_str() {
        "autobahn" => autobahn::run(&rest),
        "ci" => process::run("bash", [".ci/run"]),
        "browser" => browser::run(&rest),
        "clients" => clients::run(),
        "cuts" => cuts::run(&rest),
        "deny" => deny::run(),
        "fuzz" => fuzz::run(&rest),
        "http2" => http2::run(&rest),
        "http2-attacks" => http2_attacks::run(&rest),
        "http2-cost" => http2_cost::run(&rest),
        "msrv" => msrv::run(),
        "nginx" => nginx::run(),
        "perf" => perf::run(&rest),
        "powerset" => powerset::run(),
        "scale" => scale::run(&rest),
        "slow" => slow::run(&rest),
        "soak" => cuts::soak(&rest),
        "targets" => targets::run(),
        "tidy" => tidy::run(&rest),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
