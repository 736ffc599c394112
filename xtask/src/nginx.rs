//! A real nginx in front of the example `proxied`, by the example's own recipe.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{Outcome, clients, process};

/// The recipe that readers copy.
const RECIPE: &str = "examples/proxied/nginx.conf";

/// What the recipe has for the addresses of its reader.
const ADDRESSES: [&str; 4] = ["127.0.0.1:8080", "listen 80;", "listen 443 ssl;", "/app/"];

/// How the server behind a location is configured, apart from its address.
const SERVERS: [(&str, &[&str]); 3] = [
    ("trusting", &["trust=127.0.0.1"]),
    ("plain", &[]),
    ("listed", &["host=app.example"]),
];

pub(crate) fn run() -> Outcome {
    let program = nginx()?;
    let place = process::target().join("nginx");
    // What an earlier run has left would be read as this one's.
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)
        .map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    certificate(&place)?;
    let python = clients::python()?;
    let example = process::example("proxied")?;
    let mut servers = Vec::new();
    for (name, more) in SERVERS {
        let arguments = [&["127.0.0.1:0"], more].concat();
        let log = place.join(format!("{name}.log"));
        servers.push(process::Server::start_logged(&example, &arguments, &log)?);
    }
    let (plain, secure) = (free_port()?, free_port()?);
    let configuration = place.join("nginx.conf");
    let text = configure(plain, secure, &servers)?;
    fs::write(&configuration, text)
        .map_err(|error| format!("cannot write {}: {error}", configuration.display()))?;
    let _nginx = Nginx::start(&program, &place, &configuration, plain)?;
    process::run(
        &python,
        [
            Path::new("xtask/nginx/client.py"),
            Path::new(&plain.to_string()),
            Path::new(&secure.to_string()),
            &place,
        ],
    )
}

/// Finds nginx, which stands in no user's path on Debian.
fn nginx() -> Result<PathBuf, String> {
    let named = std::env::var_os("NGINX").map(PathBuf::from);
    let known = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"];
    let found = match named {
        Some(path) => Some(path).filter(|path| path.exists()),
        None => known
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists()),
    };
    found.ok_or_else(|| {
        "no nginx: `apt-get install nginx-light`, or set NGINX to one that is built with TLS"
            .to_owned()
    })
}

/// Makes a certificate, by openssl, that only this run's client trusts.
fn certificate(place: &Path) -> Outcome {
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=app.example"])
        .args(["-addext", "subjectAltName=DNS:app.example"])
        .args(["-keyout", "app.example.key", "-out", "app.example.crt"])
        .current_dir(place)
        .output()
        .map_err(|error| {
            format!("cannot run openssl: {error}\nthis task needs it: `apt-get install openssl`")
        })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}

/// Makes a whole configuration from the recipe: its location once for each server, at a path named after it.
fn configure(plain: u16, secure: u16, servers: &[process::Server]) -> Result<String, String> {
    let recipe = fs::read_to_string(process::top().join(RECIPE))
        .map_err(|error| format!("cannot read {RECIPE}: {error}"))?;
    if let Some(missing) = ADDRESSES.iter().find(|text| !recipe.contains(**text)) {
        return Err(format!(
            "{RECIPE} has no `{missing}` any more: change `cargo xtask nginx` with it"
        ));
    }
    let recipe = recipe
        .replace("listen 80;", &format!("listen 127.0.0.1:{plain};"))
        .replace(
            "listen 443 ssl;",
            &format!("listen 127.0.0.1:{secure} ssl;"),
        );
    let cut = |from: &str, to: &str| {
        let start = recipe.find(from)?;
        let length = recipe.get(start..)?.find(to)? + to.len();
        let (before, rest) = recipe.split_at_checked(start)?;
        rest.split_at_checked(length)
            .map(|(part, after)| (before, part, after))
    };
    let unexpected =
        || format!("{RECIPE} is laid out in another way than `cargo xtask nginx` reads");
    let (before, location, end) =
        cut("    location /app/ {", "\n    }\n").ok_or_else(unexpected)?;
    let (_, upstream, _) = cut("upstream app {", "\n}\n").ok_or_else(unexpected)?;
    let mut upstreams = String::new();
    let mut locations = String::new();
    for ((name, _), server) in SERVERS.iter().zip(servers) {
        upstreams += &upstream
            .replace("upstream app", &format!("upstream {name}"))
            .replace("127.0.0.1:8080", &server.address);
        // The path, and the name of the upstream.
        locations += &location.replace("/app/", &format!("/{name}/"));
    }
    // A proxy that says the client's host in its own field alone.
    let host = "proxy_set_header Host ";
    let without_host = location
        .lines()
        .filter(|line| !line.trim_start().starts_with(host))
        .collect::<Vec<_>>()
        .join("\n");
    for name in ["trusting", "plain"] {
        locations += &without_host
            .replace("location /app/", &format!("location /{name}-without-host/"))
            .replace("//app/", &format!("//{name}/"));
        locations.push('\n');
    }
    let before = before.replace(upstream, &upstreams);
    Ok(format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log nginx.log info;
events {{}}
http {{
access_log off;
client_body_temp_path body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
{before}{locations}{end}
}}
"
    ))
}

/// An nginx that ends with this value.
struct Nginx(Child);

impl Nginx {
    fn start(
        program: &Path,
        place: &Path,
        configuration: &Path,
        port: u16,
    ) -> Result<Self, String> {
        let child = Command::new(program)
            .arg("-p")
            .arg(place)
            .arg("-c")
            .arg(configuration)
            .args(["-e", "nginx.log"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let mut nginx = Self(child);
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(nginx);
            }
            if let Ok(Some(status)) = nginx.0.try_wait() {
                return Err(format!(
                    "nginx ended: {status}; see {}",
                    place.join("nginx.log").display()
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("nginx does not listen".to_owned())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Without a master, this process is all of it. It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
