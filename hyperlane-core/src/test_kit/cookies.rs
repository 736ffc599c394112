//! The cookies of a test client.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Maximum number of cookies that a client keeps. A new cookie beyond it replaces the oldest one.
const MAX_COOKIES: usize = 256;

/// The cookies that a server has set, by name and path (RFC 6265 §5.3). The client is a browser with one site that it
/// reaches in a secure way: the attributes `Domain`, `Secure`, `HttpOnly` and `SameSite` have no effect.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    name: String,
    value: String,
    path: String,
    ends: Option<Instant>,
}

impl Cookies {
    /// Takes the value of a field `Set-Cookie` of the response to a request for `path`.
    pub(super) fn take(&mut self, field: &str, path: &str) {
        let mut parts = field.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let mut cookie = Kept {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            path: default_path(path).to_owned(),
            ends: None,
        };
        let (mut age, mut expires) = (None, None);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if name.eq_ignore_ascii_case("path") && value.starts_with('/') {
                value.clone_into(&mut cookie.path);
            } else if name.eq_ignore_ascii_case("max-age") {
                age = value.parse::<i64>().ok();
            } else if name.eq_ignore_ascii_case("expires") {
                expires = httpdate::parse_http_date(value).ok();
            }
        }
        let life = match (age, expires) {
            (Some(age), _) => Some(Duration::from_secs(u64::try_from(age).unwrap_or(0))),
            (None, Some(at)) => Some(at.duration_since(SystemTime::now()).unwrap_or_default()),
            (None, None) => None,
        };
        cookie.ends = life.and_then(|life| Instant::now().checked_add(life));
        self.kept
            .retain(|old| (&old.name, &old.path) != (&cookie.name, &cookie.path));
        if life == Some(Duration::ZERO) {
            return;
        }
        if self.kept.len() == MAX_COOKIES {
            self.kept.remove(0);
        }
        self.kept.push(cookie);
    }

    /// Sets a cookie for all paths.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.take(&format!("{name}={value}; Path=/"), "/");
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.live()
            .find(|cookie| cookie.name == name)
            .map(|cookie| cookie.value.as_str())
    }

    /// Returns the value of the field `Cookie` of a request for `path`; `None` without cookies.
    pub(super) fn field(&self, path: &str) -> Option<String> {
        let mut sent: Vec<_> = self
            .live()
            .filter(|cookie| is_below(path, &cookie.path))
            .collect();
        // RFC 6265 §5.4: longer paths come first.
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> = sent
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn live(&self) -> impl Iterator<Item = &Kept> {
        let now = Instant::now();
        self.kept
            .iter()
            .filter(move |cookie| cookie.ends.is_none_or(|ends| ends > now))
    }
}

/// RFC 6265 §5.1.4.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => path.get(..end).unwrap_or("/"),
    }
}

/// RFC 6265 §5.1.4.
fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn cookies_are_kept_by_name_path_and_age() {
        let mut cookies = Cookies::default();
        cookies.take("a=1; Path=/", "/x");
        cookies.take("b=2; Path=/api; HttpOnly", "/x");
        cookies.take("c=3; Path=/; Max-Age=60", "/x");
        cookies.take("d=4", "/shop/cart");
        assert_eq!(cookies.field("/x").as_deref(), Some("a=1; c=3"));
        assert_eq!(cookies.field("/api/y").as_deref(), Some("b=2; a=1; c=3"));
        assert_eq!(cookies.field("/apiary").as_deref(), Some("a=1; c=3"));
        assert_eq!(cookies.field("/shop/x").as_deref(), Some("d=4; a=1; c=3"));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(cookies.field("/").as_deref(), Some("a=1"));
        cookies.take("a=; Path=/; Max-Age=0", "/");
        assert_eq!(cookies.field("/"), None);
        cookies.take("e=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "/");
        assert_eq!(cookies.get("e"), None);
    }
}
