//! The check of a configuration before the server binds.

use std::{net::SocketAddr, time::Duration};

use super::{ConfigError, MAX_DURATION, ServerConfig, ServerProtocol};
#[cfg(feature = "deflate")]
use crate::proto::ws::deflate::DeflateConfig;
use crate::{
    http::is_token,
    proto::http::{
        forwarded::is_base_path,
        host::AllowedHost,
        origin::{Origin, OriginError, is_origin_pattern},
    },
};

/// The maximum of [`Hsts`](super::Hsts): the list that browsers ship accepts no more than some years.
const MAX_HSTS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The prefix of an address at which a load balancer speaks the PROXY protocol.
pub(crate) const PROXIED: &str = "proxy:";

/// The prefix of an address that speaks TLS.
const SECURED: &str = "tls:";

/// The prefix of an address that redirects to `https`.
const REDIRECTED: &str = "redirect:";

/// The kind of an address, as its prefixes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Tls,
    Redirect,
}

impl Form {
    /// Splits an address into its kind and the rest, which may have the prefix `proxy:`.
    pub(crate) fn of(address: &str) -> (Self, std::borrow::Cow<'_, str>) {
        if let Some(rest) = address.strip_prefix(REDIRECTED) {
            return (Self::Redirect, rest.into());
        }
        let (proxied, rest) = match address.strip_prefix(PROXIED) {
            Some(rest) => (true, rest),
            None => (false, address),
        };
        match (rest.strip_prefix(SECURED), proxied) {
            (Some(rest), true) => (Self::Tls, format!("{PROXIED}{rest}").into()),
            (Some(rest), false) => (Self::Tls, rest.into()),
            (None, _) => (Self::Plain, address.into()),
        }
    }

    /// Writes the prefix of the kind before an address.
    pub(crate) fn mark(self, address: &str) -> String {
        let (proxied, rest) = match address.strip_prefix(PROXIED) {
            Some(rest) if self == Self::Tls => (PROXIED, rest),
            _ => ("", address),
        };
        let prefix = match self {
            Self::Plain => "",
            Self::Tls => SECURED,
            Self::Redirect => REDIRECTED,
        };
        format!("{proxied}{prefix}{rest}")
    }
}

