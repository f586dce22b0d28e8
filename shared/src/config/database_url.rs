//! The address of the database: a secret (it may hold a password) that must not travel in clear.

use std::fmt;

use serde::Deserialize;
use url::Url;

/// A libpq URI, `postgresql://user@host/database?…`. Never shown: it may hold a password.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URI itself, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Refuses what is no libpq URI, and a TCP connection without `sslmode=verify-full`: it would send
    /// the password, and every row, to whoever answers. A Unix socket needs no TLS.
    pub fn check(&self, unsafe_plaintext: bool) -> Result<(), String> {
        if self.0.is_empty() {
            return Err(
                "is required, such as \"postgresql://user@db.example/portcullis?sslmode=verify-full\"".into(),
            );
        }
        let url = Url::parse(&self.0).map_err(|error| format!("is not a URL: {error}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err("must start with postgresql://".into());
        }
        let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        let host = query("host").unwrap_or_else(|| url.host_str().unwrap_or_default().into());
        let socket = host.starts_with('/') || host.to_ascii_lowercase().starts_with("%2f");
        if socket || unsafe_plaintext || query("sslmode").as_deref() == Some("verify-full") {
            return Ok(());
        }
        Err("goes over TCP without sslmode=verify-full: add `?sslmode=verify-full&sslrootcert=FILE`, use a Unix \
             socket, or accept the risk with unsafe_plaintext_database = true"
            .into())
    }
}

/// From a command line; nothing is checked yet.
impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(not set)" } else { "(redacted)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_without_verify_full_is_refused_unless_called_unsafe() {
        let url = |text: &str| DatabaseUrl(text.to_owned());
        for good in [
            "postgresql://a@%2Frun%2Fpg/portcullis",
            "postgresql:///portcullis?host=/run/pg&user=a",
            "postgres://a:b@db/portcullis?sslmode=verify-full",
        ] {
            assert_eq!(url(good).check(false), Ok(()), "{good}");
        }
        for bad in
            ["postgres://a@db/p", "postgres://a@db/p?sslmode=require", "mysql://a@db/p", "", "nonsense"]
        {
            assert!(url(bad).check(false).is_err(), "{bad}");
        }
        assert_eq!(url("postgres://a@db/p").check(true), Ok(()));
        assert!(!format!("{:?}", url("postgres://a:secret@db/p")).contains("secret"));
    }
}
