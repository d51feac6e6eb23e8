//! Tests of what is learned about sockets, ports, threads, libraries and the kernel.

use super::*;
use crate::library::{Missing, Text};

/// A library with one policy, which is called `own`.
struct Only(&'static str);

impl Library for Only {
    fn fetch(&self, name: &str) -> Result<Text, Missing> {
        match name {
            "own" => Ok(Text {
                label: name.to_owned(),
                path: None,
                text: self.0.to_owned(),
            }),
            _ => Err(Missing::NotFound("it".to_owned())),
        }
    }
}

#[test]
fn a_socket_that_is_not_there_is_left_out_and_one_that_is_takes_its_path() {
    let connect = |exists| Record {
        exists,
        ..record("connect", [0; 6], Some("/run/app/socket"))
    };
    let kernel = |release| crate::Kernel::of_release(release).unwrap();
    let learned = |exists, release| {
        learn(
            &BuiltinOnly,
            "worker",
            &[connect(exists)],
            1,
            &[kernel(release)],
        )
        .unwrap()
    };
    let told = |exists, release| {
        denied_now(
            &BuiltinOnly,
            "worker",
            &[connect(exists)],
            Some(&kernel(release)),
        )
        .unwrap()
    };
    let new = learned(true, "7.1");
    assert!(
        new.toml
            .contains("connect_unix = [\n    \"/run/app/socket\""),
        "{}",
        new.toml
    );
    assert!(
        told(true, "7.1")[0]
            .contains("to allow it: [filesystem] connect_unix = [\"/run/app/socket\"]")
    );
    // No right of this kernel's is about it, and no port has to do with it.
    let old = learned(true, "6.18");
    assert!(
        old.left_out[0].contains("needs ABI 9"),
        "{:?}",
        old.left_out
    );
    let told_of = &told(true, "6.18")[0];
    assert!(
        told_of.contains("instead: ") && !told_of.contains("tcp_connect"),
        "{told_of}"
    );
    assert!(learned(false, "7.1").left_out[0].contains("tried, and not there"));
    assert_eq!(told(false, "7.1"), [""; 0]);
}

#[test]
fn what_this_kernel_cannot_enforce_is_left_out_with_the_reason() {
    let sends = Record {
        port: Some(53),
        is_udp: true,
        ..record("connect", [0; 6], None)
    };
    let learned = |release| {
        let kernel = crate::Kernel::of_release(release).unwrap();
        learn(
            &BuiltinOnly,
            "parser",
            std::slice::from_ref(&sends),
            1,
            &[kernel],
        )
        .unwrap()
    };
    let old = learned("6.18");
    assert!(!old.toml.contains("udp_connect = ["), "{}", old.toml);
    assert!(
        old.left_out
            .iter()
            .any(|line| line.contains("udp_connect 53") && line.contains("needs ABI 10")),
        "{:?}",
        old.left_out
    );
    // The control.
    let new = learned("7.2").toml;
    assert!(new.contains("udp_connect = [\n    53,"), "{new}");
}

#[test]
fn what_one_of_several_kernels_cannot_enforce_is_left_out_and_named() {
    let sends = Record {
        port: Some(53),
        is_udp: true,
        ..record("connect", [0; 6], None)
    };
    let connects = Record {
        port: Some(443),
        ..record("connect", [0; 6], None)
    };
    let seen = [sends, connects];
    let learned = |base, releases: &[&str]| {
        let kernels = releases
            .iter()
            .map(|release| crate::Kernel::of_release(release));
        let kernels: Option<Vec<_>> = kernels.collect();
        learn(&BuiltinOnly, base, &seen, 1, &kernels.unwrap()).unwrap()
    };
    // Whichever comes first.
    for releases in [["6.18", "7.2"], ["7.2", "6.18"]] {
        let both = learned("parser", &releases);
        assert!(both.toml.contains("tcp_connect = ["), "{}", both.toml);
        assert!(!both.toml.contains("udp_connect = ["), "{}", both.toml);
        let left = both
            .left_out
            .iter()
            .find(|line| line.contains("udp_connect 53"));
        assert!(left.unwrap().contains("(Linux 6.18: "), "{left:?}");
    }
    let oldest = learned("parser", &["7.2", "6.1", "6.18"]);
    assert_eq!(oldest.not_judged_by, []);
    assert!(!oldest.toml.contains("_connect = ["), "{}", oldest.toml);
    // The controls.
    for releases in [&["7.2", "7.2"][..], &[]] {
        let toml = learned("parser", releases).toml;
        assert!(toml.contains("udp_connect = ["), "{toml}");
    }
    // What the base lacks on one of them doesn't keep the others from being asked.
    let base = Only("format = 1\nextends = [\"parser\"]\n[network]\ntcp_connect = [80]\n");
    let kernels = ["6.1", "6.18"].map(|release| crate::Kernel::of_release(release).unwrap());
    let base = learn(&base, "own", &seen, 1, &kernels).unwrap();
    assert_eq!(base.not_judged_by, kernels[..1]);
    assert!(
        base.toml.contains("tcp_connect = [\n    443"),
        "{}",
        base.toml
    );
    assert!(!base.toml.contains("udp_connect = ["), "{}", base.toml);
}

#[test]
fn as_many_threads_are_allowed_as_were_there_at_once() {
    let starts = |threads| Record {
        threads,
        ..record("clone", [0x3d_0f00, 0, 0, 0, 0, 0], None)
    };
    for (base, seen, limit) in [
        ("parser", 41, Some("threads = 41")),
        // As many as it allows.
        ("parser", 16, None),
        ("pure", 41, Some("threads = 41")),
        ("pure", 2, Some("threads = 16")),
    ] {
        let (learned, _) = learned(base, &[starts(3), starts(seen)]);
        let found = learned
            .toml
            .lines()
            .find(|line| line.starts_with("threads = "));
        assert_eq!(found, limit, "{}", learned.toml);
        assert_eq!(
            learned.granted,
            usize::from(limit.is_some()),
            "{}",
            learned.toml
        );
    }
    // The most of several calls; no more than any policy may allow.
    let other = |threads| Record {
        threads,
        ..record("clone", [0x7d_0f00, 0, 0, 0, 0, 0], None)
    };
    for (seen, limit) in [(20, "threads = 41"), (u64::MAX, "threads = 1048576")] {
        let (learned, _) = learned("parser", &[starts(41), other(seen)]);
        assert!(learned.toml.contains(limit), "{}", learned.toml);
    }
    // A process that is started has threads of its own.
    let process = Record {
        threads: 41,
        ..record("clone", [17, 0, 0, 0, 0, 0], None)
    };
    assert!(!learned("parser", &[process]).0.toml.contains("threads ="));
}

#[test]
fn data_beside_libraries_is_granted_and_what_a_process_finds_for_itself_is_not() {
    let open = |path: &str| record("openat", [0, 0, 0o2_000_000, 0, 0, 0], Some(path));
    let (learned, policy) = learned(
        "parser",
        &[
            open("/usr/lib/x86_64-linux-gnu/app/table.bin"),
            open("/libexec/app/table.bin"),
            open("/lib/x86_64-linux-gnu/libm.so.6"),
            open("/usr/lib64/libm.so.6"),
            open("/proc/self/status"),
            open("/proc/4711/status"),
            open("/proc/meminfo"),
            open("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache"),
            open("/srv/gconv/x"),
            code_from_a_file(),
        ],
    );
    for (path, is_granted) in [
        ("/usr/lib/x86_64-linux-gnu/app/table.bin", true),
        ("/libexec/app/table.bin", true),
        ("/lib/x86_64-linux-gnu/libm.so.6", false),
        ("/usr/lib64/libm.so.6", false),
        ("/proc/self/status", false),
        ("/proc/4711/status", false),
        ("/proc/meminfo", true),
        ("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache", false),
        ("/srv/gconv/x", true),
    ] {
        assert_eq!(
            policy.grants_of_path(path).len(),
            usize::from(is_granted),
            "{path}: {}",
            learned.toml
        );
    }
    assert!(
        learned.toml.contains(
            "#   read /proc/self/status: 2×, first at src/x.rs:7 (each process finds its own there"
        ),
        "{}",
        learned.toml
    );
}

#[test]
fn what_only_the_loader_maps_is_left_out_with_the_code_that_it_loads() {
    const MAP_PRIVATE_DENYWRITE: u64 = 0x802;
    let data = record("mmap", [0, 0, 3, MAP_PRIVATE_DENYWRITE, 0, 0], None);
    let (with_code, _) = learned("pure", &[data.clone(), code_from_a_file()]);
    assert_eq!(with_code.granted, 0, "{}", with_code.toml);
    // The control: the same call without code.
    assert_eq!(learned("pure", std::slice::from_ref(&data)).0.granted, 1);
    let told = |records: &[Record]| denied_now(&BuiltinOnly, "pure", records, None).unwrap();
    let with_code = told(&[data.clone(), code_from_a_file()]);
    assert_eq!(with_code.len(), 1, "{with_code:?}");
    assert!(
        with_code[0].contains("instead: load libraries"),
        "{with_code:?}"
    );
    assert_eq!(told(&[data]).len(), 1);
}

#[test]
fn a_port_that_is_denied_is_named_with_its_protocol() {
    let told = |call: &str, port, is_udp, release| {
        let record = Record {
            port: Some(port),
            is_udp,
            ..record(call, [0; 6], None)
        };
        let kernel = crate::Kernel::of_release(release).unwrap();
        denied_now(&BuiltinOnly, "parser", &[record], Some(&kernel)).unwrap()[0].clone()
    };
    for (call, port, is_udp, line) in [
        ("connect", 53, true, "[network] udp_connect = [53]"),
        ("connect", 5432, false, "[network] tcp_connect = [5432]"),
        ("bind", 5000, false, "[network] tcp_bind = [5000]"),
        ("bind", 5000, true, "[network] udp_bind = [5000]"),
    ] {
        let told_of = told(call, port, is_udp, "7.2");
        assert!(
            told_of.contains(&format!("to allow it: {line}")),
            "{told_of}"
        );
    }
    // The filter sees no port, so it allows the call for the other one.
    let second = Record {
        port: Some(80),
        ..record("connect", [0; 6], None)
    };
    let one_port = Only("format = 1\nextends = [\"worker\"]\n[network]\ntcp_connect = [443]\n");
    let told_of = denied_now(&one_port, "own", &[second], None).unwrap();
    assert!(
        told_of[0].contains("to allow it: [network] tcp_connect = [80]"),
        "{told_of:?}"
    );
    let old = told("connect", 53, true, "6.18");
    assert!(
        !old.contains("to allow it") && old.contains("; instead: resolve names"),
        "{old}"
    );
}

#[test]
fn metadata_that_the_c_library_does_without_is_not_told_of() {
    let told = |call, path| {
        denied_now(
            &BuiltinOnly,
            "parser",
            &[record(call, [0; 6], Some(path))],
            None,
        )
        .unwrap()
        .len()
    };
    for path in ["/", "/etc/nsswitch.conf", "/etc/resolv.conf"] {
        assert_eq!(told("newfstatat", path), 0, "{path}");
    }
    // The controls.
    assert_eq!(told("newfstatat", "/etc/app.conf"), 1);
    assert_eq!(told("openat", "/etc/nsswitch.conf"), 1);
    assert_eq!(told("chdir", "/"), 1);
}

#[test]
fn what_is_done_to_libraries_is_told_of_unless_code_is() {
    let told = |records: &[Record]| {
        let told = denied_now(&BuiltinOnly, "pure", records, None).unwrap();
        told.join("\n")
    };
    for looked in [
        record(
            "openat",
            [0, 0, 0o2_000_000, 0, 0, 0],
            Some("/usr/lib/app/plugin.so"),
        ),
        record("newfstatat", [0; 6], Some("/lib/x86_64-linux-gnu/tls")),
    ] {
        let path = looked.path.clone().unwrap();
        assert!(
            told(std::slice::from_ref(&looked)).contains(&path),
            "{path}"
        );
        let with_code = told(&[looked, code_from_a_file()]);
        assert!(
            !with_code.contains(&path) && with_code.contains("mmap"),
            "{with_code}"
        );
    }
    // Code that the policy allows to be loaded is not what is told of.
    let files = Only(
        "format = 1\nextends = [\"pure\"]\n[syscalls]\n\
         allow = [{ call = \"mmap(prot == PROT_READ|PROT_EXEC)\", why = \"plugins\" }]\n",
    );
    let data = record("mmap", [0, 0, 3, 0x802, 0, 0], None);
    let records = [data, code_from_a_file()];
    let told_of = denied_now(&files, "own", &records, None).unwrap();
    assert_eq!(told_of.len(), 1, "{told_of:?}");
    let learned = learn(&files, "own", &records, 1, &[]).unwrap();
    assert_eq!(learned.granted, 1, "{}", learned.toml);
}

#[test]
fn each_socket_is_granted_alone_and_a_managers_is_left_to_a_person() {
    let connect = |path| record("connect", [0; 6], Some(path));
    let kernel = crate::Kernel::of_release("7.1").unwrap();
    let records = [
        "/srv/app/1000/bus",
        "/srv/app/1000/b",
        "/srv/app/1000/c",
        "/srv/app/1000/private",
        "/run/user/1000/bus",
        "/var/run/docker.sock",
    ]
    .map(connect);
    let learned = learn(&BuiltinOnly, "worker", &records, 1, &[kernel]).unwrap();
    for path in ["bus", "b", "c", "private"] {
        let line = format!("\n    \"/srv/app/1000/{path}\",");
        assert!(learned.toml.contains(&line), "{}", learned.toml);
    }
    let left: Vec<_> = learned
        .left_out
        .iter()
        .filter(|line| line.contains("a manager of the machine"))
        .collect();
    assert_eq!(left.len(), 2, "{:?}", learned.left_out);
}

#[test]
fn calls_that_one_line_would_allow_are_told_of_together() {
    let looks = ["/srv/a", "/srv/b", "/srv/c"].map(|path| record("readlink", [0; 6], Some(path)));
    let told = denied_now(&BuiltinOnly, "parser", &looks, None).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let line = "readlink \"/srv/a\" and 2 other paths: 6×, first at src/x.rs:7; to allow it: [filesystem] metadata";
    assert!(told[0].starts_with(line), "{told:?}");
    // The control: another call is another line.
    let other = record("newfstatat", [0; 6], Some("/srv/a"));
    let told = denied_now(&BuiltinOnly, "parser", &[looks[0].clone(), other], None).unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
}
