//! The options of a unit of systemd's that have to do with confinement (systemd.exec(5)).

use crossmist_policy::syscalls;

use super::draft::Draft;

pub(super) fn read(text: &str, draft: &mut Draft) {
    let joined = text.replace("\\\n", " ");
    let mut in_service = true;
    for line in joined.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            in_service = line == "[Service]";
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            draft.leave(line, "not an option");
            continue;
        };
        if in_service {
            option(key.trim(), value.trim(), draft);
        }
    }
}

fn option(key: &str, value: &str, draft: &mut Draft) {
    let whole = format!("{key}={value}");
    let is_on = ["yes", "true", "1", "on"].contains(&value);
    match key {
        "SystemCallFilter" => filter(value, draft),
        "ReadOnlyPaths" | "BindReadOnlyPaths" => paths(key, value, "read", draft),
        "ReadWritePaths" | "BindPaths" => {
            paths(key, value, "read", draft);
            paths(key, value, "write", draft);
        }
        "ExecPaths" | "NoExecPaths" | "InaccessiblePaths" => {
            draft.leave(
                &whole,
                "paths can't be denied: what isn't granted isn't there",
            );
        }
        "SocketBindAllow" => match value.rsplit(':').next().map(str::parse::<u16>) {
            Some(Ok(port)) if !value.contains("udp") => {
                draft.list("network", "tcp_bind", &port.to_string())
            }
            _ => draft.leave(&whole, "only TCP ports can be granted"),
        },
        "RestrictAddressFamilies" => {
            draft.leave(&whole, "sockets come with [network]: name the ports")
        }
        "CapabilityBoundingSet" | "AmbientCapabilities" if !value.is_empty() => {
            draft.leave(
                &whole,
                "no capability stays, unless `[capabilities] keep` gives a reason",
            );
        }
        "MemoryMax" | "LimitDATA" => size("memory", &whole, value, draft),
        "LimitAS" => size("address_space", &whole, value, draft),
        "LimitFSIZE" => size("file_size", &whole, value, draft),
        "LimitCORE" => size("core", &whole, value, draft),
        "LimitMEMLOCK" => size("locked_memory", &whole, value, draft),
        "LimitSTACK" => size("stack", &whole, value, draft),
        "LimitNOFILE" => count("open_files", &whole, value, draft),
        "LimitCPU" => time("cpu_time", &whole, value, draft),
        "RuntimeMaxSec" => time("wall_time", &whole, value, draft),
        "PassEnvironment" => value
            .split_whitespace()
            .for_each(|name| draft.list("environment", "inherit", name)),
        "MemoryDenyWriteExecute" if is_on => {
            draft.value("process", "deny_write_execute", "true".to_owned())
        }
        // What a confined child has anyway.
        "NoNewPrivileges"
        | "ProtectSystem"
        | "ProtectHome"
        | "PrivateTmp"
        | "PrivateDevices"
        | "PrivateNetwork"
        | "ProtectKernelTunables"
        | "ProtectKernelModules"
        | "ProtectKernelLogs"
        | "ProtectControlGroups"
        | "ProtectClock"
        | "ProtectHostname"
        | "ProtectProc"
        | "RestrictNamespaces"
        | "RestrictRealtime"
        | "RestrictSUIDSGID"
        | "LockPersonality"
        | "SystemCallArchitectures"
        | "PrivateUsers"
        | "DynamicUser"
        | "RemoveIPC"
        | "KeyringMode"
        | "CapabilityBoundingSet"
        | "AmbientCapabilities"
        | "MemoryDenyWriteExecute" => {}
        "SystemCallErrorNumber"
        | "SystemCallLog"
        | "Environment"
        | "TasksMax"
        | "LimitNPROC"
        | "IPAddressDeny"
        | "IPAddressAllow"
        | "RestrictFileSystems"
        | "SocketBindDeny"
        | "PrivateIPC"
        | "ProcSubset"
        | "TemporaryFileSystem"
        | "RootDirectory"
        | "RootImage" => {
            draft.leave(&whole, "it has no counterpart here");
        }
        // What a unit has besides.
        _ => {}
    }
}

/// `~` takes away, `@` is a set, behind `:` stands an error number.
fn filter(value: &str, draft: &mut Draft) {
    let (takes, list) = match value.strip_prefix('~') {
        Some(list) => (true, list),
        None => (false, value),
    };
    for word in list.split_whitespace() {
        let (name, errno) = word
            .split_once(':')
            .map_or((word, None), |(name, errno)| (name, Some(errno)));
        if name.starts_with('@') {
            match (takes, set(name)) {
                (false, Some(names)) => names.iter().for_each(|name| {
                    // A name of another architecture is no loss in a set.
                    if syscalls::find(name).is_some() {
                        draft.allow(name);
                    }
                }),
                (true, Some(names)) => names
                    .iter()
                    .filter(|name| syscalls::find(name).is_some())
                    .for_each(|name| draft.deny(name)),
                (_, None) => draft.leave(
                    name,
                    "this set of systemd's isn't known here: name the calls",
                ),
            }
            continue;
        }
        match (takes, errno) {
            (true, Some(errno)) => draft.answer(name, errno),
            (true, None) => draft.deny(name),
            (false, _) => draft.allow(name),
        }
    }
}

