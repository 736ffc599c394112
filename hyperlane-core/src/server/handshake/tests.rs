use std::{future::Future, mem::MaybeUninit, sync::mpsc, task::Context};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    pki_types::CertificateDer,
    version::{TLS12, TLS13},
};
use tokio::{net::TcpListener, task::unconstrained, time::timeout};

use super::*;
use crate::config::{ServerProtocol, TlsConfig};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server's certificates, and the configuration of its clients, which speak one version. The chain of the server has
/// `length` certificates.
fn identity(
    length: usize,
    version: &'static SupportedProtocolVersion,
) -> (Arc<LiveTls>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = TlsConfig::pem(
        made.cert.pem().repeat(length),
        made.signing_key.serialize_pem(),
    );
    let live = LiveTls::load(tls, ServerProtocol::Http1).unwrap();
    let mut roots = RootCertStore::empty();
    let root: CertificateDer<'_> = made.cert.der().clone();
    roots.add(root).unwrap();
    let client = ClientConfig::builder_with_provider(live.current().crypto_provider().clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(live), Arc::new(client))
}

fn session(client: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(client.clone(), "localhost".try_into().unwrap()).unwrap()
}

/// Sends what a client has to say. The first message of a session is its hello.
async fn say(session: &mut ClientConnection, socket: &mut TcpStream) {
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    socket.write_all(&bytes).await.unwrap();
}

/// Takes what the server has sent.
fn hear(session: &mut ClientConnection, socket: &TcpStream) {
    let mut bytes = [0; 16 * 1024];
    let count = socket.try_read(&mut bytes).unwrap_or(0);
    let mut bytes = &bytes[..count];
    while !bytes.is_empty() {
        session.read_tls(&mut bytes).unwrap();
        session.process_new_packets().unwrap();
    }
}

/// Returns a connection: the end of the server, and that of the client.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connects = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, client) = tokio::join!(listener.accept(), connects);
    (accepted.unwrap().0, client.unwrap())
}

/// Returns whether the server has sent anything. Asks the system, because tokio only knows what its last poll has found.
fn has_answer(socket: &TcpStream) -> bool {
    let peeked = socket2::SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
    matches!(peeked, Ok(1..))
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_step_waits_for_its_turn_and_computes_nothing_before() {
    let (live, client) = identity(1, &TLS13);
    let steps = Steps::new(1);
    let (server, mut socket) = pair().await;
    say(&mut session(&client), &mut socket).await;
    server.readable().await.unwrap();
    let accept = TlsAcceptor::from(live.current()).accept(Patient::new(server));
    let mut handshake = pin!(in_turn(accept, steps.clone()));
    let turn = steps.first.clone().acquire_owned().await.unwrap();
    for _ in 0..3 {
        assert!(poll_once(handshake.as_mut()).is_pending());
        assert!(!has_answer(&socket));
    }
    drop(turn);
    // Now it answers, and it has given its turn back.
    assert!(poll_once(handshake.as_mut()).is_pending());
    assert!(has_answer(&socket));
    assert_eq!(steps.first.available_permits(), 1);
}

#[tokio::test]
async fn a_silent_client_holds_no_turn_and_first_steps_hold_up_no_later_ones() {
    let (live, client) = identity(1, &TLS13);
    let steps = Steps::new(1);
    let run = |server| {
        in_turn(
            TlsAcceptor::from(live.current()).accept(Patient::new(server)),
            steps.clone(),
        )
    };
    // This client says no more than the first message.
    let (server, mut silent) = pair().await;
    say(&mut session(&client), &mut silent).await;
    server.readable().await.unwrap();
    let mut waits = pin!(run(server));
    assert!(poll_once(waits.as_mut()).is_pending());
    assert!(has_answer(&silent));
    assert_eq!(steps.first.available_permits(), 1);
    // This one has made its first step when a storm takes all turns for first steps.
    let (server, mut socket) = pair().await;
    let mut begun = pin!(run(server));
    let mut session = session(&client);
    say(&mut session, &mut socket).await;
    while !has_answer(&socket) {
        assert!(poll_once(begun.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let storm = steps.first.clone().acquire_owned().await.unwrap();
    let ends = async {
        loop {
            if let Poll::Ready(shaken) = poll_once(begun.as_mut()) {
                return shaken;
            }
            hear(&mut session, &socket);
            say(&mut session, &mut socket).await;
            tokio::task::yield_now().await;
        }
    };
    let shaken = timeout(PATIENCE, ends).await;
    shaken
        .expect("a later step waits for no first step")
        .unwrap();
    drop(storm);
}

#[test]
fn a_step_that_waits_for_room_to_write_does_not_spin() {
    let (live, client) = identity(2000, &TLS12);
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (server, mut socket) = pair().await;
            socket2::SockRef::from(&server)
                .set_send_buffer_size(4096)
                .unwrap();
            say(&mut session(&client), &mut socket).await;
            server.readable().await.unwrap();
            let accept = TlsAcceptor::from(live.current()).accept(Patient::new(server));
            // The runtime would end a loop within a poll after some rounds.
            let mut handshake = pin!(unconstrained(in_turn(accept, Steps::new(1))));
            assert!(poll_once(handshake.as_mut()).is_pending());
            // The client reads nothing, and sends more, which the server does not read before its own flight is out.
            for _ in 0..20 {
                socket.write_all(&[20, 3, 3, 0, 1, 1]).await.unwrap();
                tokio::task::yield_now().await;
                assert!(poll_once(handshake.as_mut()).is_pending());
            }
        });
        done.send(()).unwrap();
    });
    finished.recv_timeout(PATIENCE).expect("each poll ends");
}
