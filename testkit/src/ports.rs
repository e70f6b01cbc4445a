//! Reservation of loopback ports across parallel tests.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Ports below the range that Linux assigns to outgoing connections.
const PORTS: Range<u16> = 20_000..30_000;

/// Returns a loopback port that is free and reserved for this process until it ends, so that a test may
/// start, stop and restart a server on it, or rely on its being closed.
///
/// A port that is only probed can be taken by a test that runs in parallel before the server binds it. So
/// each port has a lock file in the folder for temporary files, which the system unlocks when the process
/// ends.
///
/// # Panics
/// If no port is free or the lock files cannot be written.
pub fn free_port() -> u16 {
    let start = rand::random_range(PORTS);
    (start..PORTS.end)
        .chain(PORTS)
        .find(|port| is_free(*port) && reserve(*port))
        .expect("a free port")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Locks the port's file. The lock belongs to the opened file, so it also excludes other tests of the same
/// process.
fn reserve(port: u16) -> bool {
    let folder = std::env::temp_dir().join("tasker-test-ports");
    std::fs::create_dir_all(&folder).expect("a writable folder for temporary files");
    let file: File = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(port.to_string()))
        .expect("a lock file");
    let reserved = file.try_lock().is_ok();
    if reserved {
        std::mem::forget(file); // keeps it open, and so locked
    }
    reserved
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_given_out_once_even_while_nothing_listens_on_it() {
        let ports: HashSet<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 200);
        let port = *ports.iter().next().expect("a port");
        assert!(!reserve(port));
    }
}
