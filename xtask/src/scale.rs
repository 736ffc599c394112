//! How the costs of an operation grow: with the members of a room, routes, worker threads, quiet connections; and
//! whether a storm of connections is accepted.
//!
//! A cost is the processor time of the server's threads, as the system counts it, divided by the operations. The
//! client works in lock step. Times depend on the machine: compare the rows of one run. Run the task while the machine
//! does nothing else.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Outcome,
    perf::{
        bench_server,
        client::{Connection, MESSAGE, text},
    },
    process,
};

const USAGE: &str = "usage: cargo xtask scale [--only PART,..]";

/// A measurement. It prints its rows.
type Part = fn(&Path) -> Outcome;

/// The measurements by name.
const PARTS: [(&str, Part); 5] = [
    ("members", members),
    ("workers", workers),
    ("routes", routes),
    ("quiet", quiet),
    ("storm", storm),
];

/// Deliveries per measurement of a room.
const DELIVERIES: usize = 400_000;

/// Requests, or messages, per measurement of one connection.
const OPERATIONS: usize = 20_000;

/// Connections of the storm, the longest wait that one of them may have, and the limit of the whole storm.
const STORM: usize = 10_000;
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const STORM_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &[String]) -> Outcome {
    let only: Vec<&str> = match args {
        [] => Vec::new(),
        [option, names] if option == "--only" => names.split(',').collect(),
        _ => return Err(USAGE.to_owned()),
    };
    if let Some(unknown) = only
        .iter()
        .find(|name| PARTS.iter().all(|(part, _)| part != *name))
    {
        let parts: Vec<_> = PARTS.iter().map(|(part, _)| *part).collect();
        return Err(format!("no part {unknown:?}; parts: {}", parts.join(", ")));
    }
    process::raise_descriptor_limit();
    let program = bench_server()?;
    for (name, part) in PARTS {
        if only.is_empty() || only.contains(&name) {
            part(&program)?;
        }
    }
    Ok(())
}

// ---------------------------------------------------------------- parts

/// The cost of a delivery, by the number of members.
fn members(program: &Path) -> Outcome {
    for count in [100, 1000, 5000, 10_000, 19_000] {
        let server = Measured::start(program, 2, &[])?;
        let cost = room(&server, count)?;
        println!("members  {count:>6} members: {cost:.2} us per delivery");
    }
    Ok(())
}

/// The cost of a delivery to 1 000 members, by the number of worker threads. Rooms have one hub per worker thread.
fn workers(program: &Path) -> Outcome {
    for count in [1, 2, 4, 8] {
        let server = Measured::start(program, count, &[])?;
        let cost = room(&server, 1000)?;
        println!("workers  {count:>6} workers and hubs: {cost:.2} us per delivery to 1000 members");
    }
    Ok(())
}

/// The cost of a request to the last of many routes with a parameter.
fn routes(program: &Path) -> Outcome {
    for count in [1_u32, 10, 100, 1000, 10_000] {
        let server = Measured::start(program, 2, &[&count.to_string()])?;
        let mut connection = Connection::open(server.address).map_err(failed)?;
        let request = format!(
            "GET /resource-{}/7 HTTP/1.1\r\nhost: localhost\r\n\r\n",
            count - 1
        );
        let cost = server.cost(OPERATIONS, || {
            connection.send(request.as_bytes())?;
            connection.skip_past(b"Hello, World!")
        })?;
        println!("routes   {count:>6} routes: {cost:.2} us per request");
    }
    Ok(())
}

/// The cost of an echo on one busy WebSocket, by the number of quiet WebSockets beside it.
fn quiet(program: &Path) -> Outcome {
    let frame = text();
    for count in [0, 1000, 10_000, 19_000] {
        let server = Measured::start(program, 2, &[])?;
        let others = sockets(&server, count, "/echo")?;
        let mut busy = Connection::upgraded(server.address, "/echo").map_err(failed)?;
        let cost = server.cost(OPERATIONS, || {
            busy.send(&frame)?;
            busy.skip_past(MESSAGE)
        })?;
        println!("quiet    {count:>6} quiet WebSockets: {cost:.2} us per echo of another");
        drop(others);
    }
    Ok(())
}

