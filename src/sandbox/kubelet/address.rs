//! An address of its own for each pod, in 127.0.0.0/8. On Linux all of them are there without being configured.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

/// How many addresses are tried; of sixteen million some are bound to be free.
const ATTEMPTS: usize = 100;

/// The addresses that this kubelet has given out.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(Arc<Mutex<HashSet<Ipv4Addr>>>);

/// An address that is a pod's until this is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    pub address: Ipv4Addr,
    given: Addresses,
}

impl Addresses {
    /// Lends an address on which all of `ports` can be bound now. Others on this machine choose at random as well, so
    /// that two sandboxes at once do not meet.
    pub fn lend(&self, ports: &[u16]) -> Option<Lent> {
        for _ in 0..ATTEMPTS {
            let [.., a, b, c] = ulid::Ulid::generate().random().to_be_bytes();
            let address = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
            if ports.iter().any(|port| TcpListener::bind((address, *port)).is_err()) {
                continue;
            }
            if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address) {
                return Some(Lent {
                    address,
                    given: self.clone(),
                });
            }
        }
        None
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.given
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_come_back() {
        let addresses = Addresses::default();
        let lent: Vec<_> = (0..20).map(|_| addresses.lend(&[8080]).unwrap()).collect();
        let different: HashSet<_> = lent.iter().map(|lent| lent.address).collect();
        assert_eq!(different.len(), 20);
        assert!(different.iter().all(Ipv4Addr::is_loopback) && !different.contains(&Ipv4Addr::LOCALHOST));
        drop(lent);
        assert!(addresses.0.lock().unwrap().is_empty());
    }
}
