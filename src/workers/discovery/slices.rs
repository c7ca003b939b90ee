//! The URLs of an EndpointSlice: its addresses with a port and a path. Pure.
//!
//! An address counts whatever its conditions: a worker that is not ready or is terminating still knows what was used,
//! and one that does not answer is silent, which demotes no server. It does not count if it cannot be that of a worker:
//! whoever may write slices must not have the worker token sent to this machine or to a cloud's metadata service.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// An address that is no pod's. The others are used.
    #[error(
        "addresses are left out: loopback, link-local, multicast or of a cloud's metadata service; find out who may \
         write EndpointSlices with this Service's label"
    )]
    AddressRefused,
    /// Its addresses are names, which may lead anywhere. The other slices are used.
    #[error("slices of addressType FQDN are not used; give the worker's URL in --worker-endpoint")]
    Fqdn,
}

/// Addresses of metadata services of clouds that are not link-local: of AWS, Google, Azure, Alibaba and Oracle.
const METADATA: [IpAddr; 6] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// An address of a pod with its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodAddress {
    /// The uid of the pod, or its name; `None` for an endpoint without a target.
    pod: Option<String>,
    /// Such as `http://10.0.0.7:4444/usage`.
    pub url: Url,
    is_ipv4: bool,
}

/// The addresses of a slice that may be those of workers, in its order, with the pod of each, and why others are left
/// out.
pub(super) fn usable(slice: &EndpointSlice) -> (Vec<(Option<String>, IpAddr)>, Option<SliceError>) {
    let endpoints = || slice.endpoints.iter().flatten();
    if !matches!(&*slice.address_type, "IPv4" | "IPv6") {
        let has_any = endpoints().any(|endpoint| !endpoint.addresses.is_empty());
        return (Vec::new(), has_any.then_some(SliceError::Fqdn));
    }
    let (mut usable, mut error) = (Vec::new(), None);
    for endpoint in endpoints() {
        let target = endpoint.target_ref.as_ref();
        let pod = target.and_then(|target| target.uid.clone().or_else(|| target.name.clone()));
        for address in &endpoint.addresses {
            // The API server allows no address that does not parse, and none of another type.
            let parsed = address.parse::<IpAddr>().ok();
            match parsed.filter(|address| address.is_ipv4() == (slice.address_type == "IPv4")) {
                Some(address) if may_be_a_pod(address) => usable.push((pod.clone(), address)),
                Some(_) => error = Some(SliceError::AddressRefused),
                None => {}
            }
        }
    }
    (usable, error)
}

/// The URLs of a slice with this path, in its order, and why it or some of its addresses are not used. A slice without
/// addresses has none, whatever its ports: the slices of a Service without pods have no ports.
pub(super) fn addresses(
    slice: &EndpointSlice,
    source: &ServiceSource,
    path: &str,
) -> (Vec<PodAddress>, Option<SliceError>) {
    let (usable, error) = usable(slice);
    if usable.is_empty() {
        return (Vec::new(), error);
    }
    let port = match port(slice.ports.as_deref().unwrap_or_default(), &source.port) {
        Ok(port) => port,
        Err(no_port) => return (Vec::new(), Some(no_port)),
    };
    let url = |(pod, address): (Option<String>, IpAddr)| {
        let host = if address.is_ipv4() { address.to_string() } else { format!("[{address}]") };
        let mut url = Url::parse(&format!("{}://{host}:{port}/", source.scheme)).ok()?;
        // Set, not joined: a path that starts with two slashes would name another host.
        url.set_path(path);
        Some(PodAddress { pod, url, is_ipv4: address.is_ipv4() })
    };
    (usable.into_iter().filter_map(url).collect(), error)
}

/// The URLs of all slices of a Service. A pod of a dual-stack Service is in a slice of each family, and its worker may
/// listen on one of them only: the IPv4 address counts, or the pod would be a silent endpoint too.
pub(super) fn one_family_per_pod(addresses: Vec<PodAddress>) -> Vec<Url> {
    let ipv4 = addresses.iter().filter(|address| address.is_ipv4);
    let with_ipv4: HashSet<String> = ipv4.filter_map(|address| address.pod.clone()).collect();
    let counts =
        |address: &PodAddress| address.is_ipv4 || address.pod.as_ref().is_none_or(|pod| !with_ipv4.contains(pod));
    addresses.into_iter().filter(counts).map(|address| address.url).collect()
}

