//! A system call by its number.

/// Makes a system call with these arguments, as they are.
///
/// # Safety
///
/// The call must be sound in this process; or the process must exist for this call alone, so that what
/// breaks by it is a process that was started to be broken, and whose parent takes what it says as the
/// word of an attacker.
pub(crate) unsafe fn call(number: u32, arguments: [u64; 6]) -> Result<i64, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller vouches for the call, or for the process.
    let result = unsafe { libc::syscall(number.into(), a, b, c, d, e, f) };
    match result {
        -1 => Err(nix::Error::last_raw()),
        result => Ok(result),
    }
}
