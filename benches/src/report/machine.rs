//! The machine of a measurement, and the releases that were compared.

use std::fs;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) kernel: String,
    pub(super) optimised: bool,
    /// The crates whose releases matter, as this package's lock file has them.
    pub(super) packages: Vec<String>,
}

const NAMED: [&str; 6] = [
    "crossmist",
    "ipc-channel",
    "postcard",
    "procspawn",
    "rkyv",
    "tokio",
];

impl Machine {
    pub(super) fn here() -> Self {
        Self {
            processor: processor().unwrap_or_else(|| "unknown processor".into()),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or("unknown".into(), |text| text.trim().into()),
            optimised: !cfg!(debug_assertions),
            packages: packages(include_str!("../../Cargo.lock")),
        }
    }

    pub(super) fn describe(&self) -> String {
        let Self {
            processor, kernel, ..
        } = self;
        let build = if self.optimised {
            ""
        } else {
            ", NOT OPTIMISED"
        };
        let packages = self.packages.join(", ");
        format!("{processor}, Linux {kernel}{build}; {packages}")
    }
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn packages(lock: &str) -> Vec<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        let field = |line: &str, key: &str| {
            let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
            Some(value.strip_suffix('"')?.to_owned())
        };
        if let Some(name) = field(line, "name")
            && NAMED.contains(&name.as_str())
            && let Some(version) = lines.next().and_then(|line| field(line, "version"))
        {
            // Of two releases the later is ours, the earlier some peer's.
            found.retain(|(other, _)| *other != name);
            found.push((name, version));
        }
    }
    let named = found.into_iter();
    named
        .map(|(name, version)| format!("{name} {version}"))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn releases_are_read_from_the_lock_file() {
        let packages = super::packages(include_str!("../../Cargo.lock"));
        assert!(packages.iter().any(|name| name.starts_with("procspawn 1.")));
    }
}
