//! The proxy to the API server: `proxy-url` of the kubeconfig, else `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. Pure,
//! but for the environment.

use std::net::IpAddr;

use anyhow::{Context, bail};
use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};
use hyper_util::client::proxy::matcher::Matcher;

/// The proxy that the environment gives for a server, with the rules of Go's `net/http`.
pub(super) fn from_environment(server: &Uri) -> anyhow::Result<Option<Uri>> {
    let names = if server.scheme() == Some(&Scheme::HTTPS) {
        ["HTTPS_PROXY", "https_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy"]
    };
    let Some((name, proxy)) = first_set(names) else { return Ok(None) };
    let except = first_set(["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
    if is_excepted(server, &except) { Ok(None) } else { parse(name, &proxy).map(Some) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "these variables belong to all programs, and are no settings of this one"
)]
fn first_set(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let set = names.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    set.into_iter().find(|(_, value)| !value.is_empty())
}

/// Reads the URL of a proxy. `source`: where it is from. No error repeats it, because it may hold a password.
pub(super) fn parse(source: &str, text: &str) -> anyhow::Result<Uri> {
    let advice =
        || format!("{source}: use http://, https:// or socks5:// with a host (not shown: it may hold a password)");
    let text = text.trim();
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = text.parse().ok().with_context(advice)?;
    // A port that is not one is kept in the text, but is no port.
    let is_whole =
        |authority: &&Authority| authority.port().is_some() || authority.as_str().ends_with(authority.host());
    let authority = url.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.filter(is_whole).with_context(advice)?;
    let (scheme, authority) = match url.scheme_str() {
        Some(scheme @ ("http" | "https")) => (scheme, authority.clone()),
        Some("socks5" | "socks5h") if authority.as_str().contains('@') => {
            bail!("{source}: user and password are not supported for a socks5:// proxy")
        }
        // Names are resolved by the proxy in both.
        Some("socks5" | "socks5h") if authority.port().is_some() => ("socks5", authority.clone()),
        Some("socks5" | "socks5h") => ("socks5", Authority::try_from(format!("{authority}:1080"))?),
        _ => bail!(advice()),
    };
    Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok().with_context(advice)
}

/// Whether a server is reached without the proxy of the environment: it is local, or `NO_PROXY` lists it.
fn is_excepted(server: &Uri, list: &str) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        return true;
    }
    let default = if server.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = server.port_u16().unwrap_or(default);
    let entries = list.split(',').map(str::trim).filter_map(|entry| {
        // An entry with a port is for that port only. A bare IPv6 address has colons too.
        match entry.rsplit_once(':').map(|(name, number)| (name, number.parse::<u16>())) {
            Some((name, Ok(number))) if !name.contains(':') || name.ends_with(']') => (number == port).then_some(name),
            _ => Some(entry),
        }
    });
    let entries: Vec<&str> =
        entries.map(|entry| entry.strip_prefix("*.").unwrap_or(entry).trim_matches(['[', ']'])).collect();
    // Any proxy will do, to ask about the list.
    Matcher::builder().all("http://proxy").no(entries.join(",")).build().intercept(server).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_compared_with_the_server() {
        for (server, list, excepted) in [
            ("https://api.example:6443", "", false),
            ("https://api.example:6443", "api.example", true),
            ("https://api.example:6443", "API.EXAMPLE", true),
            ("https://api.example:6443", "example", true),
            ("https://api.example:6443", ".example", true),
            ("https://api.example:6443", "*.example", true),
            ("https://api.example:6443", "*", true),
            ("https://api.example:6443", "ample", false),
            ("https://api.example:6443", "other, ,api.example,", true),
            ("https://api.example:6443", "api.example:6443", true),
            ("https://api.example:6443", "api.example:443", false),
            ("https://api.example", "api.example:443", true),
            ("https://10.1.2.3:6443", "10.0.0.0/8", true),
            ("https://10.1.2.3:6443", "10.1.2.3", true),
            ("https://10.1.2.3:6443", "10.1.2.3:6443", true),
            ("https://10.1.2.3:6443", "192.168.0.0/16,proxy.example", false),
            ("https://[fd00::1]:6443", "fd00::1", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://127.0.0.1:6443", "", true),
            ("https://localhost", "", true),
            ("https://[::1]:6443", "", true),
        ] {
            assert_eq!(is_excepted(&server.parse().unwrap(), list), excepted, "{server} {list}");
        }
    }

    #[test]
    fn a_proxy_is_read_as_by_go_and_never_repeated() {
        for (text, expected) in [
            ("http://proxy:3128", "http://proxy:3128/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("https://u:p%40@proxy/", "https://u:p%40@proxy/"),
            ("socks5://proxy", "socks5://proxy:1080/"),
            ("socks5h://proxy:1", "socks5://proxy:1/"),
        ] {
            assert_eq!(parse("x", text).unwrap().to_string(), expected);
        }
        for text in [
            "ftp://u:planted@proxy",
            "http://u:planted@",
            "http://u:planted @proxy",
            "://planted",
            "socks5://u:planted@proxy",
            "http://u:planted@proxy:99999999",
            "planted@",
        ] {
            let error = format!("{:#}", parse("HTTPS_PROXY", text).unwrap_err());
            assert!(error.contains("HTTPS_PROXY") && !error.contains("planted"), "{text}: {error}");
        }
    }
}
