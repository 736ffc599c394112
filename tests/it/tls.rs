//! TLS: certificates, handshakes, the facts that requests learn, and what depends on TLS.

mod handshakes;
mod http2;
mod https;
mod stalls;

use std::{net::SocketAddr, sync::Arc};

use hyperlane::{
    ClientCertificates, ServerConfig, ServerProtocol, TlsConfig,
    prelude::*,
    server::{ConfigError, TlsError, TlsSource},
};
use rustls::ClientConfig;
use test_support::{Authority, CLOSE, Client, Issued, Reply, connect_tls, hook};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::client::TlsStream;

type Secure = Client<TlsStream<TcpStream>>;

hook! {
    Facts |_, ctx| {
        let text = match ctx.tls() {
            Some(tls) => format!(
                "{} {} {} {:?} {:?} {} {}",
                ctx.scheme(),
                tls.version(),
                tls.cipher_suite(),
                tls.server_name(),
                tls.alpn(),
                tls.is_resumed(),
                tls.client_certificates().len(),
            ),
            None => ctx.scheme().to_owned(),
        };
        ctx.get_mut_response().set_body(text);
    }
    Length |_, ctx| {
        let length = ctx.get_request().get_body().len();
        ctx.get_mut_response().set_body(length.to_string());
    }
    Large |_, ctx| {
        ctx.get_mut_response().set_body(vec![b'x'; 3_000_000]);
    }
    Echo |stream, ctx| {
        let socket = ctx.upgrade(stream).await.unwrap();
        while let Ok(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
    Events |stream, ctx| {
        let events = ctx.event_stream(stream).await.unwrap();
        for number in 0..3 {
            events.send(number.to_string()).await.unwrap();
        }
        events.closed().await;
    }
    Local |stream, ctx| {
        let local = stream.get_local_addr().unwrap();
        ctx.get_mut_response().set_body(local.to_string());
    }
}

/// Starts a server with TLS.
async fn start(tls: TlsConfig, configure: impl FnOnce(&mut Server)) -> ServerControlHook {
    let mut server = Server::new();
    server
        .bind_tls("127.0.0.1:0", tls)
        .route::<Facts>("/")
        .route::<Length>("/length")
        .route::<Large>("/large")
        .route::<Echo>("/echo")
        .route::<Events>("/events")
        .route::<Local>("/local");
    server.get_mut_server_config().allowed_hosts = test_support::hosts();
    configure(&mut server);
    server.run().await.expect("the server starts")
}

fn address(control: &ServerControlHook) -> SocketAddr {
    control.tls_addr().expect("an address with TLS")
}

async fn client(control: &ServerControlHook, config: impl Into<Arc<ClientConfig>>) -> Secure {
    let stream = connect_tls(address(control), config, "localhost").await;
    Client::on(stream.expect("a handshake"))
}

async fn facts(control: &ServerControlHook, config: impl Into<Arc<ClientConfig>>) -> String {
    client(control, config)
        .await
        .get("/")
        .await
        .text()
        .to_owned()
}

/// Returns the certificate that a server presents to a client that names a host.
async fn presented(control: &ServerControlHook, authority: &Authority, host: &str) -> Vec<u8> {
    let stream = connect_tls(address(control), authority.client(None), host).await;
    let stream = stream.expect("a handshake");
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("a certificate")[0].to_vec()
}

/// A folder for the files of a test; the drop removes it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("hyperlane-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn identity(&self, issued: &Issued) -> TlsConfig {
        TlsConfig::new(
            self.write("chain.pem", &issued.certificate),
            self.write("key.pem", &issued.key),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn requests_learn_the_facts_of_their_connection() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut config = authority.client(None);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(
        facts(&control, config).await,
        "https TLSv1.3 TLS13_AES_256_GCM_SHA384 Some(\"localhost\") Some(\"http/1.1\") false 0"
    );
    let mut client = client(&control, authority.client(None)).await;
    assert_eq!(
        client.get("/local").await.text(),
        address(&control).to_string()
    );
    control.shutdown().await;
}

#[tokio::test]
async fn bodies_of_any_size_pass_in_both_directions() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut client = client(&control, authority.client(None)).await;
    let sent = "y".repeat(1_500_000);
    assert_eq!(client.post("/length", &sent).await.text(), "1500000");
    assert_eq!(client.get("/large").await.body.len(), 3_000_000);
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn websockets_and_event_streams_work_over_tls() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut socket = client(&control, authority.client(None)).await;
    socket.open("/echo").await;
    for text in ["a", &"b".repeat(100_000), "c"] {
        socket.say(text).await;
        assert_eq!(socket.next_message().await.text(), text);
    }
    socket.close().await;
    let mut events = client(&control, authority.client(None)).await;
    events.request("GET", "/events", "").await;
    let head = events.until(b"\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&head).contains("text/event-stream"));
    events.until(b"data: 2\n").await;
}

#[tokio::test]
async fn a_shutdown_ends_tls_with_a_close_notify() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    let mut idle = client(&control, authority.client(None)).await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut socket = client(&control, authority.client(None)).await;
    socket.open("/echo").await;
    let ending = tokio::spawn(async move { control.shutdown().await });
    assert_eq!(socket.next_message().await.code(), 1001);
    socket.frame(CLOSE, 1001_u16.to_be_bytes()).await;
    // If the server ends a connection without the alert `close_notify`, the client reports an error, because bytes may
    // be missing.
    for mut client in [idle, socket] {
        let mut rest = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest).await;
        assert_eq!(end.expect("a close_notify"), 0);
    }
    ending.await.unwrap();
}

