//! The check whether the server answers to the host that a request names.

use std::net::IpAddr;

use super::peer::Via;
use crate::{
    config::ServerConfig,
    proto::http::host::{AllowedHost, is_loopback},
};

/// The hosts to which a running server answers.
#[derive(Default)]
pub(crate) struct Hosts {
    listed: Vec<AllowedHost>,
    /// True if the server has TCP addresses and all of them are loopback addresses. A client that connects by TCP,
    /// without a load balancer, must then request a loopback host (such as `localhost`) or a host in `listed`.
    is_local: bool,
}

impl Hosts {
    /// Creates the hosts from a valid configuration. `bound` contains the TCP addresses that the server listens on.
    ///
    /// If all TCP addresses are loopback addresses, other machines reach the server only through a program on this
    /// machine: a proxy, or a browser that runs the script of a foreign page (DNS rebinding). Such a script names a
    /// foreign host. The server therefore requires a loopback host or a listed host.
    pub(crate) fn new(config: &ServerConfig, bound: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut bound = bound.into_iter().peekable();
        Self {
            listed: config
                .allowed_hosts
                .iter()
                .filter_map(|host| host.parse().ok())
                .collect(),
            is_local: bound.peek().is_some()
                && bound.all(|address| address.to_canonical().is_loopback()),
        }
    }

    pub(super) fn allow(&self, via: Via, host: &str) -> bool {
        let is_open = match via {
            Via::Tcp => self.listed.is_empty() && !self.is_local,
            // No browser speaks the PROXY protocol, so DNS rebinding is impossible at such an address. Only a list of
            // hosts in the configuration restricts the hosts.
            Via::Balancer => self.listed.is_empty(),
            Via::Trusted => true,
        };
        is_open
            || (self.is_local && is_loopback(host))
            || self.listed.iter().any(|allowed| allowed.matches(host))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn hosts(listed: &[&str], addresses: &[&str]) -> Hosts {
        let config = ServerConfig::default().allowed_hosts(
            listed
                .iter()
                .map(|host| (*host).to_owned())
                .collect::<Vec<_>>(),
        );
        let bound = addresses
            .iter()
            .filter_map(|address| address.parse::<SocketAddr>().ok());
        Hosts::new(&config, bound.map(|address| address.ip()))
    }

    #[test]
    fn a_server_on_loopback_alone_answers_to_its_own_names() {
        for addresses in [
            &["127.0.0.1:80"][..],
            &["127.0.0.2:80", "[::1]:80", "unix:/a"],
            &["[::ffff:127.0.0.1]:80"],
        ] {
            let own = hosts(&[], addresses);
            assert!(own.allow(Via::Tcp, "localhost:80"));
            assert!(!own.allow(Via::Tcp, "evil.example"));
            assert!(own.allow(Via::Balancer, "app.example"));
            assert!(own.allow(Via::Trusted, "app.example"));
            let more = hosts(&["app.example"], addresses);
            assert!(more.allow(Via::Tcp, "localhost:80"));
            assert!(more.allow(Via::Tcp, "app.example"));
            assert!(more.allow(Via::Balancer, "app.example"));
            assert!(!more.allow(Via::Tcp, "evil.example"));
            assert!(!more.allow(Via::Balancer, "evil.example"));
            assert!(more.allow(Via::Trusted, "evil.example"));
        }
    }

    #[test]
    fn a_server_that_others_reach_answers_to_all_or_to_its_list() {
        for addresses in [
            &["0.0.0.0:80"][..],
            &["127.0.0.1:80", "192.0.2.1:80"],
            &["[::]:80"],
            &["unix:/a"],
            &[],
        ] {
            assert!(hosts(&[], addresses).allow(Via::Tcp, "evil.example"));
            let listed = hosts(&["app.example", "192.0.2.1"], addresses);
            for (host, allowed) in [
                ("app.example", true),
                ("192.0.2.1", true),
                ("evil.example", false),
                ("localhost", false),
            ] {
                assert_eq!(listed.allow(Via::Tcp, host), allowed, "{host}");
            }
        }
    }
}
