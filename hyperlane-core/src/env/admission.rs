//! The limit on connections per address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use super::peer::Peer;
use crate::{config::ServerConfig, proto::http::forwarded::Cidr};

/// The number of live connections per client address, and its limit.
pub(super) struct Admission {
    most: usize,
    /// The trusted proxies. Each proxy stands for many clients, so the server does not limit the connections of a
    /// proxy.
    proxies: Vec<Cidr>,
    counts: Mutex<HashMap<IpAddr, u32>>,
}

impl Admission {
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            most: config.max_connections_per_address,
            proxies: config.trusted_proxies.clone(),
            counts: Mutex::default(),
        }
    }

    /// Adds a connection from `peer` to the count of its address. Returns false if the address has reached the limit.
    pub(super) fn enter(&self, peer: Peer) -> bool {
        let Some(address) = self.counted_address(peer) else {
            return true;
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count as usize >= self.most {
            return false;
        }
        *count += 1;
        true
    }

    /// Removes an ended connection from the count.
    pub(super) fn leave(&self, peer: Peer) {
        let Some(address) = self.counted_address(peer) else {
            return;
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }

    /// Returns the address under which the server counts a peer. Returns `None` for a peer that is not counted: a peer
    /// without an address, and a peer that may stand for many clients (a loopback address or a trusted proxy).
    fn counted_address(&self, peer: Peer) -> Option<IpAddr> {
        let address = peer.address()?.ip().to_canonical();
        match address {
            ip if ip.is_loopback() || self.proxies.iter().any(|range| range.contains(ip)) => None,
            ip => Some(network(ip)),
        }
    }
}

/// Returns the part of an address that identifies a client. For IPv6 this is the /64 network, because a client usually
/// owns all addresses of its /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            let network = u128::from(ip) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Inet(address.parse().unwrap())
    }

    #[test]
    fn connections_are_counted_per_address_and_v6_network() {
        let config = ServerConfig::default().max_connections_per_address(2);
        let admission = Admission::new(&config);
        assert!(admission.enter(peer("192.0.2.1:1")));
        assert!(admission.enter(peer("192.0.2.1:2")));
        assert!(!admission.enter(peer("192.0.2.1:3")));
        assert!(admission.enter(peer("192.0.2.2:1")));
        assert!(admission.enter(peer("[2001:db8:1:2::1]:1")));
        assert!(admission.enter(peer("[2001:db8:1:2:ffff::9]:1")));
        assert!(!admission.enter(peer("[2001:db8:1:2::7]:1")));
        assert!(admission.enter(peer("[2001:db8:1:3::1]:1")));
        let behind = Admission::new(&config.trusted_proxies(vec!["192.0.2.0/30".parse().unwrap()]));
        for port in 1..100 {
            assert!(behind.enter(peer(&format!("192.0.2.1:{port}"))));
            assert!(admission.enter(peer(&format!("127.0.0.1:{port}"))));
            assert!(admission.enter(Peer::Local));
        }
        admission.leave(peer("192.0.2.1:2"));
        assert!(admission.enter(peer("192.0.2.1:3")));
    }
}