impl ServerConfig {
    /// Checks the settings, and the combinations of settings.
    ///
    /// # Errors
    /// Returns the [`ConfigError`] of the first invalid setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.addresses.is_empty() {
            return Err(ConfigError::NoAddress);
        }
        if let Some(address) = self.addresses.iter().find(|address| !is_address(address)) {
            return Err(ConfigError::Address(address.clone()));
        }
        if self.protocol.is_quic() {
            return Err(ConfigError::Http3);
        }
        if self.protocol == ServerProtocol::Http2 && cfg!(not(feature = "http2")) {
            return Err(ConfigError::Http2);
        }
        if let Some(ttl) = self.ttl.filter(|ttl| !(1..=255).contains(ttl)) {
            return Err(ConfigError::Ttl(ttl));
        }
        check_sizes(&self.sizes())?;
        check_durations(&self.durations())?;
        #[cfg(feature = "http2")]
        self.check_http2()?;
        #[cfg(feature = "__tls")]
        self.check_tls()?;
        if self
            .hsts
            .as_ref()
            .is_some_and(|hsts| hsts.max_age > MAX_HSTS)
        {
            return Err(ConfigError::TooLong("hsts"));
        }
        if let Some(name) = self.subprotocols.iter().find(|name| !is_token(name)) {
            return Err(ConfigError::Subprotocol(name.clone()));
        }
        #[cfg(feature = "sessions")]
        self.check_sessions()?;
        #[cfg(feature = "deflate")]
        if let Some(Err(problem)) = self.deflate.as_ref().map(DeflateConfig::validate) {
            return Err(ConfigError::Deflate(problem));
        }
        if !self.base_path.is_empty() && !is_base_path(&self.base_path) {
            return Err(ConfigError::BasePath(self.base_path.clone()));
        }
        for host in &self.allowed_hosts {
            host.parse::<AllowedHost>().map_err(ConfigError::Host)?;
        }
        for origin in &self.allowed_origins {
            match origin.parse::<Origin>() {
                Ok(_) => {}
                Err(_) if is_origin_pattern(origin) => {}
                Err(OriginError::Null) => return Err(ConfigError::NullOrigin),
                Err(_) => return Err(ConfigError::Origin(origin.clone())),
            }
        }
        Ok(())
    }

    #[cfg(feature = "http2")]
    fn check_http2(&self) -> Result<(), ConfigError> {
        /// The largest window (RFC 9113 §6.5.2, §6.9.1).
        const MAX_WINDOW: u32 = (1 << 31) - 1;
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let windows = [
            ("http2_stream_window", self.http2_stream_window),
            ("http2_window", self.http2_window),
        ];
        check_sizes(&[("http2_streams", size(self.http2_streams))])?;
        check_sizes(&windows.map(|(name, window)| (name, size(window))))?;
        match windows.iter().find(|(_, window)| *window > MAX_WINDOW) {
            Some((name, _)) => Err(ConfigError::Window(name)),
            None => Ok(()),
        }
    }

    #[cfg(feature = "__tls")]
    fn check_tls(&self) -> Result<(), ConfigError> {
        let rate = usize::try_from(self.max_tls_handshakes_per_second).unwrap_or(usize::MAX);
        check_sizes(&[
            ("max_tls_handshakes", self.max_tls_handshakes),
            ("max_tls_handshakes_per_second", rate),
        ])?;
        check_durations(&[("tls_handshake_timeout", self.tls_handshake_timeout)])?;
        self.tls.as_ref().map_or(Ok(()), check_plan)
    }

    fn sizes(&self) -> [(&'static str, usize); 16] {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        [
            ("send_buffer", self.send_buffer.map_or(usize::MAX, size)),
            ("backlog", size(self.backlog)),
            ("max_fragments", size(self.max_fragments)),
            (
                "max_messages_per_second",
                size(self.max_messages_per_second),
            ),
            (
                "max_control_frames_per_second",
                size(self.max_control_frames_per_second),
            ),
            (
                "max_connections",
                self.max_connections.unwrap_or(usize::MAX),
            ),
            (
                "max_connections_per_address",
                self.max_connections_per_address,
            ),
            ("max_accepts_per_second", size(self.max_accepts_per_second)),
            ("max_request_line", self.max_request_line),
            ("max_header_bytes", self.max_header_bytes),
            ("max_header_count", self.max_header_count),
            ("max_body", self.max_body),
            ("max_frame", self.max_frame),
            ("max_message", self.max_message),
            ("outbox_bytes", self.outbox_bytes),
            ("inbox_bytes", self.inbox_bytes),
        ]
    }

    /// Returns all durations with their names, except those of sessions. For a duration that is `None`, returns a valid
    /// value.
    fn durations(&self) -> [(&'static str, Duration); 12] {
        let or_off = |duration: Option<Duration>| duration.unwrap_or(MAX_DURATION);
        [
            ("header_timeout", self.header_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("body_timeout", self.body_timeout),
            ("write_timeout", self.write_timeout),
            ("handler_linger", self.handler_linger),
            ("ping_interval", or_off(self.ping_interval)),
            ("pong_timeout", or_off(self.pong_timeout)),
            ("close_timeout", self.close_timeout),
            ("sse_heartbeat", or_off(self.sse_heartbeat)),
            ("outbox_stall", self.outbox_stall),
            ("shutdown_timeout", self.shutdown_timeout),
        ]
    }
}

/// Returns an error for the first size in `sizes` that is 0.
pub(super) fn check_sizes(sizes: &[(&'static str, usize)]) -> Result<(), ConfigError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(ConfigError::Zero(name)),
        None => Ok(()),
    }
}

/// Returns an error for the first duration in `durations` that is 0 or longer than `MAX_DURATION`.
pub(super) fn check_durations(durations: &[(&'static str, Duration)]) -> Result<(), ConfigError> {
    for (name, duration) in durations {
        if duration.is_zero() {
            return Err(ConfigError::Zero(name));
        }
        if *duration > MAX_DURATION {
            return Err(ConfigError::TooLong(name));
        }
    }
    Ok(())
}

/// Returns whether the text is `host:port`, a numeric address with a port, or `unix:` with a path. With the feature
/// `proxy-protocol`, the text may have the prefix `proxy:`. The function does not resolve the host.
/// Checks the certificates of one address.
#[cfg(feature = "__tls")]
pub(crate) fn check_plan(plan: &super::TlsConfig) -> Result<(), ConfigError> {
    let every = plan.reload_every.unwrap_or(MAX_DURATION);
    check_durations(&[("reload_every", every)])
}

fn is_address(address: &str) -> bool {
    let (form, address) = Form::of(address);
    let address = &*address;
    if form == Form::Tls && !cfg!(feature = "__tls") {
        return false;
    }
    let address = match address.strip_prefix(PROXIED) {
        Some(rest) if cfg!(feature = "proxy-protocol") => rest,
        _ => address,
    };
    if let Some(path) = address.strip_prefix("unix:") {
        return form == Form::Plain && !path.is_empty() && !path.contains('\0');
    }
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']);
    address.parse::<SocketAddr>().is_ok()
        || address
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RequestConfig;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(ServerConfig::default().validate(), Ok(()));
        for request in [
            RequestConfig::default(),
            RequestConfig::high_security(),
            RequestConfig::low_security(),
        ] {
            assert_eq!(ServerConfig::from(request).validate(), Ok(()));
        }
    }

    #[test]
    fn addresses_are_replaced_added_and_checked() {
        let mut config = ServerConfig::default();
        config
            .set_address("0.0.0.0:80")
            .add_address("unix:/run/app.sock")
            .add_address("localhost:0");
        config.add_address("[::1]:443");
        assert_eq!(
            (config.get_address(), config.addresses.len()),
            ("0.0.0.0:80", 4)
        );
        assert_eq!(config.validate(), Ok(()));
        for wrong in [
            "",
            "localhost",
            ":80",
            "host:99999",
            "host:x",
            "::1:80",
            "unix:",
            "http://a:80",
            "a b:1",
        ] {
            assert_eq!(
                config.set_address(wrong).validate(),
                Err(ConfigError::Address(wrong.to_owned()))
            );
        }
        assert_eq!(
            config.addresses(Vec::new()).validate(),
            Err(ConfigError::NoAddress)
        );
    }

    #[test]
    fn zero_means_nothing_would_ever_work() {
        type Edit = fn(ServerConfig) -> ServerConfig;
        let edits: [(&str, Edit); 8] = [
            ("backlog", |config| config.backlog(0)),
            ("max_connections", |config| config.max_connections(Some(0))),
            ("max_accepts_per_second", |config| {
                config.max_accepts_per_second(0)
            }),
            ("max_header_count", |config| config.max_header_count(0)),
            ("max_body", |config| config.max_body(0)),
            ("outbox_bytes", |config| config.outbox_bytes(0)),
            ("header_timeout", |config| {
                config.header_timeout(Duration::ZERO)
            }),
            ("sse_heartbeat", |config| {
                config.sse_heartbeat(Duration::ZERO)
            }),
        ];
        for (name, edit) in edits {
            assert_eq!(
                edit(ServerConfig::default()).validate(),
                Err(ConfigError::Zero(name))
            );
        }
    }

    #[cfg(feature = "http2")]
    #[test]
    fn streams_and_windows_of_http_2_are_possible() {
        let config = ServerConfig::default;
        for (name, wrong) in [
            ("http2_streams", config().http2_streams(0)),
            ("http2_stream_window", config().http2_stream_window(0)),
            ("http2_window", config().http2_window(0)),
        ] {
            assert_eq!(wrong.validate(), Err(ConfigError::Zero(name)));
        }
        let most = (1 << 31) - 1;
        let largest = config().http2_stream_window(most).http2_window(most);
        assert_eq!(largest.validate(), Ok(()));
        for (name, wrong) in [
            (
                "http2_stream_window",
                config().http2_stream_window(most + 1),
            ),
            ("http2_window", config().http2_window(most + 1)),
        ] {
            assert_eq!(wrong.validate(), Err(ConfigError::Window(name)));
        }
    }

    #[test]
    fn a_base_path_is_a_path() {
        let check = |path: &str| ServerConfig::default().base_path(path).validate();
        for fine in ["", "/app", "/a/b-c_d.e~f", "/%41"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for wrong in [
            "/", "app", "/app/", "//evil", "/a//b", "/a/../b", "/a;b", "/a b", "/a\\b", "/a?b",
            "/é",
        ] {
            assert_eq!(check(wrong), Err(ConfigError::BasePath(wrong.to_owned())));
        }
    }

    #[test]
    fn settings_that_contradict_are_refused() {
        let config = ServerConfig::default;
        assert_eq!(
            config().handler_linger(Duration::MAX).validate(),
            Err(ConfigError::TooLong("handler_linger"))
        );
        assert_eq!(config().ttl(Some(0)).validate(), Err(ConfigError::Ttl(0)));
        assert_eq!(
            config().ttl(Some(256)).validate(),
            Err(ConfigError::Ttl(256))
        );
        for wrong in ["", "a b", "a,b", "a\r\nb"] {
            let names = vec!["v1.chat".to_owned(), wrong.to_owned()];
            assert_eq!(
                config().subprotocols(names).validate(),
                Err(ConfigError::Subprotocol(wrong.to_owned()))
            );
        }
        for fine in [
            "https://A:443",
            "file://",
            "capacitor://localhost",
            "https://*.a",
            "http://a:*",
        ] {
            let origins = vec![fine.to_owned()];
            assert_eq!(config().allowed_origins(origins).validate(), Ok(()));
        }
        for null in ["null", " NULL"] {
            let error = config().allowed_origins(vec![null.to_owned()]).validate();
            assert_eq!(error, Err(ConfigError::NullOrigin));
            let text = error.unwrap_err().to_string();
            assert!(text.contains("dangerous_allow_null_origin"), "{text}");
        }
        for wrong in [
            "*",
            "example.com",
            "https://",
            "https://a/",
            "https://a.*.b",
            "*.a",
        ] {
            let origins = vec!["https://fine:8443".to_owned(), wrong.to_owned()];
            assert_eq!(
                config().allowed_origins(origins).validate(),
                Err(ConfigError::Origin(wrong.to_owned()))
            );
        }
    }

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_a_port() {
        let hosts = |list: &[&str]| {
            let list = list
                .iter()
                .map(|host| (*host).to_owned())
                .collect::<Vec<_>>();
            ServerConfig::default().allowed_hosts(list).validate()
        };
        let fine = [
            "app.example",
            "*.app.example:8443",
            "192.0.2.1:80",
            "[::1]",
            "::1",
        ];
        assert_eq!(hosts(&fine), Ok(()));
        for wrong in [
            "",
            "*",
            "https://app.example",
            "app.example/",
            "bücher.example",
        ] {
            let error = hosts(&["app.example", wrong]).unwrap_err();
            assert!(matches!(error, ConfigError::Host(_)));
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("allowed host `{wrong}` is not"))
            );
        }
    }

    #[test]
    fn heartbeats_may_be_off_and_a_pong_may_take_longer_than_the_next_ping() {
        let second = Duration::from_secs(1);
        let config = ServerConfig::default;
        for fine in [
            config()
                .ping_interval(None)
                .pong_timeout(None)
                .sse_heartbeat(None),
            config().ping_interval(None),
            config().pong_timeout(None),
            config().ping_interval(second).pong_timeout(2 * second),
            config().ping_interval(Some(second)),
        ] {
            assert_eq!(fine.validate(), Ok(()));
        }
        for (name, wrong) in [
            ("ping_interval", config().ping_interval(Duration::ZERO)),
            ("pong_timeout", config().pong_timeout(Duration::ZERO)),
        ] {
            assert_eq!(wrong.validate(), Err(ConfigError::Zero(name)));
        }
        assert_eq!(
            config().sse_heartbeat(Duration::MAX).validate(),
            Err(ConfigError::TooLong("sse_heartbeat"))
        );
    }
}
