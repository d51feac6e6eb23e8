//! Namespaces: what a policy asks for in `[namespaces]` a child has, or doesn't run, or says that it lacks.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitStatus;
use std::time::Duration;

use crossmist::{ConfinementStatus, Error, Namespace, SandboxPolicy, func};

#[macro_use]
mod support;
#[path = "containers/enter.rs"]
#[expect(dead_code, reason = "another test uses the rest")]
mod enter;

use support::raw::{self, Refused};
use support::{this_program, wait_until_gone};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_child_without_a_network_reaches_no_address needs Root Ports,
            a_child_without_a_network_reaches_none_after_execve needs Root Ports,
            a_network_of_its_own_confines_tcp_if_landlock_knows_no_ports needs Root,
            children_that_could_meet_in_a_network_have_one_each needs Root,
            children_without_a_network_see_none_of_each_others_ports needs Root Ports,
            the_next_child_is_back_in_the_programs_network needs Root Ports,
            a_plain_user_gets_the_right_from_a_user_namespace needs Root UserNamespaces Ports,
            root_without_the_right_gives_users_of_their_own_in_a_user_namespace needs Root UserNamespaces,
            root_can_have_a_user_namespace_as_well needs Root UserNamespaces,
            a_namespace_that_cannot_be_created_stops_the_call needs Root,
            a_namespace_that_cannot_be_created_is_reported_if_the_policy_says_so needs Root,
            the_end_of_the_keepers_ends_children_in_namespaces needs Root UserNamespaces,
            a_child_with_processes_of_its_own_has_no_other_in_sight needs Root,
            an_end_in_a_pid_namespace_is_told_as_any_other needs Root,
            all_that_a_child_has_started_is_gone_when_its_call_returns needs Root,
            a_plain_user_can_have_all_namespaces needs Root UserNamespaces,
            children_in_pid_namespaces_die_with_the_program needs Root,
            all_in_a_pid_namespace_dies_with_a_killed_keeper needs Root,
            queues_of_its_own_are_not_the_programs needs Root,
        ],
        cases![
            helper_reaches_no_address,
            helper_without_ports,
            helper_with_own_users,
            helper_is_refused,
            helper_does_without,
            helper_with_all_namespaces,
            helper_leaves_a_child,
        ],
    );
}

#[func(sandbox = dynamic)]
fn connects(port: u16) -> Result<(), i32> {
    let connected = TcpStream::connect(("127.0.0.1", port));
    connected
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// Sends a datagram to an address.
#[func(sandbox = dynamic)]
fn sends(to: SocketAddr) -> Result<(), i32> {
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", to));
    sent.map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(0))
}

#[func(sandbox = dynamic)]
fn sleeps() {
    std::thread::sleep(Duration::from_secs(3600));
}

/// Binds an abstract name and waits.
#[func(sandbox = dynamic)]
fn listens_by_name(name: String, ready: crossmist::Sender<()>) {
    let _listener = raw::listen_by_abstract_name(&name).unwrap();
    let mut ready = ready;
    ready.send(&()).unwrap();
    std::thread::sleep(Duration::from_secs(3600));
}

#[func(sandbox = dynamic)]
fn connects_by_name(name: String) -> Result<(), i32> {
    raw::connect_by_abstract_name(&name)
}

fn policy(base: &str, more: &str) -> SandboxPolicy {
    let patient = "[limits]\nwall_time = \"10min\"\n";
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{base}\"]\n{patient}{more}");
    SandboxPolicy::from_toml("namespaces", &text).unwrap()
}

/// A policy that may connect to a port, with more lines.
fn client(port: u16, more: &str) -> SandboxPolicy {
    policy(
        "network-client",
        &format!("[network]\ntcp_connect = [{port}]\n{more}"),
    )
}

/// Lines that let a child create internet sockets of any kind.
const SOCKETS: &str = "[syscalls]\nallow = [\
     { call = \"socket(domain in {AF_INET, AF_INET6})\", why = \"x\" }, \
     { call = \"connect\", why = \"x\" }, { call = \"bind\", why = \"x\" }, \
     { call = \"sendto\", why = \"x\" }]\nreplace = [\"sendto\"]\n";

