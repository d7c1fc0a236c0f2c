//! Which addresses belong to the outside: those of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where Azure's machines ask for their settings and certificates. Its network is a public one.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Whether an address is one of the public internet: not of this machine, this network, or reserved for something else.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    // A way into the newer network that is no more.
    let is_relay = (a, b, c) == (192, 88, 99);
    let is_special = a == 0 || a >= 224 || is_shared || is_protocol || is_benchmark || is_relay || v4 == AZURE;
    !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_documentation() || is_special)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [first, second, ..] = v6.segments();
    // Of all that is assigned, only 2000::/3 is public. 2001:db8::/32 and 3fff::/20 are for documentation; 2001::/23 is for
    // protocols, such as tunnels that hold an older address (Teredo).
    let is_protocol = first == 0x2001 && second < 0x0200;
    let is_documentation = (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second < 0x1000);
    (0x2000..0x4000).contains(&first) && !is_protocol && !is_documentation
}

/// The older address that an address stands for: mapped, compatible, translated (`64:ff9b::/96`) or tunnelled (`2002::/16`).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = v6.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(of(high, low))
        }
        // ISATAP: the older address is the last part of one of any network.
        [.., 0 | 0x0200, 0x5efe, high, low] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::101:101",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn addresses_of_machines_and_networks_are_not() {
        let private = [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "3fff:fff::1",
            "2001:0:53aa:64c:0:7bff:80ff:fffe",
            "192.88.99.1",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "169.254.170.2",
            "fd00:ec2::254",
            "fd20:ce::254",
            "240.0.0.1",
            "0.1.2.3",
            "203.0.113.9",
            "198.51.100.1",
            "192.168.0.1",
            "198.19.255.255",
            "100.127.255.255",
            "fec0::1",
            "100::1",
            "5f00::1",
            "64:ff9b:1::a00:1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "::ffff:0:127.0.0.1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:127.0.0.1",
            "2002:a83f:8110::1",
        ];
        for address in private {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn an_older_address_in_a_newer_one_is_what_counts() {
        for address in ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:7f00:1::", "::127.0.0.1"]
        {
            assert!(!public(address), "{address}");
        }
        assert!(public("::ffff:1.1.1.1"));
    }
}
