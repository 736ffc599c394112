//! The setting of the access log.

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLog {
    /// One text in the Common Log Format of web servers: client, date, request line, status, bytes sent with the head.
    Common,
    /// Fields: `client`, `method`, `target`, `version`, `status`, `bytes` and `time_us`.
    Fields,
}