const NO_NETWORK: &str = "[namespaces]\nnetwork = \"none\"\n";
const MAYBE_NO_NETWORK: &str = "[namespaces]\nnetwork = \"if-possible\"\n";
const NO_NETWORK_AND_NO_USER: &str = "[namespaces]\nnetwork = \"none\"\nuser = \"shared\"\n";

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Returns a child's report on its confinement.
fn status(policy: &SandboxPolicy) -> ConfinementStatus {
    let mut child = sleeps.sandbox(policy).spawn().unwrap();
    let status = child.confinement().unwrap().unwrap();
    child.kill().unwrap();
    let _ = child.join();
    status
}

/// Starts a helper as a program in other circumstances.
fn inside(enter: impl FnOnce(), helper: &str, arguments: &[&str]) -> ExitStatus {
    let mut program = this_program(helper);
    enter::run_in(enter, program.args(arguments))
}

fn reaches_no_address(launch: &str, expected: &[Namespace]) {
    let (_listener, port) = listener();
    let process = format!("[process]\nlaunch = \"{launch}\"\n");
    let with = client(port, &process);
    assert_eq!(connects.sandbox(&with).run(port).unwrap(), Ok(()));
    let without = client(port, &format!("{process}{NO_NETWORK}"));
    let connected = connects.sandbox(&without).run(port).unwrap();
    assert_eq!(connected, Err(libc::ENETUNREACH));

    let with = status(&with);
    assert!(with.namespaces.is_empty() && with.missing_namespaces.is_empty());
    let without = status(&without);
    assert_eq!(without.namespaces, expected);
    assert!(without.missing_namespaces.is_empty());
}

fn a_child_without_a_network_reaches_no_address() {
    reaches_no_address("fork", &[Namespace::Network]);
}

fn a_child_without_a_network_reaches_none_after_execve() {
    reaches_no_address("exec", &[Namespace::Network]);
}

fn a_network_of_its_own_confines_tcp_if_landlock_knows_no_ports() {
    assert!(inside(|| (), "helper_without_ports", &[]).success());
}

fn helper_without_ports() {
    raw::play_a_kernel_without(&[Refused::call(
        libc::SYS_landlock_create_ruleset,
        libc::ENOSYS,
    )]);
    let (_listener, port) = listener();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = receiver.local_addr().unwrap();

    // The control leaves the network alone, as nothing else could confine it here.
    let open = policy(
        "parser",
        &format!("{SOCKETS}[network]\nunconfined = \"a test\"\n"),
    );
    assert_eq!(connects.sandbox(&open).run(port).unwrap(), Ok(()));
    assert_eq!(sends.sandbox(&open).run(address).unwrap(), Ok(()));
    let refused = connects.sandbox(&policy("parser", SOCKETS)).run(port);
    assert!(matches!(refused, Err(Error::Policy { .. })), "{refused:?}");

    let alone = policy("parser", &format!("{SOCKETS}{NO_NETWORK}"));
    assert_eq!(
        connects.sandbox(&alone).run(port).unwrap(),
        Err(libc::ENETUNREACH)
    );
    assert_eq!(
        sends.sandbox(&alone).run(address).unwrap(),
        Err(libc::ENETUNREACH)
    );
}

fn children_that_could_meet_in_a_network_have_one_each() {
    let sockets = "[network]\nunix = \"path+abstract\"\n[scope]\nabstract_unix = \"open\"\n[kernel]\n\
                   relax = [{ what = \"landlock-unix\", reason = \"a test\" }]\n[syscalls]\nallow = [\
                   { call = \"socket(domain == AF_UNIX)\", why = \"x\" }, { call = \"connect\", why = \"x\" }, \
                   { call = \"bind\", why = \"x\" }, { call = \"listen\", why = \"x\" }]\n";
    let meets = |policy: &SandboxPolicy| {
        let name = format!("crossmist-{}-{:p}", std::process::id(), policy);
        let (ready, mut is_ready) = crossmist::channel().unwrap();
        let child = listens_by_name
            .sandbox(policy)
            .spawn(name.clone(), ready)
            .unwrap();
        is_ready.recv().unwrap().unwrap();
        let met = connects_by_name.sandbox(policy).run(name).unwrap();
        child.kill().unwrap();
        met
    };
    assert_eq!(meets(&policy("worker", sockets)), Ok(()));
    let apart = policy("worker", &format!("{sockets}{NO_NETWORK}"));
    assert_eq!(meets(&apart), Err(libc::ECONNREFUSED));
}

