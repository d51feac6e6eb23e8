//! Random numbers from the kernel.

use std::io;

/// Returns a random number, which differs in each copy of this process.
pub(crate) fn number() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: writes as many bytes as there are.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        8 => Ok(u64::from_ne_bytes(bytes)),
        -1 => Err(io::Error::last_os_error()),
        // So few bytes come together, or none (getrandom(2)).
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
