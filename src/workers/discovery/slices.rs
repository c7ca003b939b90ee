//! The URLs of an EndpointSlice: its addresses with a port and a path. Pure.
//!
//! Every address counts, whatever its conditions: a worker that is not ready or is terminating still knows what was
//! used, and one that does not answer is silent, which demotes no server.

use std::net::{Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use reqwest::Url;

use super::source::{Port, ServiceSource};

/// Why a slice does not have the port that the flag names. Usually the same for every slice of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, thiserror::Error)]
pub(super) enum SliceError {
    /// The flag names no port, and there are several.
    #[error("the Service has several ports; name one in --worker-service NAMESPACE/NAME:PORT")]
    SeveralPorts,
    /// The flag names no port, and there is none.
    #[error("the Service has no TCP port; give a port number in --worker-service NAMESPACE/NAME:PORT")]
    NoPort,
    /// The port that the flag names does not exist.
    #[error(
        "the Service has no TCP port with the name given in --worker-service; name one of its ports or give a number"
    )]
    NoSuchPort,
}

/// The URLs of a slice with this path, such as `http://10.0.0.7:4444/usage`, in its order. A slice without addresses
/// has none, whatever its ports: the slices of a Service without pods have no ports.
pub(super) fn addresses(slice: &EndpointSlice, source: &ServiceSource, path: &str) -> Result<Vec<Url>, SliceError> {
    let hosts: Vec<String> = slice
        .endpoints
        .iter()
        .flatten()
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|address| host(&slice.address_type, address))
        .collect();
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let port = port(slice.ports.as_deref().unwrap_or_default(), &source.port)?;
    let url = |host: &String| {
        let mut url = Url::parse(&format!("{}://{host}:{port}/", source.scheme)).ok()?;
        // Set, not joined: a path that starts with two slashes would name another host.
        url.set_path(path);
        Some(url)
    };
    Ok(hosts.iter().filter_map(url).collect())
}

/// An address as the host of a URL. `None` if it does not parse, which the API server does not allow.
fn host(address_type: &str, address: &str) -> Option<String> {
    match address_type {
        "IPv4" => address.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
        "IPv6" => address.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]")),
        _ => {
            let plain = address.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
            (plain && !address.is_empty()).then(|| address.to_owned())
        }
    }
}

fn port(ports: &[EndpointPort], wanted: &Port) -> Result<u16, SliceError> {
    let tcp = || ports.iter().filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    let number = |port: &EndpointPort| port.port.and_then(|number| u16::try_from(number).ok());
    match wanted {
        Port::Number(number) => Ok(*number),
        Port::Name(name) => {
            tcp().find(|port| port.name.as_ref() == Some(name)).and_then(number).ok_or(SliceError::NoSuchPort)
        }
        Port::Only => {
            let mut numbers = tcp().filter_map(number);
            match (numbers.next(), numbers.next()) {
                (Some(only), None) => Ok(only),
                (Some(_), Some(_)) => Err(SliceError::SeveralPorts),
                (None, _) => Err(SliceError::NoPort),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(address_type: &str, addresses: &Value, ports: &Value) -> EndpointSlice {
        let slice = json!({
            "addressType": address_type, "metadata": {"name": "s"},
            "endpoints": addresses.as_array().unwrap().iter().map(|address| {
                json!({"addresses": address, "conditions": {"ready": false, "serving": false, "terminating": true}})
            }).collect::<Vec<_>>(),
            "ports": ports,
        });
        serde_json::from_value(slice).unwrap()
    }

    fn source(flag: &str) -> ServiceSource {
        flag.parse().unwrap()
    }

    fn found(flag: &str, address_type: &str, hosts: &Value, ports: &Value) -> Result<Vec<String>, SliceError> {
        let urls = addresses(&slice(address_type, hosts, ports), &source(flag), "/")?;
        Ok(urls.iter().map(ToString::to_string).collect())
    }

    fn one_port() -> Value {
        json!([{"name": "http", "port": 4444, "protocol": "TCP"}])
    }

    fn two_ports() -> Value {
        json!([{"name": "http", "port": 4444}, {"name": "admin", "port": 9000}])
    }

    fn at(flag: &str, ports: &Value) -> Result<Vec<String>, SliceError> {
        found(flag, "IPv4", &json!([["10.0.0.7"]]), ports)
    }

    #[test]
    fn every_address_counts_whatever_its_conditions() {
        let urls = found("a/b", "IPv4", &json!([["10.0.0.7"], ["10.0.0.8", "10.0.0.9"]]), &one_port());
        assert_eq!(urls.unwrap(), ["http://10.0.0.7:4444/", "http://10.0.0.8:4444/", "http://10.0.0.9:4444/"]);
    }

    #[test]
    fn addresses_of_every_type_make_urls() {
        let six = found("https://a/b", "IPv6", &json!([["2001:db8::7"], ["10.0.0.7"]]), &one_port());
        assert_eq!(six.unwrap(), ["https://[2001:db8::7]:4444/"]);
        let name = found("a/b:80", "FQDN", &json!([["worker-0.example.com"], ["x/y@z"], [""]]), &one_port());
        assert_eq!(name.unwrap(), ["http://worker-0.example.com/"], "the usual port is not written in a URL");
    }

    #[test]
    fn a_port_number_is_used_as_it_is() {
        assert_eq!(at("a/b:81", &two_ports()).unwrap(), ["http://10.0.0.7:81/"]);
        assert_eq!(at("a/b:81", &json!(null)).unwrap(), ["http://10.0.0.7:81/"]);
    }

    #[test]
    fn a_port_name_is_looked_up_in_the_slice() {
        assert_eq!(at("a/b:admin", &two_ports()).unwrap(), ["http://10.0.0.7:9000/"]);
        assert_eq!(at("a/b:other", &two_ports()), Err(SliceError::NoSuchPort));
        assert_eq!(
            at("a/b:dns", &json!([{"name": "dns", "port": 53, "protocol": "UDP"}])),
            Err(SliceError::NoSuchPort)
        );
        assert_eq!(at("a/b:any", &json!([{"name": "any"}])), Err(SliceError::NoSuchPort), "null means all ports");
    }

    #[test]
    fn without_a_port_the_slice_must_have_exactly_one() {
        assert_eq!(at("a/b", &one_port()).unwrap(), ["http://10.0.0.7:4444/"]);
        let with_udp = json!([{"name": "http", "port": 4444}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        assert_eq!(at("a/b", &with_udp).unwrap(), ["http://10.0.0.7:4444/"]);
        assert_eq!(at("a/b", &two_ports()), Err(SliceError::SeveralPorts));
        assert_eq!(at("a/b", &json!([])), Err(SliceError::NoPort));
    }

    #[test]
    fn a_worker_path_never_leads_to_another_host() {
        let slice = slice("IPv4", &json!([["10.0.0.1"]]), &one_port());
        for path in ["//planted/x", "/http://planted/", "/?a", "/#f"] {
            assert_eq!(addresses(&slice, &source("a/b"), path).unwrap()[0].host_str(), Some("10.0.0.1"), "{path}");
        }
    }

    #[test]
    fn a_slice_without_addresses_needs_no_port() {
        assert_eq!(found("a/b", "IPv4", &json!([]), &json!(null)), Ok(Vec::new()));
    }
}
