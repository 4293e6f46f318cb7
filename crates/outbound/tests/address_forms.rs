//! Properties of the guard over addresses and their spellings: whatever form an address comes in, the
//! verdict is that of the address it means, and what is not plainly public is refused.

use mainspring_outbound::{Guard, Target};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn allowed(address: IpAddr) -> bool {
    Guard::default().judge("x", address, 80).is_ok()
}

/// Written down a second time, by octets, so that a slip in the table is seen.
fn plainly_public(a: Ipv4Addr) -> bool {
    let [o, p, q, _] = a.octets();
    !(o == 0
        || o == 10
        || o == 127
        || o >= 224
        || (o == 100 && (64..128).contains(&p))
        || (o == 169 && p == 254)
        || (o == 172 && (16..32).contains(&p))
        || (o == 192 && p == 168)
        || (o == 192 && p == 0 && (q == 0 || q == 2))
        || (o == 192 && p == 88 && q == 99)
        || (o == 198 && (p == 18 || p == 19))
        || (o == 198 && p == 51 && q == 100)
        || (o == 203 && p == 0 && q == 113))
}

/// Any address, but half of them near the edges of what is special.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    let edges = prop::sample::select(vec![
        [0u8, 0, 0, 0],
        [9, 255, 255, 255],
        [10, 0, 0, 0],
        [11, 0, 0, 0],
        [100, 64, 0, 0],
        [100, 128, 0, 0],
        [127, 0, 0, 1],
        [128, 0, 0, 0],
        [169, 254, 169, 254],
        [169, 255, 0, 0],
        [172, 15, 255, 255],
        [172, 31, 255, 255],
        [172, 32, 0, 0],
        [192, 0, 0, 255],
        [192, 0, 1, 0],
        [192, 0, 2, 9],
        [192, 88, 99, 1],
        [192, 167, 255, 255],
        [192, 168, 0, 0],
        [192, 169, 0, 0],
        [198, 17, 255, 255],
        [198, 18, 0, 0],
        [198, 20, 0, 0],
        [198, 51, 100, 1],
        [203, 0, 113, 255],
        [223, 255, 255, 255],
        [224, 0, 0, 0],
        [255, 255, 255, 255],
    ]);
    let near = (edges, -2i64..3).prop_map(|(octets, step)| {
        Ipv4Addr::from((i64::from(u32::from(Ipv4Addr::from(octets))) + step).clamp(0, u32::MAX.into()) as u32)
    });
    prop_oneof![near, any::<u32>().prop_map(Ipv4Addr::from)]
}

/// Every way a URL may spell an IPv4 address, as browsers and system libraries read it.
fn spellings(a: Ipv4Addr) -> Vec<String> {
    let (n, [o, p, q, r]) = (u32::from(a), a.octets());
    let (low, mid) = (n & 0xff_ffff, n & 0xffff);
    vec![
        a.to_string(),
        format!("{a}."),
        n.to_string(),
        format!("0x{n:x}"),
        format!("0X{n:08X}"),
        format!("0{n:o}"),
        format!("{o}.{low}"),
        format!("{o}.{p}.{mid}"),
        format!("0x{o:x}.0x{p:x}.0x{q:x}.0x{r:x}"),
        format!("0{o:o}.0{p:o}.0{q:o}.0{r:o}"),
        format!("0x{o:x}.{low}"),
        a.to_string().replace('.', "\u{3002}"),
        a.to_string().chars().map(|c| format!("%{:02X}", c as u32)).collect(),
        a.to_string().chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap()).collect(),
        format!("[::ffff:{a}]"),
        format!("[::FFFF:{:x}:{mid:x}]", n >> 16),
        format!("[0:0:0:0:0:ffff:{a}]"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_verdict_is_that_of_the_address_however_it_is_spelled(a in v4()) {
        let public = plainly_public(a);
        prop_assert_eq!(allowed(a.into()), public, "{}", a);
        for spelling in spellings(a) {
            let target = Target::parse(&format!("http://{spelling}/")).unwrap();
            let address = target.address();
            prop_assert!(address.is_some(), "{} became the name {}", spelling, target.host());
            let address = address.unwrap();
            prop_assert_eq!(address.to_canonical(), IpAddr::V4(a), "{}", &spelling);
            prop_assert_eq!(allowed(address), public, "{}", spelling);
        }
    }

    #[test]
    fn an_address_inside_another_decides_or_the_form_is_refused(a in v4()) {
        let n = u128::from(u32::from(a));
        let allowed = |bits: u128| allowed(Ipv6Addr::from(bits).into());
        // Mapped and NAT64: judged by what is inside.
        prop_assert_eq!(allowed(0xffff << 32 | n), plainly_public(a));
        prop_assert_eq!(allowed(0x0064_ff9b << 96 | n), plainly_public(a));
        // Compatible, translated, local NAT64, 6to4, Teredo (plain and inverted), ISATAP of a private net.
        prop_assert!(!allowed(n));
        prop_assert!(!allowed(0xffff << 48 | n));
        prop_assert!(!allowed(0x0064_ff9b_0001 << 80 | n));
        prop_assert!(!allowed(0x2002 << 112 | n << 80 | 1));
        prop_assert!(!allowed(0x2001 << 112 | n));
        prop_assert!(!allowed(0x2001 << 112 | n << 64 | (!n & 0xffff_ffff)));
        prop_assert!(!allowed(0xfe80 << 112 | 0x5efe << 32 | n));
    }

    #[test]
    fn of_ipv6_only_global_unicast_is_open(bits in any::<u128>(), top in any::<u16>()) {
        for bits in [bits, bits & !(0xffff << 112) | u128::from(top) << 112] {
            let address = Ipv6Addr::from(bits);
            if allowed(address.into()) {
                let [first, second, ..] = address.segments();
                let inside = address.to_ipv4_mapped().is_some() || bits >> 32 == 0x0064_ff9b << 64;
                prop_assert!(inside || first & 0xe000 == 0x2000, "{}", address);
                prop_assert!(inside || first != 0x2002 && !(first == 0x2001 && (second < 0x200 || second == 0xdb8)));
                prop_assert!(inside || !(first == 0x3fff && second < 0x1000), "{}", address);
            }
        }
    }

    #[test]
    fn no_text_panics_and_what_is_parsed_means_one_thing(text in "(https?:)?[/\\\\]{0,3}[\\PC]{0,40}") {
        let Ok(target) = Target::parse(&text) else { return Ok(()) };
        // Read again from what is used, it is the same: nobody downstream can see another host.
        let again = Target::parse(target.as_str()).unwrap();
        prop_assert_eq!(&again, &target);
        prop_assert!(!target.authority().contains(['@', '/', '\\', ' ', '#', '?']), "{:?}", target);
        prop_assert!(matches!(target.as_str().split(':').next(), Some("http" | "https")));
    }
}