#[tokio::test]
async fn the_client_chooses_the_certificate_by_the_host() {
    let authority = Authority::new();
    let default = authority.issue(&["localhost", "other.example", "a.b.wild.example"]);
    let (one, wild) = (
        authority.issue(&["one.example"]),
        authority.issue(&["*.wild.example"]),
    );
    let tls = default
        .tls()
        .sni_pem("ONE.example", &one.certificate, &one.key)
        .sni_pem("*.wild.example", &wild.certificate, &wild.key);
    let control = start(tls, |_| {}).await;
    for (host, issued) in [
        ("localhost", &default),
        ("one.example", &one),
        ("x.wild.example", &wild),
        ("a.b.wild.example", &default),
        ("other.example", &default),
    ] {
        assert_eq!(
            presented(&control, &authority, host).await,
            issued.der,
            "{host}"
        );
    }
}

#[tokio::test]
async fn certificates_of_clients_are_optional_or_required() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue(&["localhost"]);
    let own = authority.issue(&["client"]);
    let foreign = stranger.issue(&["client"]);
    for need in [ClientCertificates::Optional, ClientCertificates::Required] {
        let tls = server.tls().client_certificates_pem(authority.pem(), need);
        let control = start(tls, |_| {}).await;
        let status = async |own: Option<&Issued>| -> Option<String> {
            let stream = connect_tls(address(&control), authority.client(own), "localhost").await;
            let mut client = Client::on(stream.ok()?);
            // With TLS 1.3, the client learns of a refusal only when it reads.
            client.request("GET", "/", "").await;
            client.fill().await.then_some(())?;
            Some(client.reply().await.text().rsplit(' ').next()?.to_owned())
        };
        let without = (need == ClientCertificates::Optional).then(|| "0".to_owned());
        assert_eq!(status(None).await, without, "{need:?}");
        assert_eq!(status(Some(&own)).await.as_deref(), Some("1"), "{need:?}");
        assert_eq!(status(Some(&foreign)).await, None, "{need:?}");
        control.shutdown().await;
    }
}

#[tokio::test]
async fn a_client_resumes_its_session_with_both_versions() {
    let authority = Authority::new();
    let control = start(authority.issue(&["localhost"]).tls(), |_| {}).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        let pem = authority.pem();
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
        roots.add(der.unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(test_support::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        let first = facts(&control, config.clone()).await;
        let second = facts(&control, config).await;
        assert!(first.ends_with("false 0"), "{first}");
        assert!(second.ends_with("true 0"), "{second}");
    }
}

#[tokio::test]
async fn a_reload_takes_new_files_and_drops_nothing() {
    let folder = Folder::new("reload");
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    );
    let control = start(folder.identity(&old), |_| {}).await;
    let mut open = client(&control, authority.client(None)).await;
    let mut socket = client(&control, authority.client(None)).await;
    socket.open("/echo").await;
    assert_eq!(presented(&control, &authority, "localhost").await, old.der);

    folder.write("key.pem", "no key at all");
    let error = control.reload_tls().await.unwrap_err();
    assert!(
        matches!(&error, TlsError::NoKey { file: TlsSource::File(path), .. }
        if path.ends_with("key.pem")),
        "{error}"
    );
    assert_eq!(presented(&control, &authority, "localhost").await, old.der);

    // The files now have the new certificate, but still the old key.
    folder.write("key.pem", &old.key);
    folder.write("chain.pem", &new.certificate);
    let error = control.reload_tls().await.unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    assert_eq!(presented(&control, &authority, "localhost").await, old.der);

    folder.write("key.pem", &new.key);
    control.reload_tls().await.unwrap();
    assert_eq!(presented(&control, &authority, "localhost").await, new.der);
    assert_eq!(open.get("/").await.status, 200);
    socket.say("still here").await;
    assert_eq!(socket.next_message().await.text(), "still here");

    control.replace_tls(old.tls()).await.unwrap();
    assert_eq!(presented(&control, &authority, "localhost").await, old.der);
}

