//! The options of a systemd unit that have to do with confinement (systemd.exec(5),
//! systemd.resource-control(5)).
//!
//! The unit is read whole first: assignments add up, empty ones begin anew, and what is taken away
//! counts wherever it stands.

mod filter;
mod lines;
mod paths;
mod restrict;
mod sets;
mod sockets;
mod units;

use std::collections::BTreeMap;

use self::filter::Filter;
use self::lines::is_on;
use self::paths::Tree;
use super::source::Source;

/// Other options of a service, which confine nothing.
const OTHER: &[&str] = &[
    "Type",
    "BusName",
    "PIDFile",
    "Sockets",
    "RemainAfterExit",
    "GuessMainPID",
    "NotifyAccess",
    "KillMode",
    "KillSignal",
    "RestartKillSignal",
    "SendSIGHUP",
    "SendSIGKILL",
    "FinalKillSignal",
    "WatchdogSec",
    "WatchdogSignal",
    "SuccessExitStatus",
    "RootDirectoryStartOnly",
    "NonBlocking",
    "FileDescriptorStoreMax",
    "OOMPolicy",
    "OOMScoreAdjust",
    "UtmpIdentifier",
    "UtmpMode",
    "IgnoreSIGPIPE",
    "TTYPath",
    "TTYReset",
    "TTYVHangup",
    "RuntimeMaxSecRandomized",
    "ReloadSignal",
    "ExitType",
    "Slice",
    "Delegate",
    "IOAccounting",
    "MemoryAccounting",
    "CPUAccounting",
    "TasksAccounting",
    "IPAccounting",
    "BlockIOAccounting",
];
const OTHER_BEGINNINGS: &[&str] = &[
    "Exec", "Restart", "Timeout", "Standard", "Syslog", "LogLevel", "Start", "X-",
];

/// Options that a confined child fulfils anyway.
const ANYWAY: &[&str] = &[
    "NoNewPrivileges",
    "PrivateUsers",
    "PrivateIPC",
    "PrivateMounts",
    "PrivatePIDs",
    "RemoveIPC",
    "KeyringMode",
    "SecureBits",
    "RestrictFileSystems",
    "MountFlags",
    "MountAPIVFS",
    "RuntimeDirectoryMode",
    "StateDirectoryMode",
    "CacheDirectoryMode",
    "LogsDirectoryMode",
    "ConfigurationDirectoryMode",
    "RuntimeDirectoryPreserve",
];

/// Options that are lists: an empty assignment begins anew.
const LISTS: &[&str] = &[
    "SystemCallFilter",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "RuntimeDirectory",
    "StateDirectory",
    "CacheDirectory",
    "LogsDirectory",
    "ConfigurationDirectory",
    "PassEnvironment",
    "UnsetEnvironment",
    "Environment",
    "EnvironmentFile",
    "SocketBindAllow",
    "SocketBindDeny",
    "IPAddressAllow",
    "IPAddressDeny",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "SystemCallArchitectures",
    "SystemCallLog",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "RestrictNetworkInterfaces",
    "MountImages",
    "ExtensionImages",
    "ExtensionDirectories",
    "DeviceAllow",
    "LoadCredential",
    "SetCredential",
    "SupplementaryGroups",
];

/// Older names of options.
const RENAMED: &[(&str, &str)] = &[
    ("ReadWriteDirectories", "ReadWritePaths"),
    ("ReadOnlyDirectories", "ReadOnlyPaths"),
    ("InaccessibleDirectories", "InaccessiblePaths"),
    ("MemoryLimit", "MemoryMax"),
    ("Capabilities", "CapabilityBoundingSet"),
];

/// The last word of each option: every assignment of a list since the last empty one, the last
/// assignment of another.
struct Unit(BTreeMap<String, Vec<String>>);

impl Unit {
    fn of(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The one value of an option; empty if it has none.
    fn value(&self, key: &str) -> &str {
        self.of(key).last().map_or("", String::as_str)
    }

    fn is_on(&self, key: &str) -> bool {
        is_on(self.value(key))
    }

    fn take(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).unwrap_or_default()
    }
}

pub(super) fn read(text: &str, source: &mut Source) {
    let mut unit = gather(text, source);
    source.remarks.push(format!(
        "Sets of calls are those of systemd {}. Users, groups and symbolic links are not taken into account.",
        sets::VERSION
    ));
    let mut filter = Filter::default();
    for value in unit.take("SystemCallFilter") {
        filter.assign(&value, source);
    }
    filter.finish(source);
    error_number(&unit, source);
    restrict::calls(&unit, source);
    sockets::read(&unit, source);
    files(&unit, source);
    limits(&unit, source);
    environment(&unit, source);
    rest(&unit, source);
}

