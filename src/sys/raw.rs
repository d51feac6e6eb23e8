//! A system call by its number.

/// Makes a system call with these arguments, as they are.
///
/// For a child that exists for this one call, whose memory nobody else uses and whose answer is only
/// data. It tries what a policy is expected to deny or to allow.
pub(crate) fn call(number: u32, arguments: [u64; 6]) -> Result<i64, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: for most calls none can be given: the arguments are whatever an expectation says. What
    // breaks by it is this process, which was started to be broken; its parent takes its answer as
    // that of an attacker, and it ends whether or not it answers.
    let result = unsafe { libc::syscall(number.into(), a, b, c, d, e, f) };
    match result {
        -1 => Err(nix::Error::last_raw()),
        result => Ok(result),
    }
}
