//! Where endpoints come from, as given on the command line: `--worker-endpoint` and `--worker-service`. Pure.
//!
//! In: the values of the flags. Out: checked sources, or one line that says what to write instead. Must never repeat a
//! value, which may hold a secret.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use super::Endpoint;
use crate::model::EndpointId;

/// Where endpoints come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// These URLs (`--worker-endpoint`).
    pub endpoints: Vec<Endpoint>,
    /// The addresses behind these Services (`--worker-service`).
    pub services: Vec<ServiceSource>,
}

impl Sources {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.services.is_empty()
    }

    /// Refuses two URLs that differ only in their query: they would look the same wherever they are shown, and one
    /// would hide the other. The same URL twice is allowed, and counts once.
    ///
    /// # Errors
    /// [`SourceError::SameEndpoint`].
    pub fn check(&self) -> Result<(), SourceError> {
        let mut seen: HashMap<&EndpointId, &Url> = HashMap::new();
        for Endpoint { id, url } in &self.endpoints {
            if seen.insert(id, url).is_some_and(|other| other != url) {
                return Err(SourceError::SameEndpoint(id.clone()));
            }
        }
        Ok(())
    }
}

/// Why the value of a flag is refused. The messages say what to do and never repeat the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not a URL that can be requested.
    #[error("use a full URL with http:// or https:// and a host, such as http://10.0.0.7:4444/mcpgateway/usage")]
    Url,
    /// A user name or password in the URL.
    #[error("take the user name and password out of the URL; give a bearer token with --worker-token-file instead")]
    UserInfo,
    /// Two URLs that only differ in their query.
    #[error("two URLs for {0} differ only in their query; let one of them report for all its workers")]
    SameEndpoint(EndpointId),
    /// Not of the form of `--worker-service`.
    #[error("use [http://|https://]NAMESPACE/NAME[:PORT], such as https://gateways/mcp-gateway:http")]
    Service,
    /// The port is neither a number nor a name.
    #[error("use a port from 1 to 65535, or the name of a port of the Service")]
    Port,
}

/// The value of `--worker-endpoint`: `http` or `https`, without user info.
impl FromStr for Endpoint {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        // Compared as text, because a URL parser also accepts `http:host` and guesses.
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err(SourceError::Url);
        }
        let url = Url::parse(text).map_err(|_| SourceError::Url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SourceError::UserInfo);
        }
        if url.host_str().is_none_or(str::is_empty) || url.fragment().is_some() {
            return Err(SourceError::Url);
        }
        Ok(Self::new(url))
    }
}

/// The scheme of the endpoints behind a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Scheme {
    /// Plain text; the default.
    #[default]
    Http,
    /// TLS.
    Https,
}

/// Which port of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// The only one that the slice has.
    Only,
    /// This one, whatever ports the slice has.
    Number(u16),
    /// The one with this name in the slice.
    Name(String),
}

/// The value of `--worker-service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSource {
    /// The scheme of its addresses.
    pub scheme: Scheme,
    /// The namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The port.
    pub port: Port,
}

impl FromStr for ServiceSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (scheme, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (Scheme::Http, rest),
            (_, Some(rest)) => (Scheme::Https, rest),
            (None, None) => (Scheme::default(), text),
        };
        let (namespace, rest) = rest.split_once('/').ok_or(SourceError::Service)?;
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, port_of(port)?),
            None => (rest, Port::Only),
        };
        if !is_label(namespace) || !is_label(name) {
            return Err(SourceError::Service);
        }
        Ok(Self { scheme, namespace: namespace.to_owned(), name: name.to_owned(), port })
    }
}

fn port_of(text: &str) -> Result<Port, SourceError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|port| *port > 0).map(Port::Number).ok_or(SourceError::Port);
    }
    if is_label(text) { Ok(Port::Name(text.to_owned())) } else { Err(SourceError::Port) }
}

