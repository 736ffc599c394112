//! A chat. Each URL path is a room. Members send and receive messages over WebSockets, and readers receive them over
//! event streams.
//!
//! ```text
//! cargo run --example chat
//! cargo run --example chat -- --tls
//! ```
//!
//! With `--tls`, the chat makes a certificate for this machine and speaks TLS. A browser warns of the certificate, because
//! no authority has issued it. The example writes it to `chat-certificate.pem` in the folder for temporary files, for
//! clients such as `curl --cacert`.
//!
//! The environment variable `CHAT_ADDR` sets the address. Default: `127.0.0.1:8080`. With port 0, the system chooses a
//! free port.

mod protocol;
mod rooms;
#[cfg(test)]
mod tests;

use hyperlane::{TlsConfig, prelude::*};

use crate::{
    protocol::{FromClient, Name, ToClient},
    rooms::Chat,
};

#[get("/")]
async fn lobby() -> impl IntoResponse {
    page()
}

#[get("/{room}")]
async fn room_page() -> impl IntoResponse {
    page()
}

fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

/// Serves a member over a WebSocket. The server sends each of the member's messages to the whole room.
#[get("/api/rooms/{room}/socket")]
#[is_ws_upgrade_type]
#[route_param("room" => room)]
#[request_query("name" => name)]
async fn talk(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(socket) = ctx.upgrade(stream).await else {
        return Status::Reject;
    };
    let Ok(name) = Name::new(&name) else {
        let _ = socket.close(CloseCode::POLICY_VIOLATION, "a name has 1 to 32 characters");
        return Status::Continue;
    };
    let Ok(room) = ctx.room(&room) else {
        let _ = socket.close(CloseCode::POLICY_VIOLATION, "a room cannot have this name");
        return Status::Continue;
    };
    let chat = ctx.state::<Chat>();
    let Ok(mut member) = chat.join(&room, &socket, name).await else {
        return Status::Continue;
    };
    while let Ok(message) = socket.recv().await {
        let answer = match FromClient::read(&message) {
            Ok(FromClient::Message { text }) => {
                chat.say(&room, &member, text).await;
                continue;
            }
            Ok(FromClient::Rename { name }) => {
                match chat.rename(&room, &socket, &mut member, name).await {
                    Ok(()) => continue,
                    Err(error) => ToClient::error(error),
                }
            }
            Err(error) => ToClient::error(error),
        };
        if socket.send_json(&answer).await.is_err() {
            break;
        }
    }
    // This call removes the member from the room. The room then sends the farewell to the other members.
    chat.forget_if_empty(&room, &socket).await;
    Status::Continue
}

/// Serves a reader: sends the room's messages as an event stream, for `EventSource` and `curl -N`.
#[get("/api/rooms/{room}/events")]
#[route_param("room" => room)]
async fn follow(stream: &mut Stream, ctx: &mut Context) -> Status {
    let Ok(room) = ctx.room(&room) else {
        return Status::Reject;
    };
    let chat = ctx.state::<Chat>();
    let Ok(events) = ctx.event_stream(stream).await else {
        return Status::Reject;
    };
    if chat.follow(&room, &events).await.is_ok() {
        events.closed().await;
    }
    chat.forget_if_empty(&room, &events).await;
    Status::Continue
}

/// Makes a certificate for this machine, and returns it as PEM text beside the configuration.
fn certificate() -> std::io::Result<(String, TlsConfig)> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).map_err(std::io::Error::other)?;
    let certificate = made.cert.pem();
    let tls = TlsConfig::pem(&certificate, made.signing_key.serialize_pem());
    Ok((certificate, tls))
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    if std::env::args().any(|argument| argument == "--routes") {
        return server.print_routes();
    }
    tracing_subscriber::fmt().with_target(false).init();
    let address = std::env::var("CHAT_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let is_tls = std::env::args().any(|argument| argument == "--tls");
    let mut made = None;
    if is_tls {
        let (certificate, tls) = certificate()?;
        made = Some(certificate);
        server.bind_tls(address, tls);
    } else {
        server.bind(address);
    }
    let control = server.state(Chat::default()).run().await?;
    // Only now is the port ours: another chat on it keeps its file.
    if let Some(certificate) = made {
        let path = std::env::temp_dir().join("chat-certificate.pem");
        std::fs::write(&path, certificate)?;
        println!("certificate: {}", path.display());
    }
    if let Some(address) = control.local_addr() {
        let scheme = if is_tls { "https" } else { "http" };
        println!("chat: {scheme}://{address}/lobby");
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        control.shutdown().await;
    }
    Ok(())
}