/// The sets that services are made of, as systemd 252 has them.
#[rustfmt::skip] // A table.
fn set(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "@basic-io" => &["close", "close_range", "dup", "dup2", "dup3", "lseek", "pread64", "preadv", "preadv2",
            "pwrite64", "pwritev", "pwritev2", "read", "readv", "write", "writev"],
        "@io-event" => &["epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
            "eventfd", "eventfd2", "poll", "ppoll", "pselect6", "select"],
        "@sync" => &["fdatasync", "fsync", "msync", "sync", "sync_file_range", "syncfs"],
        "@timer" => &["alarm", "getitimer", "setitimer", "timer_create", "timer_delete", "timer_getoverrun",
            "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "times"],
        "@signal" => &["rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigsuspend", "rt_sigtimedwait",
            "sigaltstack", "signalfd", "signalfd4"],
        "@network-io" => &["accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt",
            "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt",
            "shutdown", "socket", "socketpair"],
        "@default" => &["arch_prctl", "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "execve", "exit",
            "exit_group", "futex", "get_robust_list", "getegid", "geteuid", "getgid", "getgroups", "getpgid",
            "getpgrp", "getpid", "getppid", "getrandom", "getresgid", "getresuid", "getrlimit", "getsid",
            "gettid", "gettimeofday", "getuid", "membarrier", "mmap", "mprotect", "munmap", "nanosleep", "pause",
            "prlimit64", "restart_syscall", "rseq", "rt_sigreturn", "sched_getaffinity", "sched_yield",
            "set_robust_list", "set_tid_address", "time"],
        "@chown" => &["chown", "fchown", "fchownat", "lchown"],
        "@keyring" => &["add_key", "keyctl", "request_key"],
        "@memlock" => &["mlock", "mlock2", "mlockall", "munlock", "munlockall"],
        "@module" => &["delete_module", "finit_module", "init_module"],
        "@mount" => &["chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
            "open_tree", "pivot_root", "umount2"],
        "@debug" => &["perf_event_open", "pidfd_getfd", "ptrace"],
        "@clock" => &["adjtimex", "clock_adjtime", "clock_settime", "settimeofday"],
        "@reboot" => &["kexec_file_load", "kexec_load", "reboot"],
        "@swap" => &["swapoff", "swapon"],
        "@raw-io" => &["ioperm", "iopl"],
        "@aio" => &["io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
            "io_uring_enter", "io_uring_register", "io_uring_setup"],
        "@setuid" => &["setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid"],
        _ => return None,
    })
}

fn paths(key: &str, value: &str, kind: &'static str, draft: &mut Draft) {
    for path in value.split_whitespace() {
        // `-` passes over what is missing, `+` is about the root; behind `:` stands where it is bound.
        let bare = path
            .trim_start_matches(['-', '+'])
            .split(':')
            .next()
            .unwrap_or_default();
        if bare.starts_with('/') && !bare.contains(['%', '$']) {
            draft.list("filesystem", kind, bare);
        } else {
            draft.leave(&format!("{key}={path}"), "not a plain absolute path");
        }
    }
}

/// What follows the last `:` binds hard.
fn last(value: &str) -> &str {
    value.rsplit(':').next().unwrap_or(value)
}

fn size(key: &'static str, whole: &str, value: &str, draft: &mut Draft) {
    let value = last(value);
    if value == "infinity" {
        return draft.value("limits", key, "\"none\"".to_owned());
    }
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &value[digits.len()..] {
        "" => "B",
        "K" => "KiB",
        "M" => "MiB",
        "G" => "GiB",
        "T" => "TiB",
        _ => return draft.leave(whole, "not a size"),
    };
    match digits.parse::<u64>() {
        Ok(number) => draft.value("limits", key, format!("\"{number}{unit}\"")),
        Err(_) => draft.leave(whole, "not a size"),
    }
}

fn count(key: &'static str, whole: &str, value: &str, draft: &mut Draft) {
    match last(value).parse::<u64>() {
        Ok(number) if number <= 1 << 20 => draft.value("limits", key, number.to_string()),
        _ => draft.leave(whole, "not a number"),
    }
}

fn time(key: &'static str, whole: &str, value: &str, draft: &mut Draft) {
    let value = last(value);
    let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match value[digits.len()..].trim() {
        "" | "s" | "sec" => "s",
        "ms" | "msec" => "ms",
        "min" | "m" => "min",
        "h" | "hr" => "h",
        _ => return draft.leave(whole, "not a time"),
    };
    match digits.parse::<u64>() {
        Ok(number) => draft.value("limits", key, format!("\"{number}{unit}\"")),
        Err(_) => draft.leave(whole, "not a time"),
    }
}
