use std::io::{Read, Write};

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;

struct Identity {
    tls: TlsConfig,
    client: Arc<ClientConfig>,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider::provider().unwrap())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Identity {
        tls: TlsConfig::pem(made.cert.pem(), made.signing_key.serialize_pem()),
        client: Arc::new(client),
    }
}

/// Runs a handshake in memory, and sends a byte in each direction.
fn shake_hands(live: &LiveTls, client: &Arc<ClientConfig>) -> TlsInfo {
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(live.current()).unwrap();
    client.writer().write_all(b"a").unwrap();
    server.writer().write_all(b"b").unwrap();
    let mut bytes = Vec::new();
    for _ in 0..6 {
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        while !bytes.is_empty() {
            let count = server.read_tls(&mut &bytes[..]).unwrap();
            bytes.drain(..count);
            server.process_new_packets().unwrap();
        }
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        while !bytes.is_empty() {
            let count = client.read_tls(&mut &bytes[..]).unwrap();
            bytes.drain(..count);
            client.process_new_packets().unwrap();
        }
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"a");
    client.reader().read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
    TlsInfo::of(&server, None)
}

#[test]
fn each_provider_shakes_hands_and_resumes() {
    let Identity { tls, client } = identity();
    let live = LiveTls::load(tls, ServerProtocol::Http1).unwrap();
    let first = shake_hands(&live, &client);
    assert_eq!((first.version(), first.is_resumed()), ("TLSv1.3", false));
    assert_eq!(first.server_name(), Some("localhost"));
    assert!(shake_hands(&live, &client).is_resumed());
}

#[test]
fn a_reload_changes_nothing_if_the_texts_are_the_same() {
    let (one, two) = (identity(), identity());
    let live = LiveTls::load(one.tls.clone(), ServerProtocol::Http1).unwrap();
    let before = live.current();
    assert_eq!(live.reload(), Ok(false));
    assert!(Arc::ptr_eq(&before, &live.current()));
    assert_eq!(live.replace(two.tls), Ok(true));
    assert!(!Arc::ptr_eq(&before, &live.current()));
    let before = live.current();
    let refused = TlsConfig::pem("", "");
    assert!(matches!(
        live.replace(refused),
        Err(TlsError::NoCertificate { .. })
    ));
    assert!(Arc::ptr_eq(&before, &live.current()));
}
