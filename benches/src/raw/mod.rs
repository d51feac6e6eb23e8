//! The raw floors: what the kernel asks for the work, with nothing around it.

pub(crate) mod early;
pub(crate) mod process;
pub(crate) mod slots;
pub(crate) mod socket;

/// The numbers that a floor child adds.
pub(crate) type Summands = (u64, u64);

/// The request that `early`'s `add` role answers.
pub(crate) fn encode((a, b): Summands) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_ne_bytes());
    bytes[8..].copy_from_slice(&b.to_ne_bytes());
    bytes
}

/// Two summands and their sum, different from one call to the next.
pub(crate) fn next_sum(counter: &mut u64) -> (Summands, u64) {
    *counter += 1;
    let summands = (*counter, counter.wrapping_mul(0x9e37_79b9));
    (summands, summands.0.wrapping_add(summands.1))
}