#[tokio::test]
async fn changed_files_are_noticed_in_the_interval() {
    let folder = Folder::new("watch");
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    );
    let tls = folder
        .identity(&old)
        .reload_every(std::time::Duration::from_millis(20));
    let control = start(tls, |_| {}).await;
    folder.identity(&new);
    let deadline = tokio::time::Instant::now() + test_support::PATIENCE;
    while presented(&control, &authority, "localhost").await != new.der {
        assert!(tokio::time::Instant::now() < deadline, "never reloaded");
    }
}

#[tokio::test]
async fn sessions_survive_a_reload_unless_the_authorities_change() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let control = start(issued.tls(), |_| {}).await;
    let config = Arc::new(authority.client(None));
    facts(&control, config.clone()).await;
    let next = authority.issue(&["localhost"]).tls();
    control.replace_tls(next.clone()).await.unwrap();
    let resumed = facts(&control, config.clone()).await;
    assert!(resumed.ends_with("true 0"), "{resumed}");
    let strict = next.client_certificates_pem(authority.pem(), ClientCertificates::Optional);
    control.replace_tls(strict).await.unwrap();
    let fresh = facts(&control, config).await;
    assert!(fresh.ends_with("false 0"), "{fresh}");
}

/// Starts a server with invalid TLS, and returns the error.
async fn refused(tls: TlsConfig) -> TlsError {
    let mut server = Server::new();
    server.bind_tls("127.0.0.1:0", tls).route::<Facts>("/");
    match server.run().await {
        Err(ServerError::Tls { source, .. }) => source,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("the server started"),
    }
}

