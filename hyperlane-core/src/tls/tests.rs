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

#[test]
fn a_stricter_need_for_certificates_ends_resumption() {
    let Identity { tls, client } = identity();
    let made = rcgen::generate_simple_self_signed(["authority".to_owned()]).unwrap();
    let needs = |need| tls.clone().client_certificates_pem(made.cert.pem(), need);
    let live = LiveTls::load(needs(ClientCertificates::Optional), ServerProtocol::Http1).unwrap();
    shake_hands(&live, &client);
    live.replace(needs(ClientCertificates::Required)).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(live.current()).unwrap();
    let mut is_refused = false;
    for _ in 0..6 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        while !bytes.is_empty() && !is_refused {
            let count = server.read_tls(&mut &bytes[..]).unwrap();
            bytes.drain(..count);
            is_refused = server.process_new_packets().is_err();
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        while !bytes.is_empty() && !is_refused {
            let count = client.read_tls(&mut &bytes[..]).unwrap();
            bytes.drain(..count);
            client.process_new_packets().unwrap();
        }
    }
    assert!(is_refused);
}

#[test]
fn settings_beside_a_configuration_of_rustls_are_refused() {
    let Identity { tls, .. } = identity();
    let live = LiveTls::load(tls, ServerProtocol::Http1).unwrap();
    let ready = TlsConfig::from_rustls(live.current());
    LiveTls::load(ready.clone(), ServerProtocol::Http1).unwrap();
    for (setting, plan) in [
        ("sni", ready.clone().sni_pem("a.example", "", "")),
        ("reload_every", ready.clone().reload_every(Duration::MAX)),
        (
            "client_certificates",
            ready.client_certificates_pem("", ClientCertificates::Required),
        ),
    ] {
        let refused = LiveTls::load(plan, ServerProtocol::Http1).err().unwrap();
        assert!(refused.to_string().contains(setting), "{refused}");
    }
}
