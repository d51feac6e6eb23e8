//! A confined child's reports on itself, and the packets between program and keeper.
#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use crossmist::{SandboxPolicy, fuzzing};

/// Policies that have something to say on most calls, and on few.
static POLICIES: LazyLock<Vec<SandboxPolicy>> = LazyLock::new(|| {
    let builtin = |name| SandboxPolicy::builtin(name).expect("a built-in policy");
    ["parser", "network-client", "unconfined"]
        .map(builtin)
        .into()
});

fn run(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    match kind % 3 {
        0 => POLICIES
            .iter()
            .for_each(|policy| fuzzing::note(input, policy)),
        1 => {
            let mut packets = Vec::new();
            let mut rest = input;
            while let Some((length, more)) = rest.split_first() {
                let (packet, more) = more.split_at(usize::from(*length).min(more.len()));
                packets.push(packet);
                rest = more;
            }
            fuzzing::replies(&packets, &POLICIES[0]);
        }
        _ => fuzzing::keeper(input),
    }
}

crossmist_fuzz::target!("reports", run);