#[tokio::test]
async fn a_wrong_file_is_named_with_what_is_wrong() {
    let folder = Folder::new("wrong");
    let authority = Authority::new();
    let (issued, other) = (
        authority.issue(&["localhost"]),
        authority.issue(&["localhost"]),
    );
    let key = folder.write("key.pem", &issued.key);
    let chain = folder.write("chain.pem", &issued.certificate);
    let text = |name: &str, text: &str| folder.write(name, text);
    let wrong_order = text(
        "order.pem",
        &format!("{}{}", authority.pem(), issued.certificate),
    );
    let cut = text("cut.pem", issued.certificate.split_at(300).0);
    let garbled = text("garbled.pem", &issued.certificate.replacen("MII", "MI!", 1));
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let damaged = text("damaged.pem", no_der);
    let empty = text("empty.pem", "");
    let encrypted = text(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let der = folder.write("chain.der", &issued.der);
    let other_key = text("other.pem", &other.key);
    let missing = folder.0.join("missing.pem");
    for (certificate, private, names, says) in [
        (&missing, &key, "missing.pem", "No such file"),
        (&chain, &missing, "missing.pem", "No such file"),
        (&empty, &key, "empty.pem", "it is empty"),
        (&key, &key, "key.pem", "swapped"),
        (&chain, &chain, "chain.pem", "swapped"),
        (&der, &key, "chain.der", "convert it to PEM"),
        (&cut, &key, "cut.pem", "ends before"),
        (&garbled, &key, "garbled.pem", "base64"),
        (&damaged, &key, "damaged.pem", "certificate 1"),
        (&wrong_order, &key, "order.pem", "number 2"),
        (&chain, &encrypted, "encrypted.pem", "openssl pkey"),
        (&chain, &other_key, "other.pem", "does not belong"),
    ] {
        let error = refused(TlsConfig::new(certificate, private))
            .await
            .to_string();
        assert!(
            error.contains(names) && error.contains(says),
            "{names}: {error}"
        );
    }
    let sni = issued.tls().sni("one.example", &chain, &key);
    let error = refused(sni).await.to_string();
    assert!(
        error.contains("not valid for the host \"one.example\""),
        "{error}"
    );
    let clients = issued
        .tls()
        .client_certificates(&empty, ClientCertificates::Required);
    let error = refused(clients).await.to_string();
    assert!(error.contains("empty.pem"), "{error}");
    // The error names PEM text in memory, but does not show it.
    let error = refused(TlsConfig::pem(&issued.certificate, &other.key)).await;
    assert_eq!(
        error.to_string(),
        "the private key in the PEM text in memory does not belong to the first certificate in the PEM text in memory"
    );
}

#[tokio::test]
async fn a_configuration_of_rustls_is_used_as_it_is() {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let chain = vec![issued.der.clone().into()];
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(test_support::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let control = start(TlsConfig::from_rustls(Arc::new(config)), |_| {}).await;
    let mut client = authority.client(None);
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let facts = facts(&control, client).await;
    assert!(facts.starts_with("https TLSv1.2 "), "{facts}");
    assert!(facts.contains("Some(\"http/1.1\")"), "{facts}");
}

#[tokio::test]
async fn the_tls_of_the_configuration_applies_to_its_tcp_addresses() {
    let authority = Authority::new();
    let tls = authority.issue(&["localhost"]).tls();
    let is_tls = async |addresses: &[&str]| -> Vec<bool> {
        let mut config = ServerConfig::default();
        config.addresses = addresses
            .iter()
            .map(|address| (*address).to_owned())
            .collect();
        config.set_tls(Some(tls.clone()));
        let mut server = Server::from(config);
        let control = server.route::<Facts>("/").run().await.unwrap();
        let mut answers = Vec::new();
        for address in control.addresses() {
            let hyperlane::BoundAddress::Tcp(address) = address else {
                panic!("no TCP address");
            };
            let stream = connect_tls(*address, authority.client(None), "localhost").await;
            answers.push(stream.is_ok());
        }
        answers
    };
    assert_eq!(is_tls(&["127.0.0.1:0"]).await, [true]);
    assert_eq!(is_tls(&["127.0.0.1:0", "127.0.0.1:0"]).await, [true, true]);
    assert_eq!(
        is_tls(&["127.0.0.1:0", "tls:127.0.0.1:0"]).await,
        [false, true]
    );
}

#[tokio::test]
async fn a_start_without_what_tls_needs_says_so() {
    let start = async |edit: fn(&mut ServerConfig)| {
        let mut config = ServerConfig::default();
        config.set_address("127.0.0.1:0");
        edit(&mut config);
        let mut server = Server::from(config);
        server.route::<Facts>("/").run().await.err().unwrap()
    };
    let error = start(|config| {
        config.set_address("tls:127.0.0.1:0");
    })
    .await;
    assert!(
        matches!(error, ServerError::Config(ConfigError::NoCertificate(_))),
        "{error}"
    );
    let error = start(|config| {
        config.set_protocol(ServerProtocol::Http3);
    })
    .await;
    assert!(matches!(error, ServerError::MissingTlsForHttp3), "{error}");
    let error = start(|config| {
        config.set_protocol(ServerProtocol::Http3);
        config.set_tls(TlsConfig::new("a", "b"));
    })
    .await;
    assert!(
        matches!(error, ServerError::Config(ConfigError::Http3)),
        "{error}"
    );
    let error = start(|config| {
        config.add_address("redirect:127.0.0.1:0");
    })
    .await;
    assert!(
        matches!(error, ServerError::Config(ConfigError::NoRedirectTarget(_))),
        "{error}"
    );
    let json = r#"{"addresses": ["tls:127.0.0.1:0"], "protocol": "http1", "hsts": "1d",
        "tls": {"certificate_path": "/nowhere/a.pem", "private_key_path": "b"}}"#;
    let mut server = Server::from(ServerConfig::from_json(json).unwrap());
    let error = server.route::<Facts>("/").run().await.err().unwrap();
    assert!(error.to_string().contains("/nowhere/a.pem"), "{error}");
}
