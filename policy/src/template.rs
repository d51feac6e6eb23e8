//! The text of a new policy, with everything that most policies need, and the reasons.

use crate::diagnostic::Report;
use crate::library::{self, Library};
use crate::policy::Policy;
use crate::resolve;

/// Returns a policy to begin with. It extends `parent`, and can be used as it is.
///
/// # Errors
///
/// A [`Report`] if there is no such parent, if the parent has mistakes, or if `name`
/// cannot be the name of a policy.
pub fn template(library: &dyn Library, name: &str, parent: &str) -> Result<String, Report> {
    if !library::is_name(name) {
        return Err(resolve::no_name(name));
    }
    let base = Policy::load(library, parent)?;
    let value = |table, key| {
        let index = crate::settings::index_of(table, key);
        index.map_or_else(String::new, |index| {
            crate::settings::SETTINGS[index].write(base.value(index))
        })
    };
    let of_parent = match base.description() {
        Some(description) => format!("# {parent}: {description}\n"),
        None => String::new(),
    };
    let opens = base.can_happen("openat", |_, _| true).is_some();
    let connects = base.can_happen("connect", |_, _| true).is_some();
    let files = match opens {
        true => {
            "\n[filesystem]\n# Paths that it may open, each with everything beneath it. Variables are bound at the call.\nread = []\n"
        }
        false => "",
    };
    let network = match connects {
        true => "\n[network]\n# Ports that it may connect to.\ntcp_connect = []\n",
        false => "",
    };
    Ok(format!(
        "#:schema ../.crossmist/policy.schema.json
# What one function may do. What neither this file nor a policy that it extends allows is denied.
format = 1
description = \"What {name} is for, in one line\"

{of_parent}extends = [\"{parent}\"]
{files}{network}
# What the function needs beyond that. Run it on real input: the error for a denied call has the line
# that would allow it. `cargo crossmist learn` records them all at once.
[syscalls]
allow = []

[limits]
memory = \"{memory}\"
cpu_time = \"{cpu}\"
wall_time = \"{wall}\"

# What must stay denied, whatever is added above. It is checked whenever the policy is compiled.
[[expect]]
syscall = \"socket(AF_INET, SOCK_DGRAM, 0)\"
is = \"violation\"

[[expect]]
syscall = \"execve(NULL, NULL, NULL)\"
is = \"killed\"

[[expect]]
path = \"/etc/passwd\"
is = \"denied\"
",
        memory = value("limits", "memory"),
        cpu = value("limits", "cpu_time"),
        wall = match value("limits", "wall_time").as_str() {
            "none" => "10s",
            bounded => bounded,
        },
    ))
}
