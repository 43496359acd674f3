//! How many connections each address has: nobody may take all the places there are.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Counts by address; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that is counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Guest {
    of: IpAddr,
    crowd: Crowd,
}

impl Crowd {
    /// Counts one more; `None` if this address has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr, most: usize) -> Option<Guest> {
        let of = network(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(of).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest { of, crowd: self.clone() })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

/// What one client has: an address of version 4, or a network of 64 bits of version 6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_share_and_gets_it_back() {
        let crowd = Crowd::default();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = crowd.enter(address("192.0.2.1"), 2).expect("a place");
        let _second = crowd.enter(address("::ffff:192.0.2.1"), 2).expect("a place");
        assert!(crowd.enter(address("192.0.2.1"), 2).is_none(), "the same by another spelling");
        assert!(crowd.enter(address("192.0.2.2"), 2).is_some());
        drop(first);
        assert!(crowd.enter(address("192.0.2.1"), 2).is_some());
        let _six = crowd.enter(address("2001:db8::1"), 1).expect("a place");
        assert!(crowd.enter(address("2001:db8::2"), 1).is_none(), "one client has a whole network");
        assert!(crowd.enter(address("2001:db8:0:1::1"), 1).is_some());
    }

    #[test]
    fn who_has_left_costs_nothing() {
        let crowd = Crowd::default();
        for n in 0..100 {
            drop(crowd.enter(IpAddr::from([10, 0, 0, n]), 1));
        }
        assert!(crowd.0.lock().expect("nobody panics").is_empty());
    }
}
