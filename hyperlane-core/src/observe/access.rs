//! The access log: one line per request.

use std::{net::IpAddr, time::SystemTime};

use crate::{
    config::AccessLog,
    http::{Request, mask_url},
};

/// What the access log says about a request that has begun.
pub(super) struct Access {
    form: AccessLog,
    client: Option<IpAddr>,
    /// The request line, without secrets. `None` if the head was refused.
    line: Option<[Box<str>; 3]>,
    begun: SystemTime,
}

impl Access {
    pub(super) fn new(form: AccessLog, client: Option<IpAddr>, request: Option<&Request>) -> Self {
        let line = request.map(|request| {
            // A quotation mark would end the request line in the log.
            let target = mask_url(request.get_target()).replace('"', "%22");
            [
                request.get_method().as_str().into(),
                target.into(),
                request.get_version().as_str().into(),
            ]
        });
        Self {
            form,
            client,
            line,
            begun: SystemTime::now(),
        }
    }

    /// Writes the line. `status` is 0 for a request without an answer.
    pub(super) fn write(&self, status: u16, bytes: u64, time_us: u64) {
        let client = self
            .client
            .map_or("-".to_owned(), |client| client.to_string());
        let [method, target, version] = match &self.line {
            Some(line) => line.each_ref().map(|part| &**part),
            None => ["-"; 3],
        };
        match self.form {
            AccessLog::Fields => tracing::info!(
                target: "hyperlane::access", client, method, target, version, status, bytes, time_us,
                "request"
            ),
            AccessLog::Common => {
                let date = common_date(self.begun);
                let line = match &self.line {
                    Some(_) => format!("{method} {target} {version}"),
                    None => "-".to_owned(),
                };
                tracing::info!(
                    target: "hyperlane::access",
                    "{client} - - [{date}] \"{line}\" {status} {bytes}"
                );
            }
        }
    }
}

/// Formats a time in the Common Log Format, for example `10/Oct/2000:13:55:36 +0000`.
fn common_date(time: SystemTime) -> String {
    // The date of HTTP has the same parts: `Tue, 10 Oct 2000 13:55:36 GMT`.
    let date = httpdate::fmt_http_date(time);
    let mut parts = date.split(' ').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let (day, month, year, clock) = (part(), part(), part(), part());
    format!("{day}/{month}/{year}:{clock} +0000")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates_are_those_of_the_common_log_format() {
        let time = UNIX_EPOCH + Duration::from_secs(971_186_136);
        assert_eq!(common_date(time), "10/Oct/2000:13:55:36 +0000");
    }
}
