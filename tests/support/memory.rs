//! Writes to memory, until there is no more.

pub(crate) const MIB: usize = 1 << 20;

/// Writes to all the memory that this process is given, at most so much, and returns how much that was.
pub(crate) fn fill(most: usize) -> usize {
    let mut parts = Vec::new();
    while parts.len() * MIB < most {
        let mut part = Vec::new();
        if part.try_reserve_exact(MIB).is_err() {
            break;
        }
        part.resize(MIB, 1u8);
        parts.push(std::hint::black_box(part));
    }
    parts.len() * MIB
}

/// Does the same, but takes for granted that it is given memory.
pub(crate) fn fill_without_a_doubt(most: usize) -> usize {
    let parts: Vec<_> = (0..most / MIB)
        .map(|_| std::hint::black_box(vec![1u8; MIB]))
        .collect();
    parts.len() * MIB
}

/// How much of the memory that this process shares with its children is in use.
pub(crate) fn shared_resident() -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut resident = 0;
    let mut is_shared = false;
    for line in maps.lines() {
        if line
            .split(' ')
            .next()
            .is_some_and(|range| range.contains('-'))
        {
            is_shared = line.contains("memfd:crossmist-slots");
        } else if is_shared && let Some(size) = line.strip_prefix("Rss:") {
            resident += size
                .trim()
                .trim_end_matches(" kB")
                .parse::<usize>()
                .unwrap()
                << 10;
        }
    }
    resident
}
