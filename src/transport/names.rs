//! The names of messages of several packets.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::random;

/// The secret from which the names of this process's messages are made, once they have to be secret.
static SECRET: OnceLock<[u64; 2]> = OnceLock::new();

/// Makes names that nobody can guess from now on, as shared memory needs them.
pub(super) fn make_secret() -> io::Result<()> {
    if SECRET.get().is_none() {
        let secret = [random::number()?, random::number()?];
        SECRET.get_or_init(|| secret);
    }
    Ok(())
}

/// Returns a name for a message of several packets, which no other process that shares the socket
/// uses at the same time. A piece in a packet is only bytes, so it guards against confusion there.
pub(super) fn name() -> u64 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Never 0: a process number is at least 1.
    let plain = u64::from(std::process::id()) << 32 | u64::from(count);
    match SECRET.get() {
        None => plain,
        Some(secret) => {
            let mut hasher = DefaultHasher::new();
            (secret, plain).hash(&mut hasher);
            hasher.finish().max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names_tell_nothing_of_each_other() {
        make_secret().unwrap();
        let names: Vec<u64> = (0..1000).map(|_| name()).collect();
        let process = u64::from(std::process::id());
        assert!(names.iter().all(|name| *name != 0));
        assert!(names.iter().filter(|name| **name >> 32 == process).count() < 3);
        let steps = names.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        let steps: std::collections::BTreeSet<_> = steps.collect();
        assert_eq!(steps.len(), names.len() - 1);
    }
}
