//! Spellings of published Hyperlane programs.

use super::ServerConfig;

/// Spellings of published Hyperlane programs.
impl ServerConfig {
    /// Creates a configuration for one address, with defaults for all other settings.
    pub fn new(address: impl AsRef<str>, nodelay: Option<bool>, ttl: Option<u32>) -> Self {
        Self {
            addresses: vec![address.as_ref().to_owned()],
            nodelay,
            ttl,
            ..Self::default()
        }
    }

    /// Borrows the first address; empty if there is none.
    pub fn get_address(&self) -> &str {
        self.addresses.first().map_or("", String::as_str)
    }

    /// Replaces all addresses by this one.
    pub fn set_address(&mut self, address: impl AsRef<str>) -> &mut Self {
        self.addresses.clear();
        self.add_address(address)
    }

    /// Adds an address.
    pub fn add_address(&mut self, address: impl AsRef<str>) -> &mut Self {
        self.addresses.push(address.as_ref().to_owned());
        self
    }

    /// Returns the `nodelay` setting; `None` means on.
    pub fn get_nodelay(&self) -> Option<bool> {
        self.nodelay
    }

    /// Same as [`get_nodelay`](Self::get_nodelay).
    pub fn try_get_nodelay(&self) -> Option<bool> {
        self.nodelay
    }

    /// Sets `nodelay`; `None` means on.
    pub fn set_nodelay(&mut self, nodelay: Option<bool>) -> &mut Self {
        self.nodelay = nodelay;
        self
    }

    /// Returns the IP time to live, in hops; `None` means the system's.
    pub fn get_ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Same as [`get_ttl`](Self::get_ttl).
    pub fn try_get_ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Sets the IP time to live, in hops; `None` means the system's.
    pub fn set_ttl(&mut self, ttl: Option<u32>) -> &mut Self {
        self.ttl = ttl;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn familiar_setters_and_getters_agree() {
        let mut config = ServerConfig::new("h:1", None, Some(3));
        assert_eq!(
            (config.get_nodelay(), config.get_ttl(), config.get_address()),
            (None, Some(3), "h:1")
        );
        config.set_nodelay(Some(false)).set_ttl(None);
        assert_eq!(
            (config.try_get_nodelay(), config.try_get_ttl()),
            (Some(false), None)
        );
        assert_eq!(
            config,
            ServerConfig::default()
                .addresses(vec!["h:1".to_owned()])
                .nodelay(Some(false))
        );
    }
}
