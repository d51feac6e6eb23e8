//! The gaps that a policy opens by its grants: the first thing that a reviewer reads.

use crate::Arch;
use crate::lint::is_broad;
use crate::overview::Residual;
use crate::policy::Policy;
use crate::syscalls::groups::CHANGES_ATTRIBUTES;

const READ_FILE: u64 = 1 << 2;
const WRITE_FILE: u64 = 1 << 1;
const PROT_EXEC: u64 = 4;

impl Policy {
    /// Returns the gaps that lines of the policy open, the widest first.
    pub(crate) fn open_by_grants(&self) -> Vec<Residual> {
        let mut open = Vec::new();
        let mut say = |what, note: String| {
            open.push(Residual {
                what,
                is_open: true,
                note,
            });
        };
        for (right, what, done) in [
            (READ_FILE, "much that can be read", "reads"),
            (WRITE_FILE, "much that can be written", "writes"),
        ] {
            let granted = self
                .paths
                .iter()
                .filter(|path| path.rights.bits() & right != 0);
            let broad: Vec<_> = granted
                .map(|path| path.path.value.as_str())
                .filter(|path| is_broad(path))
                .collect();
            if !broad.is_empty() {
                say(
                    what,
                    format!("it {done} all that its user may at {}", broad.join(", ")),
                );
            }
        }
        let executable = ["mmap", "mprotect", "pkey_mprotect"].iter().find(|name| {
            let runs = |condition: &crate::condition::Condition, arch: Arch| {
                condition.admits_bit(arch, 2, PROT_EXEC)
            };
            self.can_happen(name, runs).is_some()
        });
        if let Some(name) = executable {
            say(
                "executable memory",
                format!("`{name}` makes code of data: an attack can bring instructions of its own"),
            );
        }
        let changes = CHANGES_ATTRIBUTES
            .iter()
            .find(|name| self.can_happen(name, |_, _| true).is_some());
        if let Some(name) = changes {
            say(
                "modes and owners of files",
                format!(
                    "`{name}` reaches every file that its user owns: Landlock doesn't restrict it"
                ),
            );
        }
        if self.values.number("limits", "memory").is_none() {
            say(
                "memory",
                "nothing bounds it: it can take what the machine has".to_owned(),
            );
        }
        if !self.values.is_strict("process", "user") {
            say(
                "its identity",
                "it is the program's user: whatever isn't denied above, that user may do"
                    .to_owned(),
            );
        }
        open
    }
}