/// Takes a port, tells how that went, and keeps it while it is to.
#[func(sandbox = dynamic)]
fn takes(port: u16, mut told: crossmist::Sender<Option<i32>>, mut go: crossmist::Receiver<()>) {
    let taken = TcpListener::bind(("0.0.0.0", port));
    let error = taken.as_ref().err().and_then(|error| error.raw_os_error());
    told.send(&error).unwrap();
    let _ = go.recv();
}

fn children_without_a_network_see_none_of_each_others_ports() {
    let port = listener().1;
    let server = |more: &str| policy("pure", &format!("[network]\ntcp_bind = [{port}]\n{more}"));
    let second = |policy: &SandboxPolicy| {
        let start = || {
            let (told, mut hears) = crossmist::channel().unwrap();
            let (go, goes) = crossmist::channel().unwrap();
            let child = takes.sandbox(policy).spawn(port, told, goes).unwrap();
            let error = hears.recv().unwrap().unwrap();
            (error, go, child)
        };
        let ((first, go, one), (second, goes, other)) = (start(), start());
        assert_eq!(first, None);
        drop((go, goes));
        one.join().unwrap();
        other.join().unwrap();
        second
    };
    assert_eq!(second(&server("")), Some(libc::EADDRINUSE));
    assert_eq!(second(&server(NO_NETWORK)), None);
}

fn the_next_child_is_back_in_the_programs_network() {
    let (_listener, port) = listener();
    let (with, without) = (client(port, ""), client(port, NO_NETWORK));
    for _ in 0..3 {
        assert_eq!(
            connects.sandbox(&without).run(port).unwrap(),
            Err(libc::ENETUNREACH)
        );
        assert_eq!(connects.sandbox(&with).run(port).unwrap(), Ok(()));
    }
}

fn a_plain_user_gets_the_right_from_a_user_namespace() {
    for launch in ["fork", "exec"] {
        let user = || enter::become_user(4242);
        assert!(
            inside(user, "helper_reaches_no_address", &[launch]).success(),
            "{launch}"
        );
    }
}

fn helper_reaches_no_address() {
    let launch = &support::case_arguments()[0];
    reaches_no_address(launch, &[Namespace::User, Namespace::Network]);
}

/// Root in a service that kept only what the library asks for.
fn root_without_the_right() {
    const FEW: [u32; 6] = [
        5,  // CAP_KILL
        6,  // CAP_SETGID
        7,  // CAP_SETUID
        8,  // CAP_SETPCAP
        1,  // CAP_DAC_OVERRIDE
        31, // CAP_SETFCAP, to map root
    ];
    enter::keep_capabilities(&FEW);
}

fn root_without_the_right_gives_users_of_their_own_in_a_user_namespace() {
    assert!(inside(root_without_the_right, "helper_with_own_users", &["needed"]).success());
}

fn root_can_have_a_user_namespace_as_well() {
    assert!(inside(|| (), "helper_with_own_users", &["own"]).success());
}

fn helper_with_own_users() {
    let more = match support::case_arguments()[0].as_str() {
        "needed" => NO_NETWORK.to_owned(),
        _ => format!("{NO_NETWORK}user = \"own\"\n"),
    };
    let status = status(&policy("parser", &more));
    assert_eq!(status.namespaces, [Namespace::User, Namespace::Network]);
    assert!(status.own_user.is_some(), "{status:?}");
    assert_eq!(status.capabilities, 0);
}

/// Neither a right nor a user namespace to get it from.
const NO_USER_NAMESPACE: Refused = Refused::with(
    libc::SYS_unshare,
    0,
    libc::CLONE_NEWUSER as u32,
    libc::EPERM,
);

fn a_namespace_that_cannot_be_created_stops_the_call() {
    let user = || enter::become_user(4242);
    assert!(inside(user, "helper_is_refused", &[]).success());
}