/// A DNS label: 1 to 63 lower-case letters, digits and inner hyphens.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The value of the flag, for logs. It holds no secret.
impl fmt::Display for ServiceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme, self.namespace, self.name)?;
        match &self.port {
            Port::Only => Ok(()),
            Port::Number(number) => write!(f, ":{number}"),
            Port::Name(name) => write!(f, ":{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Result<ServiceSource, SourceError> {
        text.parse()
    }

    #[test]
    fn services_are_read_with_and_without_scheme_and_port() {
        let plain = service("gateways/mcp").unwrap();
        assert_eq!(
            plain,
            ServiceSource { scheme: Scheme::Http, namespace: "gateways".into(), name: "mcp".into(), port: Port::Only }
        );
        let named = service("https://gateways/mcp-gateway:usage-port").unwrap();
        assert_eq!((named.scheme, named.port), (Scheme::Https, Port::Name("usage-port".into())));
        assert_eq!(service("http://a/b:4444").unwrap().port, Port::Number(4444));
        for text in ["http://a/b", "https://a/b:http", "http://a/b:65535"] {
            assert_eq!(service(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_forms_of_a_service_are_refused_without_repeating_them() {
        let cases = [
            ("", SourceError::Service),
            ("planted", SourceError::Service),
            ("/planted", SourceError::Service),
            ("planted/", SourceError::Service),
            ("ftp://planted/b", SourceError::Service),
            ("HTTP://planted/b", SourceError::Service),
            ("planted/b/c", SourceError::Service),
            ("user:planted@ns/b", SourceError::Service),
            ("Planted/b", SourceError::Service),
            ("-planted/b", SourceError::Service),
            ("planted/b:", SourceError::Port),
            ("planted/b:0", SourceError::Port),
            ("planted/b:65536", SourceError::Port),
            ("planted/b:99999999999999999999", SourceError::Port),
            ("planted/b:Web", SourceError::Port),
            ("planted/b:1:2", SourceError::Port),
            ("planted/b:80/path", SourceError::Port),
        ];
        for (text, error) in cases {
            assert_eq!(service(text), Err(error.clone()), "{text}");
            assert!(!error.to_string().contains("lanted"));
        }
    }

    #[test]
    fn endpoints_are_full_urls_without_user_info() {
        for text in ["http://10.0.0.7:4444/mcpgateway/usage", "https://workers.example.com", "http://[::1]:80/x?a=1"] {
            assert!(text.parse::<Endpoint>().is_ok(), "{text}");
        }
        for text in
            ["", "planted", "http://", "http:planted", "ftp://planted/", "http://h/#planted", "http://h:planted/"]
        {
            assert_eq!(text.parse::<Endpoint>(), Err(SourceError::Url), "{text}");
        }
        for text in ["http://user:planted@h/", "https://planted@h/"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error, SourceError::UserInfo);
            assert!(!format!("{error} {error:?}").contains("planted"));
        }
    }

    #[test]
    fn the_query_of_an_endpoint_is_never_printed() {
        let url: Endpoint = "https://h:8443/usage?token=planted".parse().unwrap();
        assert_eq!(format!("{url:?}"), "Endpoint(https://h:8443/usage)");
        assert_eq!(url.url.query(), Some("token=planted"));
        let sources = Sources { endpoints: vec![url], ..Sources::default() };
        assert!(!format!("{sources:?}").contains("planted"));
    }

    #[test]
    fn urls_that_differ_in_the_query_alone_are_refused() {
        let url = |text: &str| text.parse::<Endpoint>().unwrap();
        let check = |texts: &[&str]| {
            Sources { endpoints: texts.iter().map(|text| url(text)).collect(), ..Sources::default() }.check()
        };
        assert_eq!(check(&["http://h/a", "http://h/b", "http://h/a"]), Ok(()));
        let error = check(&["http://h/a?planted=1", "http://h/a?planted=2"]).unwrap_err();
        assert_eq!(error, SourceError::SameEndpoint(EndpointId::new("http://h/a")));
        assert!(!error.to_string().contains("planted"));
    }
}