/// Opens many connections at once, each with one request. Fails if the server refuses one or lets it wait too long.
fn storm(program: &Path) -> Outcome {
    let server = Measured::start(program, 2, &[])?;
    let address = server.address;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let before = server.time()?;
    let start = Instant::now();
    let mut waits = runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..STORM {
            clients.spawn(tokio::time::timeout(STORM_LIMIT, visit(address)));
        }
        let mut waits = Vec::with_capacity(STORM);
        let mut open = Vec::with_capacity(STORM);
        while let Some(visited) = clients.join_next().await {
            let visited = visited.map_err(|error| error.to_string())?;
            let (wait, stream) = visited.map_err(|error| error.to_string())??;
            waits.push(wait);
            open.push(stream);
        }
        Ok::<_, String>(waits)
    })?;
    let took = start.elapsed();
    let cost = (server.time()? - before).as_secs_f64() * 1e6 / STORM as f64;
    waits.sort_unstable();
    let longest = waits.last().copied().unwrap_or_default();
    let middle = waits.get(waits.len() / 2).copied().unwrap_or_default();
    println!(
        "storm    {STORM:>6} connections at once: all answered within {took:.2?}, wait from SYN to answer {middle:.2?} \
         in the middle and {longest:.2?} at most, {cost:.1} us of the server each"
    );
    match longest > LONGEST_WAIT {
        true => Err(format!("a connection of the storm waited {longest:?}")),
        false => Ok(()),
    }
}

/// Connects, asks once, and returns the wait for the answer with the open connection.
async fn visit(address: SocketAddr) -> Result<(Duration, TcpStream), String> {
    let start = Instant::now();
    let failed = |error: std::io::Error| format!("a connection of the storm: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = b"GET /plaintext HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.map_err(failed)?;
    let mut buffer = [0; 1024];
    match stream.read(&mut buffer).await.map_err(failed)? {
        0 => Err("the server closed a connection of the storm".to_owned()),
        _ => Ok((start.elapsed(), stream)),
    }
}

/// Returns the cost of a delivery in a room, in microseconds.
fn room(server: &Measured, count: usize) -> Result<f64, String> {
    let frame = text();
    let mut members = sockets(server, count, "/room")?;
    let cost = server.cost(DELIVERIES.div_ceil(count), || {
        if let Some(first) = members.first_mut() {
            first.send(&frame)?;
        }
        let mut members = members.iter_mut();
        members.try_for_each(|member| member.skip_past(MESSAGE))
    })?;
    Ok(cost / count as f64)
}

/// Opens WebSockets. In a room, the last one has heard itself, so all have joined.
fn sockets(server: &Measured, count: usize, path: &str) -> Result<Vec<Connection>, String> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        sockets.push(Connection::upgraded(server.address, path).map_err(failed)?);
    }
    if let Some(last) = sockets.last_mut() {
        last.send(&text()).map_err(failed)?;
    }
    let listening = match path {
        "/room" => sockets.as_mut_slice(),
        _ => sockets
            .last_mut()
            .map(std::slice::from_mut)
            .unwrap_or_default(),
    };
    for socket in listening {
        socket.skip_past(MESSAGE).map_err(failed)?;
    }
    Ok(sockets)
}

fn failed(error: std::io::Error) -> String {
    format!("the client: {error}")
}

// ---------------------------------------------------------------- the server

/// A bench server whose processor time is measured.
struct Measured {
    server: process::Server,
    address: SocketAddr,
}

impl Measured {
    fn start(program: &Path, workers: u32, args: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(program);
        command
            .arg("0")
            .args(args)
            .env("TOKIO_WORKER_THREADS", workers.to_string());
        let server = process::Server::start_command(program, &mut command)?;
        let address = server.address.parse();
        let address = address.map_err(|_| format!("no address: {}", server.address))?;
        Ok(Self { server, address })
    }

    /// Runs an operation some times to warm up, and then `count` times. Returns the server's processor time per
    /// operation, in microseconds.
    fn cost(
        &self,
        count: usize,
        mut operation: impl FnMut() -> std::io::Result<()>,
    ) -> Result<f64, String> {
        for _ in 0..count.div_ceil(10) {
            operation().map_err(failed)?;
        }
        let before = self.time()?;
        for _ in 0..count {
            operation().map_err(failed)?;
        }
        Ok((self.time()? - before).as_secs_f64() * 1e6 / count as f64)
    }

    /// Returns the processor time that all threads of the server have used.
    fn time(&self) -> Result<Duration, String> {
        let tasks = format!("/proc/{}/task", self.server.id());
        let unread = |error| format!("cannot read {tasks}: {error}");
        let mut nanoseconds = 0;
        for task in fs::read_dir(&tasks).map_err(unread)? {
            let path = task.map_err(unread)?.path().join("schedstat");
            let text = fs::read_to_string(&path).map_err(unread)?;
            let time = text
                .split(' ')
                .next()
                .and_then(|time| time.parse::<u64>().ok());
            nanoseconds += time.ok_or_else(|| format!("no time in {}", path.display()))?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}