/// Whether an address may be that of a pod. One that holds an IPv4 address (mapped, NAT64, 6to4) is judged by that too.
fn may_be_a_pod(address: IpAddr) -> bool {
    let allowed = match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first != 0 && !address.is_loopback() && !address.is_link_local() && !address.is_multicast() && first < 240
        }
        IpAddr::V6(address) => {
            let inner = match address.segments() {
                [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
                | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
                | [0x2002, high, low, ..] => Some((high, low)),
                _ => None,
            };
            let v4 = inner.map(|(high, low)| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
            v4.is_none_or(|v4| may_be_a_pod(IpAddr::V4(v4)))
                && !address.is_unicast_link_local()
                && !address.is_multicast()
        }
    };
    allowed && !METADATA.contains(&address)
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
        match addresses(&slice(address_type, hosts, ports), &source(flag), "/") {
            (_, Some(error)) => Err(error),
            (found, None) => Ok(found.iter().map(|found| found.url.to_string()).collect()),
        }
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
        let usual = found("a/b:80", "IPv4", &json!([["10.0.0.7"], ["x/y@z"], [""]]), &one_port());
        assert_eq!(usual.unwrap(), ["http://10.0.0.7/"], "the usual port is not written in a URL");
    }

    #[test]
    fn names_are_not_used_whatever_they_resolve_to() {
        for name in ["localhost", "worker-0.example.com", "127.0.0.1", "10.0.0.7"] {
            assert_eq!(found("a/b", "FQDN", &json!([[name]]), &one_port()), Err(SliceError::Fqdn), "{name}");
        }
        assert_eq!(found("a/b", "FQDN", &json!([]), &one_port()), Ok(Vec::new()));
    }

    #[test]
    fn addresses_that_are_no_pods_are_refused_and_the_others_used() {
        for (family, other, refused) in [
            (
                "IPv4",
                "10.0.0.7",
                &[
                    "127.0.0.1",
                    "127.255.0.3",
                    "0.0.0.0",
                    "0.1.2.3",
                    "169.254.169.254",
                    "169.254.170.2",
                    "169.254.0.1",
                    "224.0.0.1",
                    "255.255.255.255",
                    "240.0.0.1",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.192",
                ][..],
            ),
            (
                "IPv6",
                "[2001:db8::7]",
                &[
                    "::1",
                    "::",
                    "fe80::1",
                    "febf::1",
                    "ff02::1",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                    "::ffff:127.0.0.1",
                    "::ffff:169.254.169.254",
                    "::127.0.0.1",
                    "64:ff9b::169.254.169.254",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::1",
                    "2002:a9fe:a9fe::",
                    "::ffff:168.63.129.16",
                ][..],
            ),
        ] {
            for address in refused {
                let bare = other.trim_matches(['[', ']']);
                let slice = slice(family, &json!([[address], [bare]]), &one_port());
                let (found, error) = addresses(&slice, &source("a/b"), "/");
                let urls: Vec<_> = found.iter().map(|found| found.url.to_string()).collect();
                assert_eq!(urls, [format!("http://{other}:4444/")], "{address}");
                assert_eq!(error, Some(SliceError::AddressRefused), "{address}");
            }
        }
        for address in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "198.18.0.1"] {
            assert!(found("a/b", "IPv4", &json!([[address]]), &one_port()).is_ok(), "{address}");
        }
        for address in ["fd00::1", "fc00::1", "2001:db8::1", "64:ff9b::10.0.0.1", "::ffff:10.0.0.1"] {
            assert!(found("a/b", "IPv6", &json!([[address]]), &one_port()).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_pod_on_both_families_is_one_endpoint() {
        let slice = |family: &str, endpoints: Value| -> EndpointSlice {
            let metadata = json!({"name": "s"});
            serde_json::from_value(json!({"addressType": family, "metadata": metadata, "endpoints": endpoints,
                "ports": one_port()}))
            .unwrap()
        };
        let pod = |address: &str, uid: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "uid": uid}});
        let slices = [
            slice("IPv6", json!([pod("2001:db8::1", "one"), pod("2001:db8::2", "two"), pod("2001:db8::3", "six")])),
            slice("IPv4", json!([pod("10.0.0.1", "one"), pod("10.0.0.2", "two"), pod("10.0.0.4", "four")])),
            // Without a target nothing says that they are one pod. The IPv4 address of the last is no pod's.
            slice("IPv4", json!([{"addresses": ["10.0.0.5"]}, pod("169.254.0.6", "link")])),
            slice("IPv6", json!([{"addresses": ["2001:db8::5"]}, pod("2001:db8::6", "link")])),
        ];
        let all = slices.iter().flat_map(|slice| addresses(slice, &source("a/b"), "/").0).collect();
        let hosts: Vec<_> = one_family_per_pod(all).iter().map(|url| url.host_str().unwrap().to_owned()).collect();
        let expected =
            ["[2001:db8::3]", "10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "[2001:db8::5]", "[2001:db8::6]"];
        assert_eq!(hosts, expected);
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
            assert_eq!(addresses(&slice, &source("a/b"), path).0[0].url.host_str(), Some("10.0.0.1"), "{path}");
        }
    }

    #[test]
    fn a_slice_without_addresses_needs_no_port() {
        assert_eq!(found("a/b", "IPv4", &json!([]), &json!(null)), Ok(Vec::new()));
    }
}