fn helper_is_refused() {
    let refused = |more: &str, parts: &[&str]| {
        let error = connects
            .sandbox(&policy("parser", more))
            .run(1)
            .unwrap_err();
        let source = std::error::Error::source(&error);
        let text = format!(
            "{error}: {}",
            source.map(ToString::to_string).unwrap_or_default()
        );
        for part in parts {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        error
    };
    let parts = [
        "network namespace",
        "CAP_SYS_ADMIN",
        "not permitted",
        "if-possible",
    ];
    let error = refused(NO_NETWORK_AND_NO_USER, &parts);
    assert!(matches!(error, Error::Confine { .. }), "{error:?}");
    raw::play_a_kernel_without(&[NO_USER_NAMESPACE]);
    let parts = [
        "user namespace",
        "max_user_namespaces",
        "not permitted",
        "if-possible",
    ];
    let error = refused(NO_NETWORK, &parts);
    assert!(matches!(error, Error::Launch { .. }), "{error:?}");
    refused("[namespaces]\nuser = \"own\"\n", &parts);
}

fn a_namespace_that_cannot_be_created_is_reported_if_the_policy_says_so() {
    let user = || enter::become_user(4242);
    assert!(inside(user, "helper_does_without", &[]).success());
}

fn helper_does_without() {
    let (with, without) = (
        status(&policy("parser", "")),
        status(&policy(
            "parser",
            &format!("{MAYBE_NO_NETWORK}user = \"shared\"\n"),
        )),
    );
    assert_eq!(without.missing_namespaces, [Namespace::Network]);
    assert!(without.namespaces.is_empty() && !without.is_fully_enforced());
    // The wall is the same.
    assert_eq!(without.seccomp_instructions, with.seccomp_instructions);

    raw::play_a_kernel_without(&[NO_USER_NAMESPACE]);
    for _ in 0..2 {
        let without = status(&policy("parser", MAYBE_NO_NETWORK));
        assert_eq!(without.missing_namespaces, [Namespace::Network]);
        assert!(without.namespaces.is_empty());
    }
    let both = format!("{MAYBE_NO_NETWORK}user = \"if-possible\"\n");
    let without = status(&policy("parser", &both));
    assert_eq!(
        without.missing_namespaces,
        [Namespace::User, Namespace::Network]
    );
}

fn the_end_of_the_keepers_ends_children_in_namespaces() {
    let start = |more: &str| {
        let mut child = sleeps.sandbox(&policy("parser", more)).spawn().unwrap();
        child.confinement().unwrap().unwrap();
        child
    };
    let children = [
        start(""),
        start(NO_NETWORK),
        start("[namespaces]\nuser = \"own\"\n"),
    ];
    crossmist::keeper::end();
    for child in children {
        let process = child.id().unwrap();
        let result = child.join();
        assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
        wait_until_gone(process);
    }
    // The next call starts others.
    assert_eq!(
        status(&policy("parser", NO_NETWORK)).namespaces,
        [Namespace::Network]
    );
}

const OWN_PROCESSES: &str = "[namespaces]\npid = \"own\"\n";

#[func(sandbox = dynamic)]
fn own_id() -> u32 {
    std::process::id()
}

/// Ends as it is told.
#[func(sandbox = dynamic)]
fn ends(how: String) -> u32 {
    match how.as_str() {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "panic" => panic!("at the end"),
        "loop" => loop {
            std::hint::black_box(());
        },
        "sleep" => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
    42
}

/// Leaves processes behind that fork without end, and returns.
#[func(sandbox = dynamic)]
fn storms(held: std::os::fd::OwnedFd) -> bool {
    let forked = raw::fork_without_end();
    drop(held);
    forked
}

/// Looks for a message queue of System V by its key.
#[func(sandbox = dynamic)]
fn finds_queue(key: i32) -> Result<(), i32> {
    raw::find_queue(key)
}

fn a_child_with_processes_of_its_own_has_no_other_in_sight() {
    for launch in ["fork", "exec"] {
        let process = format!("[process]\nlaunch = \"{launch}\"\n");
        let shared = policy("parser", &process);
        assert_ne!(own_id.sandbox(&shared).run().unwrap(), 2);
        let own = policy("parser", &format!("{process}{OWN_PROCESSES}"));
        assert_eq!(own_id.sandbox(&own).run().unwrap(), 2);
        let status = status(&own);
        assert_eq!(status.namespaces, [Namespace::Pid]);
        assert!(status.own_user.is_some());
    }
}

fn an_end_in_a_pid_namespace_is_told_as_any_other() {
    let limits = "[limits]\ncpu_time = \"1s\"\n";
    let told = |more: &str, how: &str| {
        let text = format!("format = 1\nextends = [\"parser\"]\n{limits}{more}");
        let policy = SandboxPolicy::from_toml("ends", &text).unwrap();
        let mut call = ends.sandbox(&policy);
        if how == "sleep" {
            call = call.deadline(Duration::from_secs(1));
        }
        match call.run(how.to_owned()) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        }
    };
    for how in ["return", "abort", "exit", "panic", "loop", "sleep"] {
        assert_eq!(told(OWN_PROCESSES, how), told("", how), "{how}");
    }
    assert_eq!(told(OWN_PROCESSES, "return"), "42");
}

fn all_that_a_child_has_started_is_gone_when_its_call_returns() {
    let forking =
        "processes = 8\n[syscalls]\nallow = [{ call = \"@process\", why = \"the test\" }]\n";
    let own = policy("parser", &format!("{forking}{OWN_PROCESSES}"));
    for _ in 0..5 {
        let (reading, writing) = std::io::pipe().unwrap();
        assert!(storms.sandbox(&own).run(writing.into()).unwrap());
        // Each of them holds the other end: nobody is waited for here.
        assert_eq!(raw::read_without_waiting(&reading), Ok(0));
    }
}

const ALL: &str =
    "[namespaces]\nnetwork = \"none\"\nipc = \"own\"\nmount = \"own\"\npid = \"own\"\n";

fn a_plain_user_can_have_all_namespaces() {
    let user = || enter::become_user(4242);
    assert!(inside(user, "helper_with_all_namespaces", &[]).success());
}

fn helper_with_all_namespaces() {
    for launch in ["fork", "exec"] {
        let more = format!("[process]\nlaunch = \"{launch}\"\n{ALL}");
        let all = policy("parser", &more);
        assert_eq!(status(&all).namespaces, Namespace::ALL);
        assert_eq!(own_id.sandbox(&all).run().unwrap(), 2);
    }
}

fn children_in_pid_namespaces_die_with_the_program() {
    let mut program = this_program("helper_leaves_a_child")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let line = support::first_line(&mut program);
    let process: u32 = line.trim().parse().unwrap();
    assert!(support::state(process).is_some());
    program.kill().unwrap();
    program.wait().unwrap();
    wait_until_gone(process);
}

fn helper_leaves_a_child() {
    let mut child = sleeps.sandbox(&policy("parser", ALL)).spawn().unwrap();
    child.confinement().unwrap().unwrap();
    println!("{}", child.id().unwrap());
    let _ = child.join();
}

/// Leaves processes behind that fork without end, and stays.
#[func(sandbox = dynamic)]
fn storms_and_stays(held: std::os::fd::OwnedFd, mut ready: crossmist::Sender<()>) {
    assert!(raw::fork_without_end());
    drop(held);
    ready.send(&()).unwrap();
    std::thread::sleep(Duration::from_secs(3600));
}

fn all_in_a_pid_namespace_dies_with_a_killed_keeper() {
    let forking =
        "processes = 8\n[syscalls]\nallow = [{ call = \"@process\", why = \"the test\" }]\n";
    let own = policy("parser", &format!("{forking}{OWN_PROCESSES}"));
    let (reading, writing) = std::io::pipe().unwrap();
    let (ready, mut is_ready) = crossmist::channel().unwrap();
    let stays = storms_and_stays.sandbox(&own);
    let child = stays.spawn(writing.into(), ready).unwrap();
    is_ready.recv().unwrap().unwrap();
    // The control: they live, and hold the other end.
    let waits = raw::read_without_waiting(&reading);
    assert_eq!(waits, Err(nix::Error::EAGAIN));
    let first = child.id().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let keeper: i32 = rest.split(' ').nth(1).unwrap().parse().unwrap();
    let keeper = nix::unistd::Pid::from_raw(keeper);
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    let result = child.join();
    assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
    wait_until_gone(first);
    support::wait_until("all are gone", || {
        raw::read_without_waiting(&reading) == Ok(0)
    });
}

fn queues_of_its_own_are_not_the_programs() {
    let key = i32::try_from(std::process::id()).unwrap();
    let queue = raw::Queue::new(key);
    let finds = "[syscalls]\nallow = [{ call = \"msgget\", why = \"the test\" }]\n";
    let shared = policy("parser", finds);
    assert_eq!(finds_queue.sandbox(&shared).run(key).unwrap(), Ok(()));
    let own = policy("parser", &format!("{finds}[namespaces]\nipc = \"own\"\n"));
    assert_eq!(
        finds_queue.sandbox(&own).run(key).unwrap(),
        Err(libc::ENOENT)
    );
    drop(queue);
}