/// Reads the whole file.
fn gather(text: &str, source: &mut Source) -> Unit {
    let (assignments, strange) = lines::read(text);
    for line in strange {
        source.note(line, "not an option");
    }
    let mut unit = BTreeMap::new();
    for own in assignments {
        let text = format!("{}={}", own.key, own.value);
        match own.section.as_str() {
            "Service" => {}
            "" => {
                source.note(
                    text,
                    "outside of every section, where systemd passes over it",
                );
                continue;
            }
            "Socket" | "Mount" | "Swap" | "Slice" | "Scope" => {
                source.note(
                    text,
                    format!("in [{}]: only [Service] is translated", own.section),
                );
                continue;
            }
            _ => continue,
        }
        let renamed = RENAMED.iter().find(|(old, _)| *old == own.key);
        let key = renamed.map_or(own.key.as_str(), |(_, new)| new);
        let values: &mut Vec<String> = unit.entry(key.to_owned()).or_default();
        if own.value.is_empty() || !LISTS.contains(&key) {
            values.clear();
        }
        if !own.value.is_empty() {
            values.push(own.value);
        }
    }
    Unit(unit)
}

fn error_number(unit: &Unit, source: &mut Source) {
    let value = unit.value("SystemCallErrorNumber");
    match value {
        "" | "kill" => {}
        _ => match filter::errno(value) {
            Some(number) => source.answer_rest(number),
            None => source.note(
                format!("SystemCallErrorNumber={value}"),
                "no error number; what isn't allowed is a violation",
            ),
        },
    }
}

/// Everything that changes which files the unit sees, then what it asks for.
fn files(unit: &Unit, source: &mut Source) {
    let mut tree = Tree::default();
    let dynamic = unit.is_on("DynamicUser");
    for key in [
        "RootDirectory",
        "RootImage",
        "RootVerity",
        "RootHash",
        "MountImages",
        "ExtensionImages",
        "ExtensionDirectories",
        "RootEphemeral",
        "RootMStack",
    ] {
        if !unit.value(key).is_empty() {
            tree.is_elsewhere(key);
        }
    }
    let system = match unit.value("ProtectSystem") {
        "strict" => "strict",
        _ if dynamic => "strict",
        "full" => "full",
        value if is_on(value) && !["yes", "true", "1", "on", "y", "t"].contains(&value) => "strict",
        value if is_on(value) => "yes",
        _ => "",
    };
    match system {
        "yes" => tree.protected(&["/usr", "/boot", "/efi"]),
        "full" => tree.protected(&["/usr", "/boot", "/efi", "/etc"]),
        "strict" => {
            tree.protected(&["/"]);
            // Other options are about these.
            tree.exempt(&["/proc", "/sys", "/dev", "/home", "/root", "/run/user"]);
        }
        _ => {}
    }
    let homes = &["/home", "/root", "/run/user"];
    match unit.value("ProtectHome") {
        "read-only" => tree.protected(homes),
        "tmpfs" => tree.replaced(homes),
        value if is_on(value) => tree.hidden(homes),
        _ if dynamic => tree.protected(homes),
        _ => {}
    }
    if dynamic || unit.is_on("PrivateTmp") {
        tree.replaced(&["/tmp", "/var/tmp"]);
    }
    if unit.is_on("PrivateDevices") {
        tree.replaced(&["/dev"]);
    }
    if !["", "default"].contains(&unit.value("ProtectProc"))
        || !["", "all"].contains(&unit.value("ProcSubset"))
        || unit.is_on("PrivatePIDs")
    {
        tree.replaced(&["/proc"]);
    }
    if unit.is_on("ProtectKernelTunables") {
        tree.protected(&["/proc", "/sys"]);
        tree.hidden(&["/proc/kallsyms", "/proc/kcore"]);
    }
    if unit.is_on("ProtectControlGroups") {
        tree.protected(&["/sys/fs/cgroup"]);
        tree.replaced(match unit.value("ProtectControlGroups") {
            "private" | "strict" => &["/sys/fs/cgroup"],
            _ => &[],
        });
    }
    if unit.is_on("ProtectKernelModules") {
        tree.hidden(&["/usr/lib/modules"]);
    }
    if unit.is_on("ProtectKernelLogs") {
        tree.hidden(&["/proc/kmsg", "/dev/kmsg"]);
    }
    if unit.is_on("ProtectClock") {
        tree.hidden(&["/dev/rtc", "/dev/rtc0"]);
    }
    for value in unit.of("InaccessiblePaths") {
        tree.inaccessible("InaccessiblePaths", value, source);
        source.note(
            format!("InaccessiblePaths={value}"),
            "a policy can't deny a path: what holds it or is beneath it isn't granted",
        );
    }
    for value in unit.of("TemporaryFileSystem") {
        tree.temporary("TemporaryFileSystem", value, source);
        source.note(
            format!("TemporaryFileSystem={value}"),
            "a policy mounts nothing: what holds it or is beneath it isn't granted",
        );
    }
    for (key, writable) in [("ReadOnlyPaths", false), ("ReadWritePaths", true)] {
        for value in unit.of(key) {
            tree.allow(key, value, writable, source);
        }
    }
    for (key, writable) in [("BindReadOnlyPaths", false), ("BindPaths", true)] {
        for value in unit.of(key) {
            tree.bind(key, value, writable, source);
        }
    }
    for (key, under, writable) in [
        ("RuntimeDirectory", "/run", true),
        ("StateDirectory", "/var/lib", true),
        ("CacheDirectory", "/var/cache", true),
        ("LogsDirectory", "/var/log", true),
        ("ConfigurationDirectory", "/etc", false),
    ] {
        for value in unit.of(key) {
            tree.own(key, value, under, writable, source);
        }
    }
    tree.finish(source);
}

