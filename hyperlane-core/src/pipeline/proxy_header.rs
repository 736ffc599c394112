//! The header of the PROXY protocol. It precedes the first request of a connection.

use crate::conn::link::Link;

/// Reads the client's address from the header. Returns false, and logs the reason, if the header is missing or invalid,
/// or if this address already has too many connections.
#[cfg(feature = "proxy-protocol")]
pub(super) async fn read_proxy_header(connection: &Link) -> bool {
    use crate::{
        conn::input::{Fill, Wait},
        env::peer::Peer,
        proto::proxy,
    };

    let header = loop {
        {
            let mut input = connection.lock_input();
            match proxy::parse(input.buffer.unread()) {
                Ok(Some(header)) => {
                    input.buffer.consume(header.len);
                    break header;
                }
                Ok(None) => {}
                Err(error) => {
                    let peer = input.reader.peer_addr();
                    drop(input);
                    connection.env.log_mix_up(peer, "proxy", &error);
                    return false;
                }
            }
        }
        let more = |cx: &mut std::task::Context<'_>| {
            connection.poll_more(cx, Wait::Head, proxy::MAX_HEADER)
        };
        match std::future::poll_fn(more).await {
            Fill::Bytes => {}
            _ => {
                // A connection without bytes is no fault: load balancers check the health of a server by such
                // connections.
                tracing::debug!("no PROXY protocol header: connection closed");
                return false;
            }
        }
    };
    match header.source {
        Some(source) if !connection.set_source(Peer::Inet(source)) => {
            tracing::debug!(%source, "too many connections from this address");
            false
        }
        _ => true,
    }
}

/// Never called. Without the feature, the check of the configuration rejects `proxy:` addresses.
#[cfg(not(feature = "proxy-protocol"))]
pub(super) async fn read_proxy_header(_: &Link) -> bool {
    false
}