fn limits(unit: &Unit, source: &mut Source) {
    let mut known = BTreeMap::new();
    for (option, key) in [
        ("MemoryMax", "memory"),
        ("LimitDATA", "memory"),
        ("LimitAS", "address_space"),
        ("LimitFSIZE", "file_size"),
        ("LimitCORE", "core"),
        ("LimitMEMLOCK", "locked_memory"),
        ("LimitSTACK", "stack"),
    ] {
        number(unit, option, source, |source, value| {
            let bytes = units::size(value)?;
            source.limit(key, &mut known, bytes, units::in_bytes(bytes));
            Some(())
        });
    }
    number(unit, "LimitNOFILE", source, |source, value| {
        let number = value.parse().ok().filter(|number| *number <= 1 << 20)?;
        source.limit("open_files", &mut known, number, number.to_string());
        Some(())
    });
    for (option, key) in [("LimitCPU", "cpu_time"), ("RuntimeMaxSec", "wall_time")] {
        number(unit, option, source, |source, value| {
            let time = units::time(value).filter(|time| *time >= 1000)?;
            source.limit(key, &mut known, time, units::in_time(time));
            Some(())
        });
    }
}

/// Reads a limit; what can't be read leaves the one that a policy has by itself.
fn number(
    unit: &Unit,
    option: &str,
    source: &mut Source,
    mut take: impl FnMut(&mut Source, &str) -> Option<()>,
) {
    let value = unit.value(option);
    if !value.is_empty() && take(source, units::hard(value)).is_none() {
        let reason = match units::hard(value) {
            "infinity" => "the limit that a policy has by itself stays: to lift it, say \"none\"",
            _ => "no limit that a policy has; the one that it has by itself stays",
        };
        source.note(format!("{option}={value}"), reason);
    }
}

fn environment(unit: &Unit, source: &mut Source) {
    let words = |key: &str| {
        let values = unit.of(key).iter();
        values
            .flat_map(|value| lines::words(value).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let unset = words("UnsetEnvironment");
    for name in words("PassEnvironment") {
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name && !unset.contains(&name) {
            source.inherit.insert(name);
        } else {
            source.note(
                format!("PassEnvironment={name}"),
                "not a variable that is taken over",
            );
        }
    }
}

/// Lists the options that have not been read.
fn rest(unit: &Unit, source: &mut Source) {
    const READ: &[&str] = &[
        "SystemCallErrorNumber",
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectProc",
        "ProcSubset",
        "ProtectKernelTunables",
        "ProtectControlGroups",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectClock",
        "ProtectHostname",
        "InaccessiblePaths",
        "TemporaryFileSystem",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "BindPaths",
        "BindReadOnlyPaths",
        "RuntimeDirectory",
        "StateDirectory",
        "CacheDirectory",
        "LogsDirectory",
        "ConfigurationDirectory",
        "MemoryMax",
        "LimitDATA",
        "LimitAS",
        "LimitFSIZE",
        "LimitCORE",
        "LimitMEMLOCK",
        "LimitSTACK",
        "LimitNOFILE",
        "LimitCPU",
        "RuntimeMaxSec",
        "PassEnvironment",
        "MemoryDenyWriteExecute",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "RestrictNamespaces",
        "LockPersonality",
        "RestrictAddressFamilies",
        "SocketBindAllow",
        "PrivateNetwork",
    ];
    for (key, values) in &unit.0 {
        let is_other = OTHER.contains(&key.as_str())
            || OTHER_BEGINNINGS.iter().any(|own| key.starts_with(own));
        if is_other || READ.contains(&key.as_str()) || ANYWAY.contains(&key.as_str()) {
            continue;
        }
        let reason = match key.as_str() {
            "CapabilityBoundingSet" | "AmbientCapabilities" => {
                "no capability stays, unless `[capabilities] keep` gives a reason"
            }
            "ExecPaths" | "NoExecPaths" => {
                "nothing is executed, unless `[filesystem] execute` names it"
            }
            "SystemCallArchitectures" => "the policy is for x86_64 and aarch64, and holds on both",
            "User" | "Group" | "SupplementaryGroups" | "DynamicUser" => {
                "who the child is, `[process] user` says; files that only this user may use are no concern of \
                 the policy"
            }
            "Environment" => "to set variables, use `[environment] set`",
            "TasksMax" | "LimitNPROC" => "starting threads is `@threads` with `[limits] threads`",
            _ => "it has no counterpart here",
        };
        for value in values {
            source.note(format!("{key}={value}"), reason);
        }
    }
}
